"""What lasts until somebody has seen to it: a node that was voted out, and one that has no provider any more.

Real servers, real state transfers, and the real `healthagent why` and `ack` on the control socket.
"""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from lab import Agent, GaleraNode, sql
from tests.integration.conftest import Cluster
from tests.integration.expect import down_everywhere, expect, measured, state, up_everywhere

TRANSFER_SECONDS = 60


def command(agent: Agent, *arguments: str) -> str:
    """What the command line says; its exit status is 0."""
    argv = [sys.executable, "-m", "healthagent", *arguments, "--config", str(agent.config_file)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def vote_out(cluster: Cluster, agent: Agent, node: GaleraNode, row: int) -> None:
    """It alone has the row already that another one inserts, so that it cannot apply what the others can."""
    insert = f"INSERT INTO shop.orders (id, client, seq) VALUES ({row}, -1, {row})"
    with node.client() as session:
        sql.execute(session, "SET SESSION wsrep_on = OFF")
        sql.execute(session, insert)
    inserted = time.monotonic()
    cluster.galera.nodes[0].execute(insert)
    down_everywhere(agent, "inconsistent")
    measured(f"voted out -> every role 503 inconsistent: {1000 * (time.monotonic() - inserted):.0f} ms")


def test_a_node_that_was_voted_out_is_back_after_a_whole_copy(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    position = f"{node.status('wsrep_cluster_state_uuid')}:{node.status('wsrep_last_committed')}"
    vote_out(cluster, agent, node, 2_000_001)
    agent.stop()
    down_everywhere(agent.start(), "inconsistent")
    node.stop()
    down_everywhere(agent, "down")
    assert state(agent)["latched"]["inconsistent"]
    cluster.galera.nodes[2].throttle_sst(30_000)
    try:
        # The systemd unit asks InnoDB for a position and gives it so; Galera takes no notice, and wants a whole copy.
        node.start("--wsrep-sst-donor=n3", f"--wsrep-start-position={position}")
        started = time.monotonic()
        down_everywhere(agent, "sst_joiner", within=20)
        node.wait_synced(TRANSFER_SECONDS)
        synced = time.monotonic()
        up_everywhere(agent)
        measured(
            f"voted out, started again: Synced by a full copy after {synced - started:.1f} s, up by itself "
            f"{1000 * (time.monotonic() - synced):.0f} ms later"
        )
    finally:
        cluster.galera.nodes[2].throttle_sst(None)
    assert not state(agent)["latched"]["inconsistent"]


def test_a_copy_that_nobody_has_seen_is_acknowledged(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    vote_out(cluster, agent, node, 2_000_002)
    agent.stop()
    node.stop()
    node.start()
    node.wait_synced(TRANSFER_SECONDS)
    agent.start()
    down_everywhere(agent, "inconsistent")
    assert state(agent)["galera"]["local_state_comment"] == "Synced"
    (failed,) = [line for line in command(agent, "why", "writer").splitlines() if line.startswith("failed")]
    assert failed.split()[1] == "state"
    assert "reason=inconsistent" in failed
    assert command(agent, "ack") == "acknowledged: inconsistent\n"
    measured(f"ack of a Synced node -> up: {up_everywhere(agent):.0f} ms")
    assert command(agent, "ack") == "nothing to acknowledge\n"
    agent.stop()
    up_everywhere(agent.start())


def test_who_may_acknowledge(agent: Agent) -> None:
    assert agent.get("/ack", method="POST").status == 403
    assert agent.get("/ack").status == 405
    answer = agent.control("/ack", method="POST")
    assert (answer.status, answer.body) == (200, "nothing to acknowledge\n")


@pytest.fixture
def provider(node: GaleraNode) -> Iterator[str]:
    """The node has its provider again at the end."""
    provider = str(node.sections["mysqld"]["wsrep_provider"])
    yield provider
    if node.sections["mysqld"]["wsrep_provider"] != provider:
        node.stop()
        node.configure(wsrep_provider=provider)


def test_a_provider_that_is_gone_again_and_again(cluster: Cluster, node: GaleraNode, provider: str) -> None:
    """Acknowledged, it is a server like any other; with its provider it is a Galera node, and off again is off."""

    def start(agent: Agent, loaded: str) -> None:
        node.stop()
        down_everywhere(agent, "down")
        node.configure(wsrep_provider=loaded)
        node.start_ist()
        node.wait_until(node.answers, 30, "answers SQL")

    agent = cluster.agents[1]
    start(agent, "none")
    down_everywhere(agent, "wsrep_off")
    agent.stop()
    down_everywhere(agent.start(), "wsrep_off")
    assert "reason=wsrep_off" in command(agent, "why", "writer")
    assert command(agent, "ack") == "acknowledged: wsrep_off\n"
    expect(agent, any="200", writer="200", reader="200", synced="503 not_galera", is_state="standalone")
    agent.stop()
    expect(agent.start(), any="200", writer="200", reader="200", is_state="standalone")

    start(agent, provider)
    node.wait_synced()
    expect(agent, any="200", writer="200", reader="200", synced="200", is_state="synced", within=20)
    start(agent, "none")
    down_everywhere(agent, "wsrep_off")
