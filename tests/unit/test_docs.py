"""The documentation says what the code does: every path, setting, state, reason, gate and command stands in it."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import healthagent
from healthagent import budget, config, forms, recordfile, rhythm, table
from healthagent.agentcheck import LINE_LIMIT, LINE_SECONDS, LINGER_SECONDS
from healthagent.balancers import FORGOTTEN_SECONDS, MOST, Opinion
from healthagent.checking import DEADLINE_SECONDS
from healthagent.doorbell import PAUSE_SECONDS
from healthagent.errors import AskedWrongError
from healthagent.events import KIND_TEXT, MEANWHILE, Kind
from healthagent.folding import FLOOD, GROWTH, REPEATED
from healthagent.logs import CLOSE_SECONDS
from healthagent.measures import LABEL_CHARACTERS, MAX_CONNECTIONS
from healthagent.outlet import ROOM
from healthagent.policy import Base
from healthagent.preface import BINARY_LIMIT
from healthagent.reasons import Gate
from healthagent.recipe_arguments import WITHIN
from healthagent.recorder import FLUSH_SECONDS
from healthagent.recordfile import BYTES_PER_SAMPLE, LEAST_BYTES
from healthagent.schema import IGNORABLE, SECTIONS
from healthagent.session import SWIFT_STATUS, SWIFT_VARIABLES
from healthagent.sinks import FORMS
from healthagent.steps import Mark
from healthagent.textfile import CHANGED_SECONDS, PACE_SECONDS
from healthagent.trackwriter import BEAT_SECONDS, GIVE_UP_SECONDS, RETRY_SECONDS
from healthagent.web import ALIASES
from tests.component.probers import PROBERS
from tools.docs import DOCS, rendered

ROOT = DOCS.parent
HOUSE = Path(healthagent.__file__).parent  # not in ROOT where the installed package is tested
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == rendered(text), "run `python -m tools.docs`"


@pytest.mark.parametrize(
    "path", [*ALIASES, *(f"/{base}" for base in Base), "/replica", "/liveness", "/state", "/why", "/metrics"]
)
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
COMMANDS += ["check ROLE [--max-lag 5s] [--weight]", "replay FILE [--config NEW.yaml]"]
COMMANDS += ["check ROLE [--max-lag 5s] [--weight]", "setup [--apply]"]


@pytest.mark.parametrize("command", [*COMMANDS, "sql grants"])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `{command}` |" in README


@pytest.mark.parametrize("balancer", WITHIN)
def test_every_printed_configuration_is_documented(balancer: str) -> None:
    text = (DOCS / "other-balancers.md").read_text("utf-8")
    assert f"healthagent config {balancer}" in text
    assert f"`{balancer}`" in README or f"`config {balancer}`" in README
    assert "(3s; for Hetzner and Prometheus 15s)" in text
    assert WITHIN == {"haproxy": 3.0, "keepalived": 3.0, "hetzner": 15.0, "prometheus": 15.0}


def test_every_balancer_whose_checks_are_tested_is_documented() -> None:
    text = (DOCS / "other-balancers.md").read_text("utf-8")
    names = {prober.name.partition(" with ")[0] for prober in PROBERS}
    assert [name for name in names if f"| {name} |" not in text] == []


def test_the_budget_shown_is_the_one_of_the_defaults() -> None:
    """Of the defaults, in the words of the file's head."""
    text = (DOCS / "other-balancers.md").read_text("utf-8")
    agent = budget.Agent(
        interval_seconds=SECTIONS["probe"]["interval"].default, timeout_seconds=SECTIONS["probe"]["timeout"].default
    )
    for line in budget.table(budget.haproxy(agent, WITHIN["haproxy"]).parts, "HAProxy"):
        assert f"#   {line}\n" in text
    with pytest.raises(AskedWrongError) as caught:
        budget.haproxy(agent, 1.0)
    assert str(caught.value) in " ".join(text.split())


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) < 150
    for target in (part.split(")")[0] for part in README.split("](")[1:]):
        assert (ROOT / target).exists(), target


def test_what_may_be_ignored_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    assert [word for word in IGNORABLE if f"`{word}`" not in text] == []


def test_the_limits_of_http_are_documented() -> None:
    text = (DOCS / "http.md").read_text("utf-8")
    for said in (f"up to {BINARY_LIMIT} bytes", f"the last {MOST} are kept", f"each for {FORGOTTEN_SECONDS:g} s"):
        assert said in text.replace("\n", " ")
    for key in (field.name for field in fields(Opinion)):
        assert f"`{key}`" in text


