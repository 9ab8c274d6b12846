"""`agent_check` of the configuration: addresses and their roles, or what is wrong with them."""

from pathlib import Path

import pytest
import yaml

from healthagent import config
from healthagent.config import AgentPort, Config
from healthagent.errors import ConfigError

ROLES = "any, synced, reader, candidate, writer, replica"
DEFAULT = (
    AgentPort(host="0.0.0.0", port=9201, role="writer"),
    AgentPort(host="0.0.0.0", port=9202, role="reader"),
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "healthagent.yaml"


def loaded(file: Path, text: str) -> Config:
    file.write_text(text)
    return config.load(file)


def problems(file: Path, text: str) -> list[str]:
    """The lines of what is wrong, the file's name cut off."""
    with pytest.raises(ConfigError) as caught:
        loaded(file, text)
    return [line.removeprefix(f"{file}:") for line in caught.value.lines()]


def test_without_a_file_the_writer_and_the_reader_have_a_port_each() -> None:
    assert config.load(None).agent_ports == DEFAULT
    assert config.load(None).admin_words is False


@pytest.mark.parametrize(
    "text", ["{}", "agent_check:\n", "agent_check: {}\n", "agent_check: {listen: null, admin_words: false}\n"]
)
def test_and_so_they_have_with_a_file_that_does_not_name_them(file: Path, text: str) -> None:
    assert loaded(file, text).agent_ports == DEFAULT


def test_any_address_any_role(file: Path) -> None:
    found = loaded(
        file,
        "roles: {analytics: {base: reader}}\n"
        'agent_check: {listen: {"127.0.0.1:1": analytics, ":2": replica, "[::1]:3": null}, admin_words: true}\n',
    )
    assert found.agent_ports == (
        AgentPort(host="127.0.0.1", port=1, role="analytics"),
        AgentPort(host="0.0.0.0", port=2, role="replica"),
        AgentPort(host="::1", port=3, role=None),
    )
    assert found.admin_words


def test_it_can_be_switched_off(file: Path) -> None:
    assert loaded(file, "agent_check: {listen: {}}\n").agent_ports == ()


@pytest.mark.parametrize("text", ["{}", "agent_check: {listen: {}}", 'agent_check: {listen: {"[::]:9300": null}}'])
def test_what_is_shown_says_the_same(file: Path, text: str) -> None:
    first = loaded(file, text)
    shown = yaml.safe_dump(config.shown(first))
    again = loaded(file, shown)
    assert (again.agent_ports, again.admin_words) == (first.agent_ports, first.admin_words)


def test_how_it_is_shown() -> None:
    assert config.shown(config.load(None))["agent_check"] == {
        "listen": {"0.0.0.0:9201": "writer", "0.0.0.0:9202": "reader"},
        "admin_words": False,
    }


LISTEN = "agent_check.listen"


@pytest.mark.parametrize(
    ("section", "line", "says"),
    [
        ("{listen: [9201]}", 1, f"{LISTEN}: [9201]: must be a mapping of addresses to roles, such as"),
        ("{listen: 9201}", 1, f"{LISTEN}: 9201: must be a mapping of addresses to roles, such as"),
        ("{port: 9201}", 1, "agent_check.port: unknown key; known here: listen, admin_words"),
        ("{admin_words: yes please}", 1, "agent_check.admin_words: 'yes please': must be true or false"),
        ('\n  listen:\n    "h:1": writer\n', 3, f"{LISTEN}.h:1: 'h:1' is not an IP address and port; write"),
        ("\n  listen:\n    9201: writer\n", 3, f"{LISTEN}.9201: '9201' is not an IP address and port; write"),
        (
            '\n  listen:\n    ":9201": writer\n    ":9202": wirter\n',
            4,
            f"{LISTEN}.:9202: unknown role 'wirter'; roles: {ROLES}; null: by agent-send",
        ),
        ('{listen: {":1": [writer]}}', 1, f"{LISTEN}.:1: unknown role ['writer']; roles: {ROLES}; null"),
        ('{listen: {":1": stale-ok}}', 1, f"{LISTEN}.:1: unknown role 'stale-ok'; roles: {ROLES}; null"),
        (
            '{listen: {"127.0.0.1:9200": writer}}',
            1,
            f"{LISTEN}.127.0.0.1:9200: overlaps with 0.0.0.0:9200 of http.listen; keep one of them",
        ),
        (
            '\n  listen:\n    ":9201": writer\n    "127.0.0.1:9201": reader\n',
            4,
            f"{LISTEN}.127.0.0.1:9201: overlaps with 0.0.0.0:9201 of {LISTEN}; keep one of them",
        ),
        ('\n  listen:\n    ":1": writer\n    ":1": reader\n', 4, f"{LISTEN}.:1: is written twice"),
    ],
)
def test_what_is_wrong(file: Path, section: str, line: int, says: str) -> None:
    (problem,) = problems(file, f"agent_check: {section}\n")
    assert problem.startswith(f"{line}: {says}")


def test_all_of_it_at_once(file: Path) -> None:
    text = 'agent_check:\n  listen:\n    x: writer\n    ":9200": nobody\n    ":9201": writer\n    "[::1]:9201": null\n'
    assert [line.split(": ")[:2] for line in problems(file, text)] == [
        ["3", f"{LISTEN}.x"],
        ["4", f"{LISTEN}.:9200"],
        ["4", f"{LISTEN}.:9200"],
    ]


def test_http_where_agent_check_is_by_default(file: Path) -> None:
    says = "127.0.0.1:9202 overlaps with 0.0.0.0:9202, where agent-check is by default"
    assert problems(file, 'log: {}\nhttp: {listen: ["127.0.0.1:9202"]}\n') == [
        f"2: http.listen: {says}; give agent_check.listen other addresses, or {{}} for none"
    ]
