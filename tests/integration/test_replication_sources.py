"""A real replica with two sources: which connection counts for whom, and the positions of both."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import Agent, MariaDB, Pair, wait_until
from lab.mariadb import Option
from tests.integration.expect import expect, reloaded, replicating, says, state

EAST, WEST = "east", "west"
WEST_DOMAIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """`east` is the pair's primary; `west` has a GTID domain of its own."""

    pair: Pair
    west: MariaDB

    def start(self) -> None:
        """Both connections run."""
        self.pair.replica.execute("STOP ALL SLAVES")
        self.pair.channel(EAST, self.pair.primary)
        self.pair.channel(WEST, self.west)
        wait_until(self._run, 30, "all threads run", logs=[self.pair.replica.log])

    def _run(self) -> bool:
        rows = self.pair.replica.rows("SHOW ALL SLAVES STATUS")
        return {row["Slave_IO_Running"] for row in rows} == {row["Slave_SQL_Running"] for row in rows} == {"Yes"}


@pytest.fixture(scope="module")
def west(real: Pair) -> Iterator[MariaDB]:
    options: dict[str, Option] = {
        "server_id": 3,
        "log_bin": "binlog",
        "gtid_domain_id": WEST_DOMAIN,
        "gtid_strict_mode": "ON",
    }
    with MariaDB("west", "127.0.0.3", options=options) as server:
        server.up()
        server.execute("CREATE DATABASE west")
        server.execute("CREATE TABLE west.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY)")
        yield server


@pytest.fixture
def sources(pair: Pair, west: MariaDB) -> Iterator[Sources]:
    pair.forget("")
    both = Sources(pair=pair, west=west)
    both.start()
    try:
        yield both
    finally:
        pair.forget(EAST, WEST)


def test_each_role_has_the_connections_that_it_needs(sources: Sources, replica: Agent) -> None:
    roles = {
        "eastern": {"base": "reader", "connections": [EAST]},
        "northern": {"base": "reader", "connections": [EAST, "north"]},
    }
    with reloaded(replica, roles=roles):
        replicating(replica)
        assert says(replica, "northern") == "503 not_replicating", "there is no such connection"
        sources.pair.replica.execute(f"STOP SLAVE '{WEST}'")
        said = "503 replica_stopped"
        expect(replica, any=said, writer="503 read_only", reader=said, is_state="replica_stopped")
        assert says(replica, "eastern") == "200"
        sources.start()
        replicating(replica)


def test_a_ring_makes_no_replica(sources: Sources, replica: Agent) -> None:
    """Every server of a ring has a source and takes writes; one that is stopped is no reason against it."""
    sources.pair.replica.execute("SET GLOBAL read_only = OFF")
    try:
        with reloaded(replica, roles={"candidate": {"ring": [EAST, WEST]}}):
            wait_until(lambda: says(replica, "candidate") == "200", 5, "a member of the ring")
            assert says(replica, "writer") == "503 is_replica", "it has not been told"
            sources.pair.replica.execute(f"STOP SLAVE '{WEST}'")
            wait_until(lambda: says(replica, "reader") == "503 replica_stopped", 5, "its rows grow old")
            assert says(replica, "candidate") == "200"
        with reloaded(replica, roles={"candidate": {"ring": [EAST]}}):
            wait_until(lambda: says(replica, "candidate") == "503 is_replica", 5, "of the other one it is a replica")
    finally:
        sources.pair.replica.execute("SET GLOBAL read_only = ON")


def test_positions_by_domain(sources: Sources, replica: Agent) -> None:
    """What it has got and applied of each, and what it would hand on itself."""
    sources.west.execute("INSERT INTO west.orders VALUES ()")
    sources.pair.primary.execute("CREATE OR REPLACE TABLE shop.east (id INT)")
    wanted = {
        "0": {"server_id": 1, "sequence": sequence(sources.pair.primary)},
        str(WEST_DOMAIN): {"server_id": 3, "sequence": sequence(sources.west)},
    }

    def seen() -> bool:
        told = state(replica)
        rows = {row["connection"]: row for row in told["replication"]}
        received = [rows[name]["gtid_io_pos"].get(domain) for name, domain in ((EAST, "0"), (WEST, str(WEST_DOMAIN)))]
        applied = [row["gtid_slave_pos"] for row in rows.values()]
        return (
            received == list(wanted.values())
            and applied == [wanted, wanted]
            and told["server"]["gtid_binlog_pos"] == wanted
        )

    wait_until(seen, 10, f"the replica shows {wanted}")


def sequence(server: MariaDB) -> int:
    """Of its last transaction."""
    return int(server.rows("SELECT @@gtid_binlog_pos AS position")[0]["position"].rpartition("-")[2])
