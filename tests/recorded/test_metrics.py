"""What Prometheus' own promtool says of /metrics, in every state that real servers of two versions have been in."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from healthagent.board import Board
from healthagent.metrics import Metrics
from tests.binaries import SBIN, need
from tests.build import POLICY, Agent
from tests.recorded.replay import PROBE_SECONDS
from tests.recorded.test_recorded import ALL, samples

# mysqld_exporter's own names, which are not ours to mend
ITS_OWN = {"mysql_global_status_wsrep_flow_control_paused_ns metric names should not contain abbreviated units"}


@pytest.fixture(autouse=True)
def _promtool() -> None:
    need("promtool")


ABOUT = dict[tuple[bytes, ...], set[str]]()


def objections(text: bytes) -> set[str]:
    """What promtool does not like. It goes by names, types and help: what agrees in them is asked about once."""
    families = tuple(line for line in text.splitlines() if line.startswith(b"# "))
    if families not in ABOUT:
        ABOUT[families] = asked(text)
    return ABOUT[families]


def asked(text: bytes) -> set[str]:
    """An exit status of 1 is a text that Prometheus could not read."""
    promtool = shutil.which("promtool", path=f"/usr/bin:{SBIN}") or "promtool"
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode in (0, 3), done.stderr.decode()
    return set(done.stderr.decode().splitlines())


def scrapes(version: str, condition: str) -> Iterator[bytes]:
    """A scrape in each state that the agent goes through, the last one when the condition has lasted."""
    agent = Agent()
    board = Board(agent.publication, POLICY.max_age_seconds, lambda: agent.now)
    metrics = Metrics(board)
    metrics.adopt(mysqld_names=True)
    metrics.loaded()
    metrics.tally.cell("0.0.0.0:9200", "any", "200")[0] += 1
    states = set()
    for sample in samples(version, condition):
        agent.keeps_seeing(sample.snapshot, max(sample.lasts_seconds, PROBE_SECONDS), every=PROBE_SECONDS)
        board.publish(agent.publication, POLICY.max_age_seconds)
        if agent.state not in states:
            states.add(agent.state)
            yield metrics.scrape("")[1]
    yield metrics.scrape("")[1]


@ALL
def test_promtool_finds_nothing_in_any_recorded_state(version: str, condition: str) -> None:
    for text in scrapes(version, condition):
        assert objections(text) - ITS_OWN == set()


def test_what_promtool_would_object_to() -> None:
    """So that silence means something."""
    assert asked(b"# TYPE a_count gauge\na_count 1\n") == {
        "a_count no help text",
        'a_count non-histogram and non-summary metrics should not have "_count" suffix',
    }
    text = next(scrapes("10.11", "synced"))
    assert asked(text) == ITS_OWN
