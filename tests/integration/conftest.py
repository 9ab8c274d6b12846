"""Real servers for the tests here; they run under `lab/enter`, in a network of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Agent, Galera, GaleraNode, Pair
from lab.agent import HTTP_PORT
from lab.haproxy import programs
from tests.binaries import need
from tests.integration.expect import replicating, up_everywhere


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside `lab/enter` nothing here can run: skipped on a laptop, an error in CI."""
    if "LAB_DIR" in os.environ:
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError("the integration tests run under lab/enter: use `make test`")
    for item in items:
        if "/integration/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="needs lab/enter: use `make test`"))


class Cluster:
    """Three nodes and the agent beside each."""

    def __init__(self) -> None:
        need("mariadbd", "garbd", "rsync")
        self.galera = Galera()
        # Asked first on an address that stays when a node's own is cut off; balancers ask on the node's.
        self.agents = tuple(
            Agent.for_node(node, http={"listen": [f"127.0.2.{number}:{HTTP_PORT}", f"{node.address}:{HTTP_PORT}"]})
            for number, node in enumerate(self.galera.nodes, start=1)
        )

    def start(self) -> None:
        self.galera.start()
        for agent in self.agents:
            agent.start()

    def heal(self) -> None:
        """All nodes synced and every agent up, whatever the last test did."""
        for node in self.galera.nodes:
            if not node.alive:
                node.start_ist()
        self.galera.wait_synced()
        for agent in self.agents:
            if not agent.alive:
                agent.start()
            up_everywhere(agent)

    def close(self) -> None:
        for agent in self.agents:
            agent.close()
        self.galera.close()


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    """One cluster for a module: others have servers of their own on the same addresses."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """Healthy, whatever the last test did."""
    running_cluster.heal()
    return running_cluster


@pytest.fixture
def node(cluster: Cluster) -> GaleraNode:
    """The member that things are done to."""
    return cluster.galera.nodes[1]


@pytest.fixture
def agent(cluster: Cluster) -> Agent:
    """The agent beside `node`."""
    return cluster.agents[1]


@pytest.fixture(scope="module")
def real() -> Iterator[Pair]:
    need("mariadbd")
    pair = Pair()
    try:
        yield pair.start()
    finally:
        pair.close()


@pytest.fixture
def pair(real: Pair) -> Pair:
    """Both servers as a healthy pair, whatever the last test did."""
    for server in (real.primary, real.replica):
        if not server.alive:
            server.up()
        server.thaw()
    real.replica.execute("SET GLOBAL read_only = ON")
    real.follow()
    return real


@pytest.fixture
def primary(pair: Pair) -> Iterator[Agent]:
    with Agent.for_node(pair.primary) as agent:
        yield agent.start()


@pytest.fixture
def replica(pair: Pair) -> Iterator[Agent]:
    with Agent.for_node(pair.replica) as agent:
        replicating(agent.start())
        yield agent


@pytest.fixture(params=programs().items(), ids=lambda item: item[0])
def program(request: pytest.FixtureRequest) -> list[str | Path]:
    """HAProxy as Debian 12 ships it, and as Debian 13 does where its tree is."""
    found: list[str | Path] = request.param[1]
    return found
