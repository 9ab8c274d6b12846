"""Clients that write all the time through real HAProxys while the node that they write to goes away and comes back.

No acknowledged row may be lost, on any node. What fails, and for how long, is measured and shown at the end of the run.
Galera itself holds all writes back until it has given the lost node up (evs.suspect_timeout, 5 s): no balancer can be
faster.

One HAProxy is the example, with its memory of one entry. Two others are what most people have: a first server and
backups, no word between the two, and different patience. Each decides by itself who the writer is, so for some time
they disagree: how often and how long is measured twice, by what they say and by where the writes of their clients went.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Self

import pytest

from lab import GaleraNode, HAProxy, Writer, cut_off, seconds_apart, wait_until
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import measured, reloaded

EXAMPLE = Path(__file__).parents[2] / "haproxy-examples" / "read-write-split.cfg"
WRITER_PORT = 3307
EXAMPLE_ADDRESS, EAGER_ADDRESS, PATIENT_ADDRESS = "127.0.0.1", "127.0.1.1", "127.0.1.2"
# n2 first: the fixtures do things to n2, and the address of n1 is the one that connections here come from.
FIRST_NODE = {"DB1": "127.0.0.2", "DB2": "127.0.0.1"}
# Who is back takes the writes back, and the sessions on the backup end. Without that option they would stay there for
# as long as their clients like, beside the new ones on the first server.
PLAIN = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 30s
    timeout server 30s

listen writer
    bind {address}:3307
    source {address}
    option httpchk GET /writer
    http-check expect status 200
    default-server check port 9200 {checks} on-marked-down shutdown-sessions on-marked-up shutdown-backup-sessions
    server n2 127.0.0.2:3306
    server n1 127.0.0.1:3306 backup
    server n3 127.0.0.3:3306 backup
"""
EAGER = "inter 200ms fall 2 rise 2"
PATIENT = "inter 2s fall 3 rise 2"  # HAProxy's defaults
# Every order counts in a row that all clients of a shop (ten of them) change: so two writers are in each other's way.
COUNTED = (
    "CREATE TABLE shop.sold (shop INT PRIMARY KEY, orders INT)",
    "CREATE TRIGGER shop.count_orders AFTER INSERT ON shop.orders FOR EACH ROW "
    "INSERT INTO shop.sold VALUES (NEW.client DIV 10, 1) ON DUPLICATE KEY UPDATE orders = orders + 1",
)
CONFLICTS = ("wsrep_local_cert_failures", "wsrep_local_bf_aborts")
SAMPLE_SECONDS = 0.02
WRITES = 25  # at least so many, before a phase counts as reached
MOVED_SECONDS, BACK_SECONDS = 30, 30


def mind(balancer: HAProxy) -> str | None:
    """Whom it takes for the writer: the first server that is up, or else the first backup."""
    up = [
        row for row in balancer.stat() if row["pxname"] == "writer" and row["type"] == "2" and row["status"][:2] == "UP"
    ]
    return min(up, key=lambda row: row["bck"])["svname"] if up else None


class Minds:
    """Asks both balancers every SAMPLE_SECONDS, in a thread."""

    def __init__(self, *balancers: HAProxy) -> None:
        self.seen: list[tuple[float, tuple[str | None, ...]]] = []
        self._balancers = balancers
        self._ending = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._ending.wait(SAMPLE_SECONDS):
                minds = tuple(mind(balancer) for balancer in self._balancers)
                self.seen.append((time.monotonic(), minds))
        except Exception as error:
            self._failed = error

    @property
    def disagreements(self) -> list[float]:
        """How many seconds each lasted. Who knows no server at all writes nowhere, and so does not disagree."""
        starts = [
            (next(samples)[0], apart)
            for apart, samples in groupby(self.seen, key=lambda sample: len({*sample[1]} - {None}) > 1)
        ]
        ends = [at for at, _ in starts[1:]] + [self.seen[-1][0]]
        return [end - at for (at, apart), end in zip(starts, ends, strict=True) if apart]

    @property
    def now(self) -> set[str | None]:
        return {*self.seen[-1][1]} if self.seen else set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed


# --- what is done to n2 ---------------------------------------------------------------------------------------------


@contextmanager
def drained(cluster: Cluster, node: GaleraNode) -> Iterator[None]:
    with reloaded(cluster.agents[1], roles={"writer": {"drain": True}}):
        yield


