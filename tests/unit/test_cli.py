"""The command line: what it prints where, and its exit statuses."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from healthagent import __version__, cli

COMMANDS = [["serve"], ["probe"], ["config", "check"], ["config", "show"], ["sql", "grants"]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = tmp_path / "healthagent.yaml"
    found.write_text(
        f"mysql: {{user: agent, socket: {tmp_path}/no.sock, datadir: {tmp_path}}}\nstate_dir: {tmp_path}/state\n"
    )
    return found


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    found = tmp_path / "broken.yaml"
    found.write_text("mysql: {port: x}\nlog: {level: loud}\n")
    return found


def usage(*argv: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(argv))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage("--version") == 0
    assert capsys.readouterr().out == f"healthagent {__version__}\n"


def test_help_tells_a_stranger_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage("--help") == 0
    told = capsys.readouterr().out

    for word in (
        *("serve", "probe", "why", "ack", "replay", "config", "sql", "curl"),
        "/etc/healthagent/healthagent.yaml",
    ):
        assert word in told


@pytest.mark.parametrize("command", [*COMMANDS, ["why"], ["ack"], ["replay"]], ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(*command, "--help") == 0
    assert "--config FILE" in capsys.readouterr().out


WRONG = [[], ["nonsense"], ["config"], ["sql"], ["--nonsense"], ["serve", "x"], ["--config"], ["why"], ["ack", "x"]]


@pytest.mark.parametrize("argv", [*WRONG, ["replay"], ["replay", "a", "b"]])
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(*argv) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.startswith("usage: healthagent")) == ("", True)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("command", [["config", "check"], ["config", "show"], ["sql", "grants"], ["probe"]])
def test_config_may_stand_before_or_behind_the_command(
    command: list[str], before: bool, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--config", str(broken)]

    assert cli.main([*named, *command] if before else [*command, *named]) == 2
    assert str(broken) in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_wrong_configuration_is_2_and_one_line_for_each_problem(
    command: list[str], broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--config", str(broken)]) == 2
    told = capsys.readouterr()

    assert told.out == ""
    first, second = told.err.splitlines()
    assert first.startswith(f"healthagent: {broken}:1: mysql.port: ")
    assert second.startswith(f"healthagent: {broken}:2: log.level: ")


def test_config_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: ok\n", "")


def test_config_check_warns(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_text("hunter2")
    (tmp_path / "password").chmod(0o644)
    file.write_text(f"mysql: {{user: a, password_file: {tmp_path}/password}}\n")

    assert cli.main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().err.startswith("healthagent: warning: ")


def test_config_show_is_yaml_that_can_be_checked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", str(file), "config", "show"]) == 0
    told = capsys.readouterr().out
    assert yaml.safe_load(told)["mysql"]["user"] == "agent"

    file.write_text(told)
    assert cli.main(["config", "check", str(file)]) == 0


@pytest.mark.parametrize(
    ("mysql", "account"),
    [
        ("user: agent", "`agent`@`localhost` IDENTIFIED VIA unix_socket"),
        ("user: agent, host: 127.0.0.1", "`agent`@`127.0.0.1` IDENTIFIED BY "),
        ('user: agent, host: "::1"', "`agent`@`::1` IDENTIFIED BY "),
        ("user: agent, host: 10.0.0.1, password: hunter2", "`agent`@`%` IDENTIFIED BY "),
        ("user: agent, password: hunter2", "`agent`@`localhost` IDENTIFIED BY "),
    ],
)
def test_grants(file: Path, mysql: str, account: str, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"mysql: {{{mysql}}}\n")
    assert cli.main(["sql", "grants", "--config", str(file)]) == 0
    create, grant = capsys.readouterr().out.splitlines()

    assert create.startswith(f"CREATE USER IF NOT EXISTS {account}")
    assert "hunter2" not in create
    assert grant.startswith("GRANT SLAVE MONITOR ON *.* TO `agent`@")


def test_probe_without_a_server_is_1_and_says_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["probe", "--config", str(file)]) == 1
    told = capsys.readouterr().out.splitlines()

    assert told[0] == "state down"
    assert "FAIL writer weight=0 state=down reasons=down" in told
    assert any(line.strip().startswith("failed reachable") for line in told)


def test_probe_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["probe", "--json", "--config", str(file)]) == 1
    document = yaml.safe_load(capsys.readouterr().out)

    assert (document["state"], document["roles"]["any"]["verdict"]) == ("down", "down")
    assert [gate["gate"] for gate in document["gates"]["writer"] if not gate["passed"]] == ["fresh", "reachable"]


def test_as_a_module(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "healthagent", "config", "check", str(file)], capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif("os.geteuid() != 0", reason="needs root to become somebody without a home")
@pytest.mark.parametrize("home", [True, False], ids=["home of somebody else", "no home"])
def test_a_home_that_cannot_be_looked_into_is_no_traceback(tmp_path: Path, home: bool) -> None:
    """HOME of root, which `su` and `sudo` leave behind; or a numeric user without an entry in passwd."""
    private, told = tmp_path / "private", tmp_path / "told"
    private.mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        status = 99
        with told.open("w") as err, contextlib.redirect_stderr(err):
            try:
                os.environ["HOME"] = str(private)
                if not home:
                    del os.environ["HOME"]
                os.setgroups([])
                os.setuid(54321)
                status = cli.main(["config", "check"])
            except BaseException as error:
                err.write(repr(error))
        os._exit(status)
    _, status = os.waitpid(child, 0)

    assert (os.waitstatus_to_exitcode(status), told.read_text()) == (0, "")


def test_a_reader_that_has_had_enough_is_not_told_that_the_node_is_up(file: Path) -> None:
    command = f"{sys.executable} -m healthagent probe --json --config {file}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_the_grants_for_a_password_are_no_sql_until_somebody_has_put_it_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "healthagent.yaml"
    path.write_text("mysql: {host: 127.0.0.1, user: 'a`b', password: hunter2}\n")
    assert cli.main(["sql", "grants", "--config", str(path)]) == 0
    told = capsys.readouterr().out
    assert (
        "CREATE USER IF NOT EXISTS `a``b`@`127.0.0.1` IDENTIFIED BY <the password of your configuration, quoted> WITH"
        in told
    )
    assert "hunter2" not in told


def test_the_grants_for_the_tables(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("mysql: {user: agent}\nprobe: {write_table: my-ops.alive, heartbeat_table: percona.heartbeat}\n")
    assert cli.main(["sql", "grants", "--config", str(file)]) == 0
    told = capsys.readouterr().out.splitlines()[2:]
    assert [line.partition(" (")[0] for line in told] == [
        "CREATE DATABASE IF NOT EXISTS `my-ops`;",
        "CREATE TABLE IF NOT EXISTS `my-ops`.`alive`",
        "GRANT SELECT, INSERT, UPDATE ON `my-ops`.`alive` TO `agent`@`localhost`;",
        "CREATE DATABASE IF NOT EXISTS `percona`;",
        "CREATE TABLE IF NOT EXISTS `percona`.`heartbeat`",
        "GRANT SELECT ON `percona`.`heartbeat` TO `agent`@`localhost`;",
    ]
    file.write_text("mysql: {user: agent}\nprobe: {heartbeat_table: percona.heartbeat, heartbeat_write: true}\n")
    assert cli.main(["sql", "grants", "--config", str(file)]) == 0
    assert "GRANT SELECT, INSERT, UPDATE ON `percona`.`heartbeat`" in capsys.readouterr().out
