"""State transfers and starts on real servers: what donor, joiner and a starting node answer."""

import pytest

from lab import Agent, GaleraNode, wait_until
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import down_everywhere, expect, measured, state, up_everywhere

BALLAST_MEGABYTES = 64
SLOW_KIB_PER_SECOND = 12000
TRANSFER_SECONDS = 90
# Probes so fast that a state of some 10 ms is seen.
FAST_PROBE = {"interval": "50ms", "timeout": "800ms"}


@pytest.fixture(scope="module", autouse=True)
def ballast(running_cluster: Cluster) -> None:
    """Data whose copy takes its time."""
    running_cluster.galera.load(BALLAST_MEGABYTES)


@pytest.fixture
def donor(cluster: Cluster) -> GaleraNode:
    return cluster.galera.nodes[1]


@pytest.fixture
def joiner(cluster: Cluster) -> GaleraNode:
    return cluster.galera.nodes[2]


def test_rsync_donor_and_its_joiner(cluster: Cluster, donor: GaleraNode, joiner: GaleraNode) -> None:
    """Its writes hang for the whole copy: no hold, and no option opens it."""
    donor_agent, joiner_agent = cluster.agents[1:]
    with Agent.for_node(donor, name="lenient", port=9210, roles={"reader": {"donor": True, "desync": True}}) as lenient:
        lenient.start()
        joiner.join_by_sst("rsync", donor=donor, kib_per_second=SLOW_KIB_PER_SECOND)
        wait_until(lambda: donor.local_state == 2, 30, "the donor donates")
        measured(f"rsync donor (state 2) -> every role 503: {down_everywhere(donor_agent, 'donor_blocking'):.0f} ms")
        down_everywhere(lenient, "donor_blocking")
        down_everywhere(joiner_agent, "sst_joiner")
        assert state(donor_agent)["process"]["transfers"] == [{"joiner": False, "method": "rsync", "bypass": False}]
        up_everywhere(cluster.agents[0], within=5)
        donor.throttle_sst(None)
        joiner.wait_synced(TRANSFER_SECONDS)
        up_everywhere(donor_agent)
        up_everywhere(joiner_agent)


def test_mariabackup_donor_and_its_joiner(cluster: Cluster, donor: GaleraNode, joiner: GaleraNode) -> None:
    """Nothing hangs until the last second: a reader may be told to serve on, a writer never."""
    need("mariabackup", "socat", "pv")
    donor_agent, joiner_agent = cluster.agents[1:]
    with Agent.for_node(donor, name="lenient", port=9210, roles={"reader": {"donor": True}}) as lenient:
        lenient.start()
        joiner.join_by_sst("mariabackup", donor=donor, kib_per_second=SLOW_KIB_PER_SECOND)
        wait_until(lambda: donor.local_state == 2, 30, "the donor donates")
        down_everywhere(donor_agent, "donor")
        expect(lenient, any="503 donor", writer="503 donor", reader="200", is_state="donor")
        down_everywhere(joiner_agent, "sst_joiner")
        assert state(donor_agent)["process"]["transfers"] == [
            {"joiner": False, "method": "mariabackup", "bypass": False}
        ]
        donor.throttle_sst(None)
        joiner.wait_synced(TRANSFER_SECONDS)
        up_everywhere(donor_agent)
        up_everywhere(joiner_agent)


def test_joiner_by_ist(cluster: Cluster, donor: GaleraNode, joiner: GaleraNode) -> None:
    """It listens before it has its state, answers SELECT 1, and must serve nothing until it is synced."""
    joiner.stop()
    with Agent.for_node(joiner, name="watcher", port=9210, probe=FAST_PROBE) as watcher:
        watcher.start()
        down_everywhere(watcher, "down")
        donor.load(BALLAST_MEGABYTES)
        joiner.start_ist()
        down_everywhere(watcher, "joining", within=30)
        joiner.wait_synced(TRANSFER_SECONDS)
        up_everywhere(watcher)


def test_server_that_waits_for_its_peers(cluster: Cluster) -> None:
    """After a stop of the whole cluster a node listens only once it has found the others."""
    first, second, third = cluster.galera.nodes
    agent = cluster.agents[0]
    for node in (first, second, third):
        node.stop()
    down_everywhere(agent, "down")
    first.start_ist()
    down_everywhere(agent, "server_starting", within=15)
    first.kill()
    third.bootstrap()
    third.wait_synced()


def test_wsrep_switched_off(cluster: Cluster, joiner: GaleraNode) -> None:
    """The server would take writes that nobody replicates."""
    agent = cluster.agents[2]
    joiner.stop()
    joiner.configure(wsrep_on="OFF")
    try:
        joiner.start()
        wait_until(joiner.answers, 30, "the server answers")
        down_everywhere(agent, "wsrep_off")
    finally:
        joiner.stop()
        joiner.configure(wsrep_on="ON")


def test_provider_gone_from_a_node_that_was_once_galera(cluster: Cluster, joiner: GaleraNode) -> None:
    """It looks like a healthy standalone server. The agent remembers, over its own restart too."""
    agent = cluster.agents[2]
    provider = joiner.sections["mysqld"]["wsrep_provider"]
    joiner.stop()
    agent.stop()
    joiner.configure(wsrep_provider="none")
    try:
        joiner.start()
        wait_until(joiner.answers, 30, "the server answers")
        agent.start()
        down_everywhere(agent, "wsrep_off")
        with Agent.for_node(joiner, name="told", port=9210, mysql={"topology": "standalone"}) as told:
            told.start()
            expect(told, any="200", writer="200", reader="200", synced="503 not_galera", is_state="standalone")
    finally:
        joiner.stop()
        joiner.configure(wsrep_provider=provider)