@contextmanager
def desynced(cluster: Cluster, node: GaleraNode) -> Iterator[None]:
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        yield
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")


@contextmanager
def stopped(cluster: Cluster, node: GaleraNode) -> Iterator[None]:
    node.stop()
    yield


@contextmanager
def killed(cluster: Cluster, node: GaleraNode) -> Iterator[None]:
    node.kill()
    yield


@contextmanager
def frozen(cluster: Cluster, node: GaleraNode) -> Iterator[None]:
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


def cut(cluster: Cluster, node: GaleraNode) -> AbstractContextManager[None]:
    return cut_off(node.address)


FAULTS: dict[str, Callable[[Cluster, GaleraNode], AbstractContextManager[None]]] = {
    "drained": drained,
    "desynced": desynced,
    "stopped": stopped,
    "killed": killed,
    "frozen": frozen,
    "cut off": cut,
}


# --- who asks and who writes ----------------------------------------------------------------------------------------


def plain(name: str, address: str, checks: str) -> HAProxy:
    return HAProxy(PLAIN.format(address=address, checks=checks), name=name)


def wait_checked(balancer: HAProxy) -> None:
    """It knows by checks, not by its hope at a start."""
    rows = ("n1", "n2", "n3")
    balancer.wait_until(
        lambda: all(balancer.server("writer", name)["check_status"] == "L7OK" for name in rows), 15, "checks"
    )


@pytest.fixture(scope="module")
def plain_pair(running_cluster: Cluster) -> Iterator[tuple[HAProxy, HAProxy]]:
    """They remember nothing, so one pair serves all tests."""
    need("haproxy")
    for statement in COUNTED:
        running_cluster.galera.nodes[0].execute(statement)
    with plain("eager", EAGER_ADDRESS, EAGER) as eager, plain("patient", PATIENT_ADDRESS, PATIENT) as patient:
        yield eager.start(), patient.start()


@pytest.fixture
def pair(cluster: Cluster, plain_pair: tuple[HAProxy, HAProxy]) -> tuple[HAProxy, HAProxy]:
    """Both take n2 for the writer."""
    for balancer in plain_pair:
        wait_checked(balancer)
    return plain_pair


@pytest.fixture
def example(cluster: Cluster) -> Iterator[HAProxy]:
    """A new one for each test, so that its writer is the first server again."""
    need("haproxy")
    haproxy = HAProxy(EXAMPLE)
    haproxy.env.update(FIRST_NODE)
    with haproxy:
        haproxy.start()
        wait_checked(haproxy)
        yield haproxy


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> int:
    """The first of this test's clients: ten of the pair's shop, then ten of the example's."""
    return 100 * (1 + request.session.items.index(request.node))


def wait_writes(writers: Sequence[Writer], nodes: set[str], seconds: float) -> None:
    """The last WRITES of each were taken by these nodes."""

    def there() -> bool:
        last = [writer.acknowledged[-WRITES:] for writer in writers]
        return all(len(writes) == WRITES and {write.server for write in writes} <= nodes for writes in last)

    wait_until(there, seconds, f"writes flow to {nodes}")


def conflicts(cluster: Cluster) -> dict[str, int]:
    """Transactions that each node has rolled back because another node's was first."""
    return {node.name: sum(int(node.status(name) or 0) for name in CONFLICTS) for node in cluster.galera.nodes}


def since(before: dict[str, int], after: dict[str, int]) -> int:
    """A node that was started meanwhile counts from 0 again."""
    return sum(count - before[name] if count >= before[name] else count for name, count in after.items())


def lost(cluster: Cluster, *writers: Writer) -> list[tuple[str, int, int]]:
    """Node, client and seq of each write that was acknowledged and is not there."""
    return [
        (node.name, writer.client, seq)
        for node in cluster.galera.nodes
        for writer in writers
        for seq in writer.verify(node)
    ]


