"""The documentation says what the code does: every path, setting, state, reason, gate and command stands in it."""

from pathlib import Path

import pytest
import yaml

from healthagent import config, table
from healthagent.agentcheck import LINE_LIMIT, LINE_SECONDS, LINGER_SECONDS
from healthagent.checking import DEADLINE_SECONDS
from healthagent.policy import Base
from healthagent.reasons import Gate
from healthagent.schema import IGNORABLE
from healthagent.trackwriter import BEAT_SECONDS
from healthagent.web import ALIASES
from tools.docs import DOCS, rendered

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == rendered(text), "run `python -m tools.docs`"


@pytest.mark.parametrize("path", [*ALIASES, *(f"/{base}" for base in Base), "/replica", "/liveness", "/state", "/why"])
def test_every_path_is_documented(path: str) -> None:
    assert f"`{path}`" in (DOCS / "http.md").read_text("utf-8") or f"`{path}?role=ROLE`" in (
        DOCS / "http.md"
    ).read_text("utf-8")


@pytest.mark.parametrize("gate", list(Gate))
def test_every_gate_is_documented_and_asked_by_some_role(gate: Gate) -> None:
    assert f"| `{gate}` |" in (DOCS / "gates.md").read_text("utf-8")
    tables = [table.CONNECTION, *table.GALERA.values(), *table.ASYNC.values()]
    assert gate in {question.gate for questions in tables for question in questions}


def test_the_example_configuration_is_valid(tmp_path: Path) -> None:
    example = (DOCS / "configuration.md").read_text("utf-8").split("```yaml\n")[1].split("```")[0]
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    path = tmp_path / "healthagent.yaml"
    path.write_text(example.replace("/etc/healthagent/password", str(password)))
    assert set(yaml.safe_load(example)) <= set(config.shown(config.load(path)))


COMMANDS = ["serve", "probe [--json]", "why ROLE [--json]", "ack [--cluster]", "config check [FILE]", "config show"]
COMMANDS += ["check ROLE [--max-lag 5s] [--weight]"]


@pytest.mark.parametrize("command", [*COMMANDS, "sql grants"])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `{command}` |" in README


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) < 150
    for target in (part.split(")")[0] for part in README.split("](")[1:]):
        assert (ROOT / target).exists(), target


def test_what_may_be_ignored_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    assert [word for word in IGNORABLE if f"`{word}`" not in text] == []


def test_the_limits_of_agent_check_are_documented() -> None:
    text = (DOCS / "haproxy-agent-check.md").read_text("utf-8")
    for said in (f"{LINE_LIMIT} bytes", f"after {LINE_SECONDS:g} s", f"{LINGER_SECONDS:g} s to read its answer"):
        assert said in text


def test_the_limits_of_track_files_and_of_check_are_documented() -> None:
    text = (DOCS / "keepalived.md").read_text("utf-8")
    for said in (f"written again within {BEAT_SECONDS:g} s", f"takes no longer than {DEADLINE_SECONDS:g} s"):
        assert said in text
