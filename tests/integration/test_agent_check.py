"""haproxy-examples/agent-weights.cfg in real HAProxys (2.6, and 3.0 of a Debian 13 tree) before a real agent and node.

n1 is real. n2 is a stand-in whose two ports say what a test wants, as no agent would.
"""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from lab import Agent, Galera, GaleraNode, HAProxy, LabError, sql
from lab.process import lab_dir
from tests.binaries import need
from tests.integration.expect import measured, reloaded, weight

EXAMPLE = (Path(__file__).parents[2] / "haproxy-examples" / "agent-weights.cfg").read_text()
MAX_CONNECTIONS = 20
READER = {"max_lag": "10s", "desync": True}

# For the tests that only wait for the next agent check.
FAST = EXAMPLE.replace("agent-inter 500ms", "agent-inter 100ms")
# What is easily done wrong; without `timeout check` HAProxy waits for as long as agent-inter, by default 2 s.
TRAPS = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 5s
    timeout server 5s
    default-server agent-check

backend weights
    server one 127.0.0.1:3306 agent-port 9202 agent-inter 300ms

backend traps
    server named 127.0.0.1:3306 weight 100 agent-port 9203 agent-send "reader\\n" agent-inter 100ms
    server nobody 127.0.0.1:3306 weight 100 agent-port 9203 agent-send "raeder\\n" agent-inter 100ms
    server forgotten 127.0.0.1:3306 weight 100 agent-port 9203
    server closed 127.0.0.1:3306 weight 100 agent-port 9999 agent-inter 100ms
