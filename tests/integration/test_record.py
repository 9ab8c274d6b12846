"""A record of a real Galera node: a replay tells what the daemon told."""

import time
from pathlib import Path

from lab import Agent, GaleraNode, lab_dir, wait_until
from tests.integration.conftest import Cluster
from tests.integration.expect import down_everywhere, expect, measured, reloaded, says, up_everywhere
from tests.integration.replays import logged, replayed, told


def watched(agent: Agent, node: GaleraNode, file: Path) -> None:
    """A good deal of what can happen to a member, its agent and its agent's configuration."""
    up_everywhere(agent)
    node.execute("SET GLOBAL wsrep_reject_queries = ALL")
    down_everywhere(agent, "rejecting")
    node.execute("SET GLOBAL wsrep_reject_queries = NONE")
    up_everywhere(agent)
    node.execute("SET GLOBAL wsrep_desync = ON")
    with reloaded(agent, roles={"reader": {"desync": True}, "own": {"base": "writer", "drain": True}}):
        expect(agent, any="503 desynced", writer="503 desynced", reader="200", within=10)
        node.execute("SET GLOBAL wsrep_desync = OFF")
        up_everywhere(agent)
        assert says(agent, "own") == "503 draining"
    node.freeze()
    down_everywhere(agent, "hung")
    node.thaw()
    up_everywhere(agent)
    agent.stop()
    node.stop()
    agent.start()
    down_everywhere(agent, "down")
    node.start_ist()
    up_everywhere(agent)
    _kill(agent, file)
    agent.start()
    up_everywhere(agent)
    node.execute("SET GLOBAL read_only = ON")
    expect(agent, any="200", writer="503 read_only", reader="200")
    _kill(agent, file)
    node.execute("SET GLOBAL read_only = OFF")
    agent.start()
    up_everywhere(agent)


def _kill(agent: Agent, file: Path) -> None:
    """When its last transition is on disk: that takes a sample, and other samples up to 10 s."""
    wait_until(lambda: told(replayed(file)["courses"][0]) == logged(agent), 15, "all is recorded")
    agent.kill()


def test_a_replay_tells_what_the_daemon_has_told(cluster: Cluster, node: GaleraNode) -> None:
    file = lab_dir() / "galera-record"
    with Agent.for_node(node, name="recording", port=9220, probe={"record": str(file)}) as agent:
        agent.start()
        watched(agent, node, file)
        agent.stop()
        found = replayed(file)
        (course,) = found["courses"]

        assert told(course)[0] == logged(agent)[0]
        assert told(course)[1] == logged(agent)[1]
        assert len(told(course)[0]) > 40
        assert [event["event"] for event in found["events"]] == [
            *("started", "reloaded", "reloaded", "stopped"),
            *("started", "ended", "started", "ended", "started", "stopped"),
        ]
        assert course["roles"]["writer"]["falls"] == 4, "rejecting, desynced, hung, read_only"
        assert course["roles"]["reader"]["falls"] == 2


def processor_seconds(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_what_recording_costs(cluster: Cluster, node: GaleraNode) -> None:
    """Two agents side by side, one of which records."""
    file, span = lab_dir() / "cost-record", 10.0
    with (
        Agent.for_node(node, name="plain", port=9221) as plain,
        Agent.for_node(node, name="recording", port=9220, probe={"record": str(file)}) as recording,
    ):
        for agent in (plain, recording):
            up_everywhere(agent.start())
        before, started = [processor_seconds(agent) for agent in (plain, recording)], time.monotonic()
        wait_until(lambda: time.monotonic() - started > span, span + 10, "some time to measure")
        spent = time.monotonic() - started
        shares = [
            100 * (processor_seconds(agent) - was) / spent
            for agent, was in zip((plain, recording), before, strict=True)
        ]
    measured(f"record: {shares[1]:.2f}% of a core with it, {shares[0]:.2f}% without")
    assert shares[1] < 3 + 1.5 * shares[0], "0.7 % of a core; the rest is for a busy machine"