def uncounted(cluster: Cluster, shop: int) -> dict[str, int]:
    """Orders of the shop less what its row says, by node; 0: no update was lost either."""
    said = "SELECT orders FROM shop.sold WHERE shop = %s"
    count = f"SELECT COUNT(*) - ({said}) AS n FROM shop.orders WHERE client DIV 10 = %s"
    return {node.name: int(node.rows(count, [shop // 10, shop // 10])[0]["n"]) for node in cluster.galera.nodes}


def tell(what: str, *writers: Writer, missing: int, more: str = "") -> None:
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    failed = sum(len(writer.failed) for writer in writers)
    gaps = ", ".join(f"{writer.longest_gap_ms:.0f} ms" for writer in writers)
    measured(f"{what}: {acknowledged} writes acknowledged, {failed} failed, {missing} lost; longest gap {gaps}{more}")


def tell_of_two(what: str, minds: Minds, writers: Sequence[Writer], missing: int, rolled_back: int) -> None:
    apart = minds.disagreements
    more = (
        f"; they disagree {len(apart)} times, {1000 * sum(apart):.0f} ms in all, {1000 * max(apart, default=0):.0f} ms "
        f"at most; two nodes written to for {1000 * seconds_apart(*writers):.0f} ms, {rolled_back} rolled back"
    )
    tell(f"{what}, two HAProxys that check every 200 ms and 2 s", *writers, missing=missing, more=more)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_writer_goes_away(
    cluster: Cluster, node: GaleraNode, pair: tuple[HAProxy, HAProxy], example: HAProxy, shop: int, fault: str
) -> None:
    places = {EAGER_ADDRESS: shop, PATIENT_ADDRESS: shop + 1, EXAMPLE_ADDRESS: shop + 10}
    writers = [Writer(host, WRITER_PORT, client=client, timeout=10, interval=0.02) for host, client in places.items()]
    eager, patient, alone = writers
    before = conflicts(cluster)
    with Minds(*pair) as minds, eager, patient, alone:
        wait_writes(writers, {"n2"}, MOVED_SECONDS)
        with FAULTS[fault](cluster, node):
            for balancer in pair:
                balancer.wait_status("writer", "n2", "DOWN", MOVED_SECONDS)
            wait_writes(writers, {"n1", "n3"}, MOVED_SECONDS)
        cluster.heal()
        wait_until(lambda: minds.now == {"n2"}, BACK_SECONDS, "both agree on n2 again")
        wait_writes([eager, patient], {"n2"}, BACK_SECONDS)
    missing = lost(cluster, *writers)
    of_two = sum(client in (eager.client, patient.client) for _, client, _ in missing)
    tell(f"n2 {fault}, HAProxy as in read-write-split.cfg", alone, missing=len(missing) - of_two)
    tell_of_two(f"n2 {fault}", minds, [eager, patient], of_two, since(before, conflicts(cluster)))
    assert missing == []
    assert set(uncounted(cluster, shop).values()) == {0}
    assert len(alone.failed) <= 5, alone.failed


def test_one_balancer_is_cut_off_from_the_writer(
    cluster: Cluster, node: GaleraNode, pair: tuple[HAProxy, HAProxy], shop: int
) -> None:
    """The agent is right about its node, and yet one balancer goes elsewhere: so here two nodes are written to."""
    eager = Writer(EAGER_ADDRESS, WRITER_PORT, client=shop, timeout=10, interval=0.02)
    patient = Writer(PATIENT_ADDRESS, WRITER_PORT, client=shop + 1, timeout=10, interval=0.02)
    before = conflicts(cluster)
    with Minds(*pair) as minds, eager, patient:
        wait_writes([eager, patient], {"n2"}, MOVED_SECONDS)
        with cut_off(EAGER_ADDRESS, peer=node.address):
            wait_writes([eager], {"n1"}, MOVED_SECONDS)
            wait_until(lambda: minds.now == {"n1", "n2"}, 5, "two minds")
            wait_writes([patient], {"n2"}, 5)
            wait_until(lambda: since(before, conflicts(cluster)) > 0, 10, "two nodes have changed the same row")
        wait_until(lambda: minds.now == {"n2"}, BACK_SECONDS, "both agree on n2 again")
        wait_writes([eager, patient], {"n2"}, BACK_SECONDS)
    missing, rolled_back = lost(cluster, eager, patient), since(before, conflicts(cluster))
    tell_of_two("one of two cut off from n2", minds, [eager, patient], len(missing), rolled_back)
    assert missing == []
    assert set(uncounted(cluster, shop).values()) == {0}
    assert len(minds.disagreements) == 1
    assert 0 < seconds_apart(eager, patient) < sum(minds.disagreements) + 1
