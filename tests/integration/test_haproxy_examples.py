"""Three of haproxy-examples as they stand, before three real nodes with an agent each."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from lab import HAProxy, Writer, sql, wait_until
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import measured, reloaded

EXAMPLES = Path(__file__).parents[2] / "haproxy-examples"
NODES = ("n1", "n2", "n3")
HOST, WRITER_PORT, READER_PORT = "127.0.0.1", 3307, 3308
WRITES = 30
CLIENTS = count(501)  # whose rows are theirs alone


@pytest.fixture
def agents(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with the agents' default ports for agent-check."""
    with ExitStack() as stack:
        for node, agent in zip(cluster.galera.nodes, cluster.agents, strict=True):
            ports = {f"{node.address}:9201": "writer", f"{node.address}:9202": "reader"}
            stack.enter_context(reloaded(agent, agent_check={"listen": ports}, http={"drain_code": 404}))
        yield cluster


def start(balancer: HAProxy, backend: str) -> None:
    """Returns when both checks of each server have passed."""
    need("haproxy")
    balancer.start()

    def passed() -> bool:
        rows = [balancer.server(backend, name) for name in NODES]
        return all((row["check_status"], row["agent_status"]) == ("L7OK", "L7OK") for row in rows)

    balancer.wait_until(passed, 10, "both checks of all servers")


class Visitors(threading.Thread):
    """Clients one after the other, each for one query: `seen` has who answered, `failed` what went wrong."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[str] = []
        self.failed: list[str] = []
        self._port, self._ending = port, threading.Event()

    def run(self) -> None:
        while not self._ending.wait(0.005):
            try:
                with sql.connect(host=HOST, port=self._port, user="app", password="app", timeout=5) as connection:
                    self.seen.append(sql.rows(connection, "SELECT @@report_host AS name")[0]["name"])
            except (sql.Error, OSError) as error:
                self.failed.append(repr(error))

    def come(self, number: int) -> set[str]:
        """Who answers that many more of them."""
        since = len(self.seen)
        wait_until(lambda: len(self.seen) >= since + number, 10, "visitors")
        return set(self.seen[since:])

    def __enter__(self) -> "Visitors":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join()


def test_drain_by_404(agents: Cluster, program: list[str | Path]) -> None:
    """No client notices: nobody new comes in, and who is connected works on for as long as it likes."""
    with HAProxy(EXAMPLES / "drain-by-404.cfg", program=program) as balancer, ExitStack() as stack:
        start(balancer, "reader")
        residents = [
            stack.enter_context(Writer(HOST, READER_PORT, client=next(CLIENTS), interval=0.02)) for _ in range(6)
        ]
        wait_until(lambda: all(resident.acknowledged for resident in residents), 10, "all are connected")
        here = [resident for resident in residents if resident.servers == {"n2"}]
        assert here, "leastconn spreads six over three"
        visitors = stack.enter_context(Visitors(READER_PORT))
        assert visitors.come(30) == set(NODES)
        began = time.monotonic()
        with reloaded(agents.agents[1], roles={"reader": {"drain": True}}):
            balancer.wait_status("reader", "n2", "NOLB")
            took = 1000 * (time.monotonic() - began)
            wait_until(lambda: balancer.server("reader", "n2")["weight"] == "0", 3, "up 0%")
            visitors.come(1)  # one that was on its way
            assert visitors.come(30) == {"n1", "n3"}
            written = [len(resident.acknowledged) for resident in here]
            wait_until(
                lambda: all(len(one.acknowledged) > before + WRITES for one, before in zip(here, written, strict=True)),
                10,
                "they work on",
            )
        measured(f"drain-by-404.cfg: no new sessions {took:.0f} ms after the agent was told, {len(here)} stayed")
        balancer.wait_status("reader", "n2", "UP")
        wait_until(lambda: balancer.server("reader", "n2")["weight"] == "100", 3, "up 100%")
        wait_until(lambda: "n2" in visitors.come(3), 10, "they are back")
    assert [resident.failed for resident in residents] == [[]] * len(residents)
    assert all(resident.servers == {"n2"} for resident in here)
    assert visitors.failed == []


def test_single_writer(agents: Cluster, program: list[str | Path]) -> None:
    """It drains, the next one falls: at no time do two nodes acknowledge writes by turns, and nothing moves back."""
    _, second, third = agents.galera.nodes
    with HAProxy(EXAMPLES / "single-writer.cfg", program=program) as balancer:
        start(balancer, "writer")
        with Writer(HOST, WRITER_PORT, client=next(CLIENTS), timeout=10) as client:

            def writes_on(name: str) -> None:
                since = len(client.acknowledged)
                wait_until(
                    lambda: [write.server for write in client.acknowledged[since:]][-WRITES:] == [name] * WRITES,
                    15,
                    f"{WRITES} writes on {name} in a row",
                )

            writes_on("n1")
            with reloaded(agents.agents[0], roles={"writer": {"drain": True}}):
                writes_on("n2")
                row = balancer.server("writer", "n1")
                assert (row["status"].partition(" ")[0], row["scur"]) == ("DOWN", "0")
            balancer.wait_status("writer", "n1", "UP")
            wait_until(lambda: balancer.server("writer", "n1")["weight"] == "100", 3, "up 100%")
            writes_on("n2")
            second.execute("SET GLOBAL read_only = ON")
            try:
                writes_on("n1")
            finally:
                second.execute("SET GLOBAL read_only = OFF")
        lost = client.verify(third)
    servers = [write.server for write in client.acknowledged]
    turns = [name for index, name in enumerate(servers) if index == 0 or servers[index - 1] != name]
    measured(
        f"single-writer.cfg, drained and read-only: {len(servers)} writes, {len(client.failed)} failed, "
        f"{len(lost)} lost; longest gap {client.longest_gap_ms:.0f} ms"
    )
    assert turns == ["n1", "n2", "n1"]
    assert lost == []
    assert len(client.failed) <= 200, "as long as HAProxy sends it to a node that is read-only"


def test_clustercheck(cluster: Cluster, program: list[str | Path]) -> None:
    """With the agent as it is: nobody answers agent-check on 9203, and httpchk alone decides, as it did."""
    need("haproxy")
    _, n2, n3 = cluster.galera.nodes
    with HAProxy(EXAMPLES / "clustercheck.cfg", program=program) as balancer:
        balancer.start()

        def are(*wanted: str) -> bool:
            rows = [balancer.server("galera", name) for name in NODES]
            return [f"{row['status']} {row['check_status']} {row['last_chk']}".rstrip() for row in rows] == list(wanted)

        balancer.wait_until(lambda: are("UP L7OK", "UP L7OK", "UP L7OK"), 5, "all are UP")
        balancer.wait_until(lambda: balancer.server("galera", "n1")["agent_status"] == "L4CON", 3, "an agent check")
        n2.execute("SET GLOBAL read_only = ON")
        n3.execute("SET GLOBAL wsrep_reject_queries = ALL")
        try:
            balancer.wait_until(lambda: are("UP L7OK", "UP L7OK", "DOWN L7STS rejecting"), 5, "n3 is DOWN")
            assert cluster.agents[1].get("/writer").reason == "read_only"
        finally:
            n2.execute("SET GLOBAL read_only = OFF")
            n3.execute("SET GLOBAL wsrep_reject_queries = NONE")
        balancer.wait_until(lambda: are("UP L7OK", "UP L7OK", "UP L7OK"), 5, "all are UP again")
