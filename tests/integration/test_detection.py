"""Looks between probes on real servers: what they see, what they cost the server, and the bell of wsrep_notify_cmd."""

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import Agent, Galera, GaleraNode, MariaDB, lab_dir, wait_until
from lab.replication import HEARTBEAT_SECONDS
from tests.binaries import need
from tests.integration.expect import measured, reloaded, says, state

SCRIPT = Path(__file__).parents[2] / "galera-examples" / "healthagent-notify"
BELL = ("127.0.0.1", 9203)
# a probe so seldom that whatever is seen in time was seen by a look between two of them
SELDOM = {"interval": "20s", "max_age": "60s"}
SECONDS = 4.0
PER_SECOND, PER_SECOND_REPLICA = 25, 35


def installed() -> Path:
    """The script where servers with a root of their own find it too."""
    return Path(shutil.copy(SCRIPT, lab_dir() / SCRIPT.name))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    """The first node runs alone; the second is there for what needs two."""
    need("mariadbd")
    with Galera(2, options={"wsrep_notify_cmd": f'"{installed()}"'}) as galera:
        for node in galera.nodes:
            node.prepare()
        galera.nodes[0].bootstrap()
        galera.nodes[0].wait_synced()
        yield galera


@pytest.fixture
def node(cluster: Galera) -> GaleraNode:
    return cluster.nodes[0]


@contextmanager
def agent_of(server: MariaDB, **probe: object) -> Iterator[Agent]:
    with Agent.for_node(server, probe=probe) as agent:
        agent.start()
        agent.wait_answer("/any", 200)
        yield agent


# --- what it costs --------------------------------------------------------------------------------------------------


def asked(server: MariaDB) -> int:
    return int(server.status("Questions") or 0)


def at_most(limit: float, server: MariaDB) -> float:
    """Statements per second. A busy machine makes looks late, and a late look is a whole probe: hence three tries."""
    rates: list[float] = []
    while len(rates) < 3 and (not rates or rates[-1] > limit):
        rates.append(per_second(server))
    return rates[-1]


def per_second(server: MariaDB) -> float:
    before, began = asked(server), time.monotonic()
    threading.Event().wait(SECONDS)
    own = 1  # the SHOW STATUS that told `before`
    return (asked(server) - before - own) / (time.monotonic() - began)


@contextmanager
def asking(agent: Agent) -> Iterator[list[int]]:
    """A client that asks for roles as fast as it is answered; how often."""
    over, count = threading.Event(), [0]

    def ask() -> None:
        while not over.is_set():
            assert agent.get("/reader").status in (200, 503)
            count[0] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


def costs(name: str, server: MariaDB, limit: float) -> None:
    """Statements per second by the server's own count, at rest and while checks are asked."""
    with agent_of(server) as agent:
        rest = at_most(limit, server)
        with asking(agent) as checks:
            busy = at_most(limit, server)
            connections = server.rows("SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE USER = 'root'")
        measured(f"{name}: {rest:.1f} statements/s at rest, {busy:.1f} with {checks[0]} checks (at most {limit})")
        assert checks[0] > 0
        assert 5 < rest <= limit
        assert 5 < busy <= limit
        assert connections[0]["n"] <= 1 + 3, "ours, and three of the agent"


def test_what_a_galera_node_is_asked(node: GaleraNode) -> None:
    costs("Galera node", node, PER_SECOND)


def test_what_a_galera_node_that_is_a_replica_is_asked(node: GaleraNode) -> None:
    with MariaDB("source", "127.0.0.9", options={"log_bin": "binlog", "server_id": 9}) as source:
        source.up()
        node.execute(
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_USER='repl', MASTER_PASSWORD='repl', MASTER_HEARTBEAT_PERIOD=%s",
            [source.address, HEARTBEAT_SECONDS],
        )
        node.execute("START SLAVE")
        try:
            costs("Galera node that is a replica", node, PER_SECOND_REPLICA)
        finally:
            node.execute("STOP SLAVE")
            node.execute("RESET SLAVE ALL")


# --- what it sees ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "off", "role", "reason"),
    [
        ("wsrep_reject_queries = 'ALL'", "wsrep_reject_queries = 'NONE'", "any", "rejecting"),
        ("read_only = ON", "read_only = OFF", "writer", "read_only"),
        ("wsrep_desync = ON", "wsrep_desync = OFF", "synced", "desynced"),
    ],
)
def test_a_gate_that_falls_at_once_does_not_wait_for_the_probe(
    node: GaleraNode, on: str, off: str, role: str, reason: str
) -> None:
    with agent_of(node, **SELDOM) as agent:
        began = time.monotonic()
        node.execute(f"SET GLOBAL {on}")
        try:
            wait_until(lambda: says(agent, role) == f"503 {reason}", 5, "seen by a look between two probes")
            measured(f"SET GLOBAL {on} -> 503 {reason}: {1000 * (time.monotonic() - began):.0f} ms")
        finally:
            node.execute(f"SET GLOBAL {off}")


