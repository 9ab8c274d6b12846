"""A node that was frozen and goes on: it says Synced and serves old rows until it has noticed. Nobody is sent there.

Real servers, Galera's own timeouts (evs.suspect_timeout 5 s), the reader of the example configuration.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Agent, GaleraNode, HAProxy, sql, wait_until
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import down_everywhere, measured, says, state, up_everywhere

EXAMPLE = Path(__file__).parents[2] / "haproxy-examples" / "read-write-split.cfg"
READER = ("127.0.0.1", 3308)
SYNCED_SECONDS = 60


@pytest.fixture
def balancer(cluster: Cluster) -> Iterator[HAProxy]:
    need("haproxy")
    with HAProxy(EXAMPLE) as haproxy:
        yield haproxy.start()


def sees(host: str, port: int, seq: int) -> bool | None:
    """Whether a new session there sees the row; None where it may not look (1047, or it is not answered)."""
    try:
        with sql.connect(host=host, port=port, user="app", password="app", timeout=2) as session:
            return bool(sql.rows(session, "SELECT 1 FROM shop.orders WHERE client = 0 AND seq = %s", [seq]))
    except sql.Error:
        return None


def test_a_long_freeze_serves_no_old_row(cluster: Cluster, balancer: HAProxy, agent: Agent, node: GaleraNode) -> None:
    first = cluster.galera.nodes[0]
    node.freeze()
    down_everywhere(agent, "hung")
    balancer.wait_status("reader", "n2", "DOWN")
    first.wait_until(lambda: first.sees(2), 20, "the others go on without it")
    seq = cluster.galera.write(first)
    node.thaw()
    thawed, last_old, old = time.monotonic(), 0.0, 0
    while says(agent, "reader") != "200":
        if sees(node.address, node.port, seq) is False:  # asked directly, past the balancer
            last_old, old = time.monotonic() - thawed, old + 1
        assert sees(*READER, seq), "a reader behind HAProxy"
        assert time.monotonic() - thawed < SYNCED_SECONDS
    measured(
        f"frozen past the suspect timeout: {old} old reads on the node itself, the last {last_old:.1f} s after it "
        f"goes on, none behind HAProxy; reader 200 after {time.monotonic() - thawed:.1f} s"
    )
    assert old > 0, "the danger is real"
    assert sees(node.address, node.port, seq), "200 means that the row is there"
    up_everywhere(agent)


def test_an_agent_that_is_started_meanwhile_serves_no_old_row(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """Once while the node is frozen, and once while it says Synced and is not."""
    first = cluster.galera.nodes[0]
    node.freeze()
    first.wait_until(lambda: first.sees(2), 20, "the others go on without it")
    seq = cluster.galera.write(first)
    agent.kill()
    agent.start()
    down_everywhere(agent, "hung")
    node.thaw()
    wait_until(lambda: says(agent, "reader") == "503 thawed", 5, "the freeze had begun before the agent")
    agent.stop()
    agent.start()
    wait_until(lambda: says(agent, "reader") == "200", SYNCED_SECONDS, "it is a member again")
    assert sees(node.address, node.port, seq), "200 means that the row is there"
    up_everywhere(agent)


def test_a_freeze_that_ejected_nobody(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """Not quite long enough to be thrown out: nothing changes its view, so only time tells.

    With another evs.suspect_timeout, set while all of them run: the agent goes by the live one.
    """
    suspect(cluster, 8)
    try:
        wait_until(lambda: state(agent)["galera"]["suspect_timeout_seconds"] == 8, 5, "the agent reads it")
        since = state(agent)["galera"]["cluster_conf_id"]
        cluster.galera.write(node)  # the others have just heard of it
        frozen = time.monotonic()
        node.freeze()
        wait_until(lambda: time.monotonic() - frozen > 0.8 * 8 + 0.1, 10, "time passes")
        node.thaw()
        took = up_everywhere(agent, within=30)
        assert state(agent)["galera"]["cluster_conf_id"] == since, "nobody was thrown out"
        assert took > 10_000, "suspect timeout + 3 s"
    finally:
        suspect(cluster, 5)


def suspect(cluster: Cluster, seconds: int) -> None:
    for each in cluster.galera.nodes:
        each.set_provider("evs.suspect_timeout", f"PT{seconds}S")


def test_a_short_freeze_is_no_more_than_a_hang(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    node.freeze()
    down_everywhere(agent, "hung")
    node.thaw()
    assert up_everywhere(agent, within=20) < 3000
