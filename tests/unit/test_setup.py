"""The parts of `setup` that need no server: the service, the firewall, and who may do it."""

import os
from pathlib import Path

import pytest

from healthagent import cli, config, firewall, setup
from healthagent.document import DEFAULT_PATH
from healthagent.steps import Mark, Steps

LOADED = "LoadState=loaded\nUnitFileState={}\nActiveState={}\n"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without an option file; `setup` takes the daemon's in its place, and monkeypatch takes that back."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd that runs, as far as `setup` looks. It answers `shown`, and notes in `called` what it was asked."""
    program = tmp_path / "systemctl"
    program.write_text(
        f"""#!/bin/sh
cd {tmp_path}
echo "$*" >> called
[ "$1" != show ] || exec cat shown
[ ! -e fails ] || {{ cat fails >&2; exit 1; }}
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(setup, "BOOTED", tmp_path)
    return tmp_path


def service(capsys: pytest.CaptureFixture[str], *, apply: bool, path: Path | None = None) -> tuple[Steps, str]:
    steps = Steps(apply)
    setup._service(path, steps)
    return steps, " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("apply", [False, True])
def test_a_service_that_runs_is_let_be(systemctl: Path, apply: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (systemctl / "shown").write_text(LOADED.format("enabled", "active"))
    steps, said = service(capsys, apply=apply)
    assert (steps.failed, steps.left, said) == (0, 0, "service is there healthagent.service is enabled and runs")
    assert (systemctl / "called").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("enabled", "active"), [("disabled", "inactive"), ("enabled", "failed"), ("disabled", "active")]
)
def test_a_service_that_does_not_is_enabled_and_started(
    systemctl: Path, enabled: str, active: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (systemctl / "shown").write_text(LOADED.format(enabled, active))
    steps, said = service(capsys, apply=False)
    assert (steps.failed, steps.left) == (0, 1)
    assert said == "service would do systemctl enable --now healthagent.service"
    assert "enable" not in (systemctl / "called").read_text()

    steps, said = service(capsys, apply=True)
    assert (steps.failed, steps.left) == (0, 0)
    assert said == "service done systemctl enable --now healthagent.service"
    assert (systemctl / "called").read_text().splitlines()[-1] == "enable --now healthagent.service"


def test_what_systemd_says_against_it_is_told(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (systemctl / "shown").write_text(LOADED.format("disabled", "inactive"))
    (systemctl / "fails").write_text("Failed to start:\n it is masked\n")
    steps, said = service(capsys, apply=True)
    assert steps.failed == 1
    assert said.endswith("systemctl enable --now healthagent.service: Failed to start: it is masked")


def test_a_unit_that_is_masked_is_no_matter_of_the_package(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (systemctl / "shown").write_text("LoadState=masked\nUnitFileState=masked\nActiveState=inactive\n")
    steps, said = service(capsys, apply=True)
    assert (steps.failed, said) == (
        1,
        "service failed: healthagent.service is masked: systemctl unmask healthagent.service",
    )


def test_without_the_unit_it_fails(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (systemctl / "shown").write_text("LoadState=not-found\nUnitFileState=\nActiveState=inactive\n")
    steps, said = service(capsys, apply=True)
    assert steps.failed == 1
    assert said == "service failed: healthagent.service is not-found: the package brings it"


def test_without_systemd_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "BOOTED", tmp_path / "none")
    steps, said = service(capsys, apply=True)
    assert steps.failed == 0
    assert said.startswith("service note systemd does not run here")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (None, "healthagent.service"),
        (DEFAULT_PATH, "healthagent.service"),
        (DEFAULT_PATH.with_name("shop.yaml"), "healthagent@shop.service"),
        (Path("/root/healthagent.yaml"), None),
        (DEFAULT_PATH.with_name("password"), None),
    ],
)
def test_which_service_runs_with_a_file(path: Path | None, unit: str | None) -> None:
    assert setup._unit(path) == unit


@pytest.mark.parametrize(
    ("written", "ports", "range_"),
    [
        ("{}", "9200, 9201, 9202", "9200-9202"),
        ("{agent_check: {listen: {}}}", "9200", "9200"),
        ('{http: {listen: ["10.0.0.11:80"]}, agent_check: {listen: {"127.0.0.1:9201": writer}}}', "80", "80"),
    ],
)
def test_the_firewall_s_rules_are_for_the_ports_that_others_reach(
    tmp_path: Path, written: str, ports: str, range_: str
) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text(written)
    said = "\n".join(firewall.rules(config.load(file)))
    assert f"tcp dport {{ {ports} }} accept" in said
    assert f"to any port {ports.replace(' ', '')} proto tcp" in said
    assert f"--port {range_} --source-ips" in said
    assert ("agent-check" in said) is ("9201" in ports)


def test_ports_that_are_not_in_a_row_have_a_rule_each(tmp_path: Path) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text('{http: {listen: ["0.0.0.0:9300"]}}')
    said = "\n".join(firewall.rules(config.load(file)))
    assert "--port 9201-9202 --source-ips" in said
    assert "--port 9300 --source-ips" in said


def test_nobody_else_reaches_it_so_no_rule_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text('{http: {listen: ["127.0.0.1:9200", "[::1]:9200"]}, agent_check: {listen: {}}}')
    assert list(firewall.rules(config.load(file))) == []


def test_a_wrong_configuration_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text("nonsense: 1\n")
    assert cli.main(["setup", "--config", str(file)]) == 2
    told = capsys.readouterr()
    assert (told.out, "nonsense" in told.err) == ("", True)


def test_without_a_server_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text(f"mysql: {{socket: {tmp_path}/no.sock, datadir: {tmp_path}}}\nstate_dir: {tmp_path}\n")
    assert cli.main(["setup", "--config", str(file)]) == 1
    told = capsys.readouterr().out
    assert f"server    {Mark.FAILED:8}  {tmp_path}/no.sock as " in told
    assert "is MariaDB running" in told
    assert "\nstate down\n" in told


def test_a_server_elsewhere_is_not_ours_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text("mysql: {host: 192.0.2.1, user: agent}\n")
    assert cli.main(["setup", "--config", str(file)]) == 1
    assert "192.0.2.1:3306 is another machine: run `healthagent sql grants`" in capsys.readouterr().out
