"""The log of an agent whose standard error is that of a real journald, beside a real MariaDB."""

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthagent.events import KIND_TEXT, Kind
from healthagent.folding import FLOOD
from lab import Agent, MariaDB, wait_until
from lab.journal import PROGRAM, Journald
from tests.binaries import need
from tests.integration.expect import measured

CATALOG = Path(__file__).parents[2] / "systemd" / "healthagent.catalog"
RELOADS = 30  # more than journald's socket keeps for it here (net.unix.max_dgram_qlen: 10)


def of(kind: Kind) -> str:
    return f"MESSAGE_ID={KIND_TEXT[kind].message_id}"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    need("mariadbd")
    with MariaDB("journal", "127.0.0.1") as mariadb:
        yield mariadb.up()


@pytest.fixture(scope="module")
def journald() -> Iterator[Journald]:
    need("journalctl", "systemd-cat", "unshare", "nsenter")
    need(str(PROGRAM))
    with Journald(CATALOG) as journald:
        yield journald.start()


@pytest.fixture
def agent(server: MariaDB, journald: Journald) -> Iterator[Agent]:
    argv = journald.service(sys.executable, "-m", "healthagent", "serve", "--config")
    with Agent.for_node(server, argv=argv) as agent:
        agent.start()
        agent.wait_answer("/writer", 200)
        yield agent


def test_a_fall_is_found_by_role_by_reason_and_by_kind(agent: Agent, server: MariaDB, journald: Journald) -> None:
    started = time.monotonic()
    server.execute("SET GLOBAL read_only = ON")
    agent.wait_answer("/writer", 503)
    matches = (of(Kind.ROLE_CHANGE), "ROLE=writer", "NEW=down", "REASON=read_only")
    (entry,) = wait_until(lambda: journald.entries(*matches), 5, "the fall is in the journal")
    measured(f"read_only ON -> found in the journal: {1000 * (time.monotonic() - started):.0f} ms")
    server.execute("SET GLOBAL read_only = OFF")
    agent.wait_answer("/writer", 200)

    expected = {
        "MESSAGE": "role writer up -> down weight=0 reasons=read_only: writable failed",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "healthagent",
        "_TRANSPORT": "journal",
        "_PID": str(agent.pid),
        "EVENT": "role_change",
        "OLD": "up",
        "STATE": "replica_stopped",
        "WEIGHT": "0",
        "GATE": "writable",
        "GATE_WRITABLE": "yes",
    }
    assert {name: entry[name] for name in expected} == expected
    back = (of(Kind.ROLE_CHANGE), "ROLE=writer", "NEW=up", f"_PID={agent.pid}", "GATE=writable")
    assert not journald.entries(*back), "nothing holds it back any more"
    returns = wait_until(lambda: journald.entries(*back[:-1])[1:], 5, "it is back")
    assert [entry["PRIORITY"] for entry in returns] == ["6"]


def test_start_reload_and_stop_are_an_entry_each_with_a_text_of_the_catalog(agent: Agent, journald: Journald) -> None:
    def mine(kind: Kind) -> list[dict[str, str]]:
        return journald.entries(of(kind), f"_PID={agent.pid}")

    agent.signal(signal.SIGHUP)
    wait_until(lambda: mine(Kind.RELOADED), 5, "reloaded")
    good = agent.config
    agent.configure(nonsense=1)
    agent.signal(signal.SIGHUP)
    wait_until(lambda: mine(Kind.RELOAD_FAILED), 5, "refused")
    agent.config = good
    agent.configure()
    assert agent.stop() == 0
    for kind in (Kind.STARTED, Kind.RELOADED, Kind.RELOAD_FAILED, Kind.STOPPED):
        assert len(wait_until(lambda kind=kind: mine(kind), 5, kind)) == 1  # type: ignore[misc]
    (refused,) = mine(Kind.RELOAD_FAILED)
    assert refused["ERROR"].startswith(f"{agent.config_file}:")
    text = journald.read("-x", of(Kind.STOPPED), f"_PID={agent.pid}")
    assert "Subject: healthagent has stopped" in text
    assert re.search(r"It was asked to, by SIGTERM, after \d+ s", text)
    assert not journald.entries(f"_PID={agent.pid}", "_TRANSPORT=stdout"), "nothing beside it on standard error"


def test_a_journald_that_stands_still_holds_up_nothing_and_hears_all_of_it_later(
    agent: Agent, journald: Journald
) -> None:
    journald.freeze()
    try:
        slowest = 0.0
        for number in range(RELOADS):
            agent.configure(**{f"nonsense{number}": 1})
            agent.signal(signal.SIGHUP)
            asked = time.monotonic()
            wait_until(lambda number=number: f"nonsense{number}:" in _errors(agent), 5, "refused")  # type: ignore[misc]
            assert agent.get("/writer").status == 200
            slowest = max(slowest, time.monotonic() - asked)
            agent.config = {name: value for name, value in agent.config.items() if not name.startswith("nonsense")}
        measured(f"journald is stopped: {RELOADS} reloads and answers, each within {1000 * slowest:.0f} ms")
    finally:
        journald.thaw()
    agent.configure()
    agent.signal(signal.SIGHUP)
    wait_until(lambda: journald.entries(of(Kind.RELOADED), f"_PID={agent.pid}"), 10, "what was said comes")
    told = journald.entries(of(Kind.RELOAD_FAILED), f"_PID={agent.pid}")
    assert len(told) >= FLOOD.burst, "what is more within a minute is counted"
    assert all(f"nonsense{number}:" in entry["MESSAGE"] for number, entry in enumerate(told[: FLOOD.burst]))


def _errors(agent: Agent) -> str:
    return " ".join(agent.get("/state").json()["config"]["errors"])


def test_a_stderr_that_is_not_the_journal_gets_no_fields(server: MariaDB, journald: Journald) -> None:
    """JOURNAL_STREAM is inherited by whatever a service starts."""
    elsewhere = journald.service("sh", "-c", 'file=$1; shift; exec "$@" 2>"$file"', "sh")
    with Agent.for_node(server, name="elsewhere", port=9300) as agent:
        file = agent.directory / "stderr"
        agent.argv = (*elsewhere, str(file), *agent.argv)
        agent.start()
        wait_until(lambda: "event=started" in file.read_text(), 5, "it says so there")
        assert not journald.entries(f"_PID={agent.pid}")