"""

HTTP_OK = b"HTTP/1.0 200 OK\r\n\r\n"
HTTP_DOWN = b"HTTP/1.0 503 desynced\r\n\r\n"


class Stub:
    """Ports on n2's address: HTTP and agent-check as bytes; None: they say nothing and hold the line."""

    def __init__(self, address: str = "127.0.0.2") -> None:
        self.http: bytes | None = HTTP_OK
        self.agent: bytes | None = b"up 100%\n"
        self.asked = 0
        self._servers = (self._listen(address, 9200, lambda: self.http), self._listen(address, 9202, self._agent))

    def _agent(self) -> bytes | None:
        self.asked += 1
        return self.agent

    def _listen(self, address: str, port: int, speak: Callable[[], bytes | None]) -> socketserver.TCPServer:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                said = speak()
                if said is not None:
                    self.request.sendall(said)
                    self.request.shutdown(1)
                while self.request.recv(4096):
                    pass

            def finish(self) -> None:
                self.request.close()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """HAProxy ends its checks by RST."""

        server = Server((address, port), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def node() -> Iterator[GaleraNode]:
    need("mariadbd", "haproxy")
    with Galera(1, options={"max_connections": MAX_CONNECTIONS}) as cluster:
        yield cluster.start().nodes[0]


@pytest.fixture(scope="module")
def agent(node: GaleraNode) -> Iterator[Agent]:
    ports = {"127.0.0.1:9201": "writer", "127.0.0.1:9202": "reader", "127.0.0.1:9203": None}
    weights = {"warm_up": "0s", "raise_interval": "0s"}
    with Agent.for_node(node, agent_check={"listen": ports}, weights=weights, roles={"reader": READER}) as agent:
        yield agent.start()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        yield stub


class Balancer(HAProxy):
    """The example, or a variant of it, in one version of HAProxy."""

    def __init__(self, program: list[str | Path], config: str = EXAMPLE) -> None:
        super().__init__(config, name="agent-weights", program=program)

    def n(self, number: int) -> dict[str, str]:
        return self.server("reader", f"n{number}")

    def becomes(self, number: int, status: str, weight: int | None = None, *, within: float = 6) -> float:
        """Waits for both; how many milliseconds that took."""
        began = time.monotonic()
        heard: dict[str, str] = {}

        def reached() -> bool:
            heard.update(self.n(number))
            return heard["status"].startswith(status) and weight in (None, int(heard["weight"]))

        try:
            self.wait_until(reached, within, f"n{number} is {status} with weight {weight}")
        except LabError as error:
            raise AssertionError(f"{error}\n{heard}") from None
        return 1000 * (time.monotonic() - began)

    def hears(self, stub: Stub, times: int = 1) -> dict[str, str]:
        """n2's row when its agent has been asked so often from now on, so that its last answer has been taken."""
        told = stub.asked + times
        self.wait_until(lambda: stub.asked > told, 2 + 3 * times, "agent checks")
        return self.n(2)


@pytest.fixture
def balancer(program: list[str | Path], agent: Agent, stub: Stub) -> Iterator[Balancer]:
    agent.thaw()
    if not agent.alive:
        agent.start()
    agent.wait_until(lambda: weight(agent, "reader") == 100, 10, "is well")
    with Balancer(program) as balancer:
        balancer.start()
        balancer.becomes(3, "DOWN")  # nobody is there: so the first checks have ended
        balancer.becomes(1, "UP", 100)
        yield balancer


@pytest.fixture
def before_stub(program: list[str | Path], stub: Stub) -> Iterator[Balancer]:
    """The example with quick agent checks and no node but the stand-in."""
    with Balancer(program, FAST) as balancer:
        balancer.start()
        balancer.becomes(2, "UP", 100)
        balancer.hears(stub)
        yield balancer


@contextmanager
def session_on_n1(balancer: Balancer, stub: Stub) -> Iterator[sql.Connection]:
    """A client that is connected through the balancer while nobody else is UP."""
    stub.http = HTTP_DOWN
    balancer.becomes(2, "DOWN")
    with sql.connect(host="127.0.0.1", port=3308, user="app", password="app", timeout=5) as session:
        assert balancer.n(1)["scur"] == "1"
        yield session


# --- a real agent ---------------------------------------------------------------------------------------------------


def test_the_weight_follows(balancer: Balancer, agent: Agent, node: GaleraNode) -> None:
    with ExitStack() as sessions:
        for _ in range(16):
            sessions.enter_context(node.client())
        agent.wait_until(lambda: weight(agent, "reader") < 100, 5, "weighs less")
        told = weight(agent, "reader")
        took = balancer.becomes(1, "UP", told)
    assert 10 <= told <= 80
    measured(f"{balancer.version}: up {told}% is HAProxy's weight {told} after {took:.0f} ms")
    balancer.becomes(1, "UP", 100)
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        took = balancer.becomes(1, "UP", 50)
        assert weight(agent, "reader") == 50
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")
    measured(f"{balancer.version}: a desynced reader has weight 50 after {took:.0f} ms")
    balancer.becomes(1, "UP", 100)


def test_down_with_its_reason(balancer: Balancer, agent: Agent, node: GaleraNode) -> None:
    node.execute("SET GLOBAL wsrep_reject_queries = ALL")
    try:
        took = balancer.becomes(1, "DOWN")
        balancer.wait_until(lambda: "rejecting" in balancer.n(1)["last_agt"], 3, "the reason")
        row = balancer.n(1)
        assert (row["agent_status"], row["last_agt"]) == ("L7STS", "via agent : down (rejecting)")
        balancer.wait_until(lambda: balancer.n(1)["check_status"] == "L7STS", 3, "httpchk agrees")
    finally:
        node.execute("SET GLOBAL wsrep_reject_queries = NONE")
    measured(f"{balancer.version}: down #rejecting is {row['status']} after {took:.0f} ms")
    took = balancer.becomes(1, "UP", 100)
    measured(f"{balancer.version}: and up again after {took:.0f} ms")


def test_a_role_that_drains_and_is_back(balancer: Balancer, agent: Agent, stub: Stub) -> None:
    """Beside httpchk with its 503 the server is DOWN; here too nobody comes in, and who is connected stays."""
    with session_on_n1(balancer, stub) as session:
        with reloaded(agent, roles={"reader": {"drain": True}}):
            took = balancer.becomes(1, "DOWN", 0)
            row = balancer.n(1)
            assert (row["check_code"], row["last_chk"], row["agent_status"]) == ("503", "draining", "L7OK")
            assert sql.rows(session, "SELECT 1")
        measured(f"{balancer.version}: draining with 503 is DOWN after {took:.0f} ms, with agent-check's weight 0")
        took = balancer.becomes(1, "UP", 100)
        measured(f"{balancer.version}: drained no more, UP with its whole weight after {took:.0f} ms")
        assert sql.rows(session, "SELECT 1")


def test_an_agent_that_is_frozen_or_gone(balancer: Balancer, agent: Agent) -> None:
    """Nothing of this agent-check would notice: httpchk does."""
    agent.freeze()
    took = balancer.becomes(1, "DOWN")
    row = balancer.n(1)
    assert (row["check_status"], row["last_agt"]) == ("L7TOUT", "")
    measured(f"{balancer.version}: a frozen agent is {row['status']} after {took:.0f} ms")
    agent.thaw()
    balancer.becomes(1, "UP", 100)
    agent.kill()
    took = balancer.becomes(1, "DOWN")
    assert balancer.n(1)["check_status"] == "L4CON"
    measured(f"{balancer.version}: a killed agent is DOWN after {took:.0f} ms")
    agent.start()
    balancer.becomes(1, "UP", 100)


def test_what_an_operator_sets(balancer: Balancer, agent: Agent) -> None:
    for state, status in (("drain", "DRAIN"), ("maint", "MAINT")):
        balancer.command(f"set server reader/n1 state {state}")
        checked = int(balancer.n(1)["lastchg"])
        balancer.wait_until(lambda since=checked: int(balancer.n(1)["lastchg"]) > since, 3, "time passes")  # type: ignore[misc]
        assert balancer.n(1)["status"].startswith(status), "up does not end it"
        balancer.command("set server reader/n1 state ready")
        balancer.becomes(1, "UP", 100)
    balancer.command("set weight reader/n1 30")
    took = balancer.becomes(1, "UP", 100)
    measured(f"{balancer.version}: a weight by hand is overwritten after {took:.0f} ms")
    balancer.command("disable agent reader/n1")
    balancer.command("set weight reader/n1 30")
    assert int(balancer.n(1)["weight"]) == 30
    with reloaded(agent, agent_check={"admin_words": True}):
        balancer.wait_until(lambda: int(balancer.n(1)["weight"]) == 30, 1, "kept: the agent is not asked")
        balancer.command("enable agent reader/n1")
        balancer.command("set server reader/n1 state drain")
        took = balancer.becomes(1, "UP", 100)
        measured(f"{balancer.version}: admin_words end an operator's drain after {took:.0f} ms")


def test_a_restart_of_haproxy(balancer: Balancer, program: list[str | Path], node: GaleraNode) -> None:
    """It forgets weight and state: UP with the configured weight until the first answer."""
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        balancer.becomes(1, "UP", 50)
        balancer.stop()
        began = time.monotonic()
        balancer.start()
        balancer.becomes(1, "UP", 50)
        measured(
            f"{balancer.version}: restarted, the agent's weight again after {1000 * (time.monotonic() - began):.0f} ms"
        )
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")


def test_a_reload_of_haproxy(balancer: Balancer, node: GaleraNode, stub: Stub) -> None:
    """As a restart, but the old process keeps its sessions. What an operator had set is gone."""
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        balancer.becomes(1, "UP", 50)
        with session_on_n1(balancer, stub) as session:
            balancer.command("set server reader/n1 state drain")
            began = time.monotonic()
            balancer.reload()
            balancer.becomes(1, "UP", 50)
            took = 1000 * (time.monotonic() - began)
            assert sql.rows(session, "SELECT 1")
        measured(f"{balancer.version}: reloaded, the agent's weight again after {took:.0f} ms")
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")


def test_a_state_file_brings_what_was_set_over_a_reload(program: list[str | Path], agent: Agent, stub: Stub) -> None:
    file = lab_dir() / "servers.state"
    keeps = FAST.replace("    log global", "    log global\n    load-server-state-from-file global", 1)
    with Balancer(program, f"global\n    server-state-file {file}\n{keeps}") as balancer:
        balancer.start()
        stub.agent = b"up 30%\n"
        balancer.becomes(2, "UP", 30)
        balancer.becomes(3, "DOWN")
        balancer.command("set server reader/n1 state drain")
        file.write_text(balancer.command("show servers state"))
        stub.agent = None
        balancer.reload()
        assert balancer.n(1)["status"].startswith("DRAIN")
        assert balancer.n(2)["weight"] == "30", "no agent has answered yet"
        assert balancer.n(3)["status"] == "DOWN"


def test_what_is_easily_done_wrong(program: list[str | Path], agent: Agent, node: GaleraNode) -> None:
    # a weight that a test before this one has lowered rises 5 s later
    agent.wait_until(lambda: weight(agent, "reader") == 100, 20, "its whole weight")
    with Balancer(program, TRAPS) as balancer:
        balancer.start()

        def row(name: str) -> dict[str, str]:
            return balancer.server("traps" if name != "one" else "weights", name)

        for name in ("one", "named"):
            balancer.wait_until(lambda name=name: row(name)["agent_status"] == "L7OK", 3, "an answer")  # type: ignore[misc]
        balancer.wait_until(lambda: row("one")["weight"] == "1", 3, "100 % of 1")
        took = row("one")["agent_duration"]
        measured(f"{balancer.version}: without agent-send, where other servers have it, an agent check takes {took} ms")
        balancer.wait_status("traps", "nobody", "DOWN (agent)")
        assert row("nobody")["last_agt"] == "via agent : down (unknown)"
        node.execute("SET GLOBAL wsrep_desync = ON")
        try:
            balancer.wait_until(lambda: row("named")["weight"] == "50", 5, "half of 100")
            balancer.wait_until(lambda: row("one")["weight"] == "0", 5, "half of 1 is nothing")
        finally:
            node.execute("SET GLOBAL wsrep_desync = OFF")
        balancer.wait_status("traps", "forgotten", "DOWN (agent)")
        assert row("forgotten")["last_agt"] == "via agent : down (unknown)"
        assert (row("closed")["status"], row("closed")["agent_status"]) == ("no check", "L4CON"), "alone it fails open"


# --- a stand-in -----------------------------------------------------------------------------------------------------


def test_what_haproxy_does_not_understand_changes_nothing(before_stub: Balancer, stub: Stub) -> None:
    stub.agent = b"up 50%\n"
    before_stub.becomes(2, "UP", 50)
    words = (b"hello\n", b"down#why\n", b"12.5%\n", b"-5%\n", b"\0\xff\n", b"x" * 20_000, None)
    # 2.6.12 has died of an answer that ends early, by a check of its own (BUG_ON in check_release_buf)
    cut_short = () if before_stub.version == "HAProxy 2.6" else (b"", b"up 70%")
    for said in (*cut_short, *words):
        stub.agent = said
        row = before_stub.hears(stub)
        assert (row["status"], row["weight"]) == ("UP", "50"), said
    stub.agent = b"down #why\n"
    before_stub.becomes(2, "DOWN (agent)")
    for said in (*cut_short, b"100%\n", b"ready\n", None):
        stub.agent = said
        assert before_stub.hears(stub)["status"] == "DOWN (agent)", said
    stub.agent = b"up 1%\n"
    before_stub.becomes(2, "UP", 1)


def test_both_checks_must_agree(before_stub: Balancer, stub: Stub) -> None:
    stub.agent = b"down #why\n"
    before_stub.becomes(2, "DOWN (agent)")
    assert before_stub.n(2)["check_status"] == "L7OK"
    stub.http = HTTP_DOWN
    before_stub.wait_until(lambda: before_stub.n(2)["check_health"] == "0", 5, "two failed checks")
    stub.agent = b"up 70%\n"
    row = before_stub.hears(stub)
    assert (row["status"], row["agent_status"]) == ("DOWN", "L7OK")
    stub.http = HTTP_OK
    before_stub.becomes(2, "UP", 70)


def test_draining(before_stub: Balancer, stub: Stub) -> None:
    """`up 0%` takes no new session, and is no DOWN: whoever is connected stays."""
    stub.agent = b"up 0%\n"
    before_stub.becomes(2, "UP", 0)
    stub.agent = b"up 100%\n"
    before_stub.becomes(2, "UP", 100)
