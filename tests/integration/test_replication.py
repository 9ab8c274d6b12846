"""Asynchronous replication on real servers: what a primary and its replica answer in each condition."""

import socket
import threading
from contextlib import suppress
from typing import Self

from lab import Agent, Pair, Writer, wait_until
from lab.mariadb import PORT
from tests.integration.expect import expect, measured, replicating, state

GRACE_SECONDS = 10


def test_primary(primary: Agent) -> None:
    expect(primary, any="200", writer="200", reader="200", synced="503 not_galera", is_state="primary")
    answer = primary.get("/replica")
    assert (answer.status, answer.reason) == (503, "is_primary")


def test_replica_running(replica: Agent) -> None:
    assert replica.get("/replica").status == 200
    reasons = replica.get("/writer").headers["x-healthagent-reasons"]
    assert reasons == "read_only,is_replica"


def test_io_thread_stopped(pair: Pair, replica: Agent) -> None:
    pair.replica.execute("STOP SLAVE IO_THREAD")
    took = expect(
        replica,
        any="503 replica_stopped",
        writer="503 read_only",
        reader="503 replica_stopped",
        is_state="replica_stopped",
    )
    measured(f"STOP SLAVE IO_THREAD -> reader 503: {took:.0f} ms")
    pair.follow()
    replicating(replica)


def test_sql_thread_stopped(pair: Pair, replica: Agent) -> None:
    pair.replica.execute("STOP SLAVE SQL_THREAD")
    expect(
        replica,
        any="503 replica_stopped",
        writer="503 read_only",
        reader="503 replica_stopped",
        is_state="replica_stopped",
    )
    pair.follow()
    replicating(replica)


def test_sql_error(pair: Pair, replica: Agent) -> None:
    pair.break_sql()
    expect(
        replica, any="503 replica_error", writer="503 read_only", reader="503 replica_error", is_state="replica_error"
    )
    gates = {gate["gate"]: gate for gate in replica.get("/why?role=reader").json()}
    assert gates["replica_error"]["value"].startswith("1062: ")
    pair.repair_sql()
    replicating(replica)


def test_delayed_beyond_the_limit(pair: Pair) -> None:
    """Lag is the full age of the data, a wanted delay included."""
    limits = {"reader": {"max_lag": "3s"}, "reports": {"base": "reader", "max_lag": "10m"}}
    with Agent.for_node(pair.replica, roles=limits) as agent:
        replicating(agent.start())
        pair.delay(6)
        try:
            with Writer(pair.primary.address, interval=0.1):
                expect(
                    agent,
                    any="503 replica_lagging",
                    writer="503 read_only",
                    reader="503 replica_lagging",
                    is_state="replica_lagging",
                    within=15,
                )
                assert agent.get("/reports").status == 200, "a role of one's own has its own limit"
        finally:
            pair.delay(0)
        replicating(agent)


def test_primary_gone(pair: Pair, replica: Agent) -> None:
    """The replica serves for the grace of a reconnect, then no longer; and again once the primary is back."""
    pair.primary.kill()
    wait_until(lambda: state(replica)["state"] == "replica_stale_link", 5, "the link is lost")
    assert replica.get("/reader").status == 200, "held"
    took = expect(
        replica,
        any="503 replica_stale_link",
        writer="503 read_only",
        reader="503 replica_stale_link",
        within=GRACE_SECONDS + 5,
    )
    assert took > 1000 * (GRACE_SECONDS - 3)
    pair.primary.up()
    pair.wait_running()
    replicating(replica)


def test_reset_slave_all(pair: Pair, replica: Agent) -> None:
    """No source, and read-only: its data only grow old."""
    pair.replica.execute("STOP SLAVE")
    pair.replica.execute("RESET SLAVE ALL")
    expect(
        replica,
        any="503 not_replicating",
        writer="503 read_only",
        reader="503 not_replicating",
        is_state="replica_stopped",
    )
    with Agent.for_node(pair.replica, name="told", port=9210, roles={"reader": {"require_replication": False}}) as told:
        expect(told.start(), any="200", writer="503 read_only", reader="200")
    pair.follow()
    replicating(replica)


def test_writable_replica_is_no_writer(pair: Pair, replica: Agent) -> None:
    """read_only forgotten: whoever writes here loses it, so the replication row decides, not the variable."""
    pair.replica.execute("SET GLOBAL read_only = OFF")
    expect(replica, any="200", writer="503 is_replica", reader="200", is_state="replica")
    pair.replica.execute("STOP SLAVE")
    expect(replica, any="503 replica_stopped", writer="503 is_replica", reader="503 replica_stopped")


def test_without_slave_monitor_nothing_serves(pair: Pair) -> None:
    """Replication rows that cannot be read are no permission to write."""
    pair.primary.execute("CREATE OR REPLACE USER blind@'127.%' IDENTIFIED BY 'blind'")
    login = {"socket": None, "host": pair.primary.address, "user": "blind", "password": "blind"}
    with Agent.for_node(pair.primary, name="blind", mysql=login) as agent:
        said = "503 replication_unknown"
        expect(agent.start(), any=said, writer=said, reader=said, is_state="unknown")


def test_show_all_slaves_status_that_hangs(pair: Pair) -> None:
    """The other facts stand, and the server is asked for the rows only once. (10.11 does not hang; a proxy does it.)"""
    with Holding(pair.replica.address, b"SHOW ALL SLAVES STATUS") as proxy:
        login = {"socket": None, "host": "127.0.0.1", "port": proxy.port, "user": "healthagent", "password": "secret"}
        with Agent.for_node(pair.replica, name="behind-proxy", mysql=login) as agent:
            replicating(agent.start())
            proxy.hold.set()
            said = "503 replication_unknown"
            expect(agent, any=said, writer="503 read_only", reader=said)
            seen = state(agent)
            assert seen["sample"]["failure"] is None, "the other facts stand"
            wait_until(lambda: state(agent)["sample"]["sequence"] > seen["sample"]["sequence"] + 5, 5, "more samples")
            assert proxy.held == 1, "single flight: no second one while the first has no answer"
            proxy.hold.clear()
            replicating(agent)


class Holding:
    """A TCP proxy that, while `hold` is set, keeps back every request that contains `needle`."""

    def __init__(self, address: str, needle: bytes) -> None:
        self.hold = threading.Event()
        self.held = 0
        self._address, self._needle = address, needle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._address, PORT))
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._needle in data and self.hold.is_set():
                    self.held += 1
                    wait_until(lambda: not self.hold.is_set(), 60, "the proxy lets go")
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