def test_the_limits_of_agent_check_are_documented() -> None:
    text = (DOCS / "haproxy-agent-check.md").read_text("utf-8")
    for said in (f"{LINE_LIMIT} bytes", f"after {LINE_SECONDS:g} s", f"{LINGER_SECONDS:g} s to read its answer"):
        assert said in text


def test_the_limits_of_track_files_and_of_check_are_documented() -> None:
    text = (DOCS / "keepalived.md").read_text("utf-8")
    for said in (
        f"written again within {BEAT_SECONDS:g} s",
        f"every {BEAT_SECONDS:g} s, and every {RETRY_SECONDS:g} s for an hour",
        f"takes no longer than {DEADLINE_SECONDS:g} s",
    ):
        assert said in text
    assert GIVE_UP_SECONDS == 3600


def test_the_limits_of_metrics_are_documented() -> None:
    """Every metric is in a table that is made from the code: test_tables_are_those_of_the_code."""
    text = " ".join((DOCS / "metrics.md").read_text("utf-8").split())
    assert CHANGED_SECONDS == 1.0
    for said in (
        f"the first {MAX_CONNECTIONS}, each cut at {LABEL_CHARACTERS} characters",
        f"every {PACE_SECONDS:g} s, and when a verdict changes, at most once a second",
        *("| `healthagent_up` | gauge |", "| `mysql_up` | gauge |"),
    ):
        assert said in text


def test_what_is_looked_at_between_probes_is_documented() -> None:
    text = " ".join((DOCS / "how-it-decides.md").read_text("utf-8").split())
    count = {7: "seven", 9: "nine"}
    for said in (
        f"{count[len(SWIFT_STATUS)]} status variables",
        f"{count[len(SWIFT_VARIABLES)]} variables",
        f"tried again after {rhythm.REFUSED_SECONDS * 1000:g} ms",
        f"probed every {rhythm.SCRIPT_SECONDS * 1000:g} ms for half a second",
        f"Every {SECTIONS['probe']['fast_interval'].default * 1000:g} ms (`probe.fast_interval`)",
    ):
        assert said in text
    assert rhythm.SCRIPT_WITHIN_SECONDS == 0.5


def test_the_bell_of_the_example_is_the_one_of_its_page() -> None:
    examples = ROOT / "galera-examples"
    text = (examples / "README.md").read_text("utf-8")
    assert 'notify: "127.0.0.1:9203"' in text
    assert "/dev/udp/127.0.0.1/9203;" in (examples / "healthagent-notify").read_text("utf-8")
    assert f"at most {1 / PAUSE_SECONDS:g} rings a second" in " ".join(text.split())


def test_the_log_is_documented() -> None:
    text = " ".join((DOCS / "logs.md").read_text("utf-8").split())
    windows = [REPEATED.seconds, REPEATED.seconds * GROWTH, REPEATED.longest]
    for said in (
        "after {:g} s, {:g} s, and then every {:g} s".format(*windows),
        f"at most {FLOOD.burst} lines a minute",
        f"{ROOM} lines are kept",
        f"they have {CLOSE_SECONDS:g} s to go out",
        f"at most {forms.LINE_LIMIT} bytes",
        f"journalctl MESSAGE_ID={KIND_TEXT[Kind.STATE_CHANGE].message_id}",
        *(f"`{name}`" for name in MEANWHILE),
    ):
        assert said in text
    assert FLOOD.seconds == FLOOD.longest == 60
    for form in ("auto", *FORMS, "journal"):
        assert f"| `{form}` |" in text
        assert SECTIONS["log"]["format"].kind(form) == form


def test_the_bounds_of_a_record_are_documented() -> None:
    text = " ".join((DOCS / "record-and-replay.md").read_text("utf-8").split())
    samples = SECTIONS["probe"]["record_samples"].default
    for said in (
        f"`probe.record_samples: {samples}`",
        f"{BYTES_PER_SAMPLE} bytes for each of these samples ({samples * BYTES_PER_SAMPLE / 1e6:.0f} MB by default",
        f"never less than {LEAST_BYTES // 1024} KiB",
        f"every {FLUSH_SECONDS:g} s; a transition",
        f"({recordfile.MODE:04o}, less what the umask takes)",
    ):
        assert said in text


def test_every_step_and_mark_of_setup_is_documented() -> None:
    text = (DOCS / "install.md").read_text("utf-8")
    source = "".join((HOUSE / f"{room}.py").read_text("utf-8") for room in ("setup", "enrol"))
    told = set(re.findall(r'steps\.tell\("(\w+)"', source)) | {"grant", "database", "table"}
    assert len(told) >= 9
    assert [name for name in sorted(told) if f"`{name}`" not in text] == []
    assert [mark for mark in Mark if mark is not Mark.NOTE and f"`{mark}`" not in text] == []