def test_a_server_killed_and_back_is_seen_at_once_by_tcp_too(node: GaleraNode) -> None:
    by_tcp = {"host": node.address, "user": "healthagent", "password": "secret", "socket": None}
    for way, login in (("Unix socket", {}), ("TCP", by_tcp)):
        with Agent.for_node(node, mysql=login, probe=SELDOM) as agent:
            agent.start()
            agent.wait_answer("/any", 200)
            node.kill()
            killed = time.monotonic()
            agent.wait_answer("/any", 503, 5)
            measured(f"kill -9 -> 503, by {way}: {1000 * (time.monotonic() - killed):.0f} ms")
            node.bootstrap()
            node.wait_synced()
            agent.wait_answer("/any", 200, 15)


# --- the bell -------------------------------------------------------------------------------------------------------


@contextmanager
def deaf_agent(node: MariaDB) -> Iterator[Agent]:
    """One that looks when the bell rings, and else every 20 s."""
    with agent_of(node, **SELDOM, fast_interval="20s", notify="{}:{}".format(*BELL)) as agent:
        yield agent


def size(agent: Agent) -> int:
    return int(state(agent)["galera"]["cluster_size"])


def joins(first: GaleraNode, second: GaleraNode) -> float:
    """Seconds until the second is a synced member."""
    began = time.monotonic()
    second.start_ist()
    second.wait_synced()
    first.wait_until(lambda: first.sees(2), 30, "two members")
    return time.monotonic() - began


def leaves(first: GaleraNode, second: GaleraNode) -> None:
    second.stop()
    first.wait_until(lambda: first.sees(1), 30, "alone again")


def test_the_server_rings_and_the_agent_looks(cluster: Galera) -> None:
    first, second = cluster.nodes
    with deaf_agent(first) as agent:
        assert size(agent) == 1
        joins(first, second)
        wait_until(lambda: size(agent) == 2, 5, "the view has changed, and the bell rang")
        leaves(first, second)
        wait_until(lambda: size(agent) == 1, 5, "it rang again")


def test_nobody_waits_for_an_agent_that_is_frozen_or_gone(cluster: Galera) -> None:
    first, second = cluster.nodes
    with deaf_agent(first) as agent:
        agent.freeze()
        fill_the_buffer()
        frozen = joins(first, second)
        leaves(first, second)
        agent.thaw()
    gone = joins(first, second)
    leaves(first, second)
    measured(f"a join with a frozen agent and a full buffer {frozen:.1f} s, with none {gone:.1f} s")
    assert frozen < gone + 5


def fill_the_buffer() -> None:
    """More than the kernel keeps for a reader that does not read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(1000):
            client.sendto(b"x" * 100, BELL)


def seconds_of_the_script() -> float:
    began = time.monotonic()
    done = subprocess.run([SCRIPT, "--status", "synced"], timeout=20, check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return time.monotonic() - began


def test_the_script_returns_at_once_whatever_becomes_of_the_datagram(node: GaleraNode) -> None:
    took = {"nobody there": max(seconds_of_the_script() for _ in range(5))}
    with deaf_agent(node) as agent:
        took["an agent"] = max(seconds_of_the_script() for _ in range(5))
        agent.freeze()
        took["a frozen one"] = max(seconds_of_the_script() for _ in range(5))
        fill_the_buffer()
        took["a full buffer"] = max(seconds_of_the_script() for _ in range(5))
        agent.thaw()
    measured("wsrep_notify_cmd takes " + ", ".join(f"{1000 * value:.0f} ms ({word})" for word, value in took.items()))
    assert max(took.values()) < 2


def test_the_script_needs_no_right(node: GaleraNode) -> None:
    """mysqld runs it as its own user."""
    need("setpriv")
    script = installed()
    script.parent.chmod(0o711)
    with deaf_agent(node) as agent:
        before = state(agent)["sample"]["sequence"]
        node.execute("SET GLOBAL wsrep_reject_queries = 'ALL'")
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(script), "--status", "synced"]
        subprocess.run(command, check=True, timeout=20)
        try:
            wait_until(lambda: state(agent)["state"] == "rejecting", 5, "the bell rang")
            assert state(agent)["sample"]["sequence"] == before + 1
        finally:
            node.execute("SET GLOBAL wsrep_reject_queries = 'NONE'")


def test_a_flood_costs_the_server_a_bounded_number_of_statements(node: GaleraNode) -> None:
    over = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            while not over.wait(0.0001):
                for _ in range(20):
                    client.sendto(b"x", BELL)

    with deaf_agent(node) as agent:
        thread = threading.Thread(target=flood)
        thread.start()
        try:
            rate = per_second(node)
            assert agent.get("/writer").status == 200
        finally:
            over.set()
            thread.join()
        measured(f"a flood at the bell: {rate:.0f} statements/s")
        assert 10 < rate <= 3 * 20 + 5, "20 looks, and at worst each a whole probe"


def test_the_bell_can_be_moved_and_a_taken_port_is_told(node: GaleraNode) -> None:
    with deaf_agent(node) as agent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with reloaded(agent, probe={"notify": None}):
            wait_until(_is_free, 5, "closed")
        wait_until(lambda: not _is_free(), 5, "open again")
        agent.configure(probe={"notify": f"127.0.0.1:{port}"})
        agent.signal(signal.SIGHUP)
        says_so = f"not reloaded: probe.notify: cannot listen on 127.0.0.1:{port} (UDP): Address already in use"
        wait_until(lambda: any(says_so in line for line in agent.log_lines()), 5, "told")
        assert not _is_free(), "all is as before"


def _is_free() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        try:
            mine.bind(BELL)
        except OSError:
            return False
        return True
