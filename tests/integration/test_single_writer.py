"""The writer of haproxy-examples/read-write-split.cfg: one at a time, no failback, two balancers of one mind.

Real HAProxys before stand-ins for agents and databases, so that nodes fall and come back at once.
"""

import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from lab import HAProxy, wait_until
from tests.binaries import need
from tests.integration.expect import measured

EXAMPLE = (Path(__file__).parents[2] / "haproxy-examples" / "read-write-split.cfg").read_text()
NODES = {"n1": "127.0.0.1", "n2": "127.0.0.2", "n3": "127.0.0.3"}
WRITER_PORT, AGENT_PORT, DATABASE_PORT = 3307, 9200, 3306


class Port(socketserver.ThreadingTCPServer):
    """Says to every connection what `speak` says when the connection comes."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: str, port: int, speak: Callable[[], bytes], *, keep: bool) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if not keep:
                    self.request.recv(4096)
                self.request.sendall(speak())
                while keep and self.request.recv(4096):
                    pass

        super().__init__((address, port), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class Node:
    """A database that greets with its name, and an agent that says 200 or 503."""

    def __init__(self, name: str, address: str) -> None:
        self.up, self.draining, self.silent = True, False, False
        self._ports = (
            Port(address, AGENT_PORT, self._answer, keep=False),
            Port(address, DATABASE_PORT, lambda: f"{name}\n".encode(), keep=True),
        )

    def _answer(self) -> bytes:
        while self.silent:
            time.sleep(0.01)
        status = "404 draining" if self.draining else "200 OK" if self.up else "503 read_only"
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for port in self._ports:
            port.shutdown()
            port.server_close()


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    need("haproxy")
    with ExitStack() as stack:
        yield {name: stack.enter_context(Node(name, address)) for name, address in NODES.items()}


def balancer(name: str, address: str, example: str = EXAMPLE) -> HAProxy:
    """The example as balancer lb1 or lb2 of a pair, on an address of its own."""
    text = example.replace("# peer lb2 192.0.2.6", "peer lb2 127.0.1.2").replace(
        "peer lb1 127.0.0.1", "peer lb1 127.0.1.1"
    )
    text = text.replace("localpeer lb1", f"localpeer {name}").replace("bind 127.0.0.1", f"bind {address}")
    return HAProxy(text, name=name)


def connect(address: str) -> socket.socket:
    return socket.create_connection((address, WRITER_PORT), timeout=2)


def writer(address: str = "127.0.1.1") -> str:
    """Where a new session lands."""
    with connect(address) as session:
        return session.recv(100).decode().strip()


def put(node: Node, name: str, *balancers: HAProxy, up: bool) -> None:
    """The agent says so; returns when every balancer has decided."""
    node.up = up
    for each in balancers:
        each.wait_status("writer", name, "UP" if up else "DOWN")


def test_a_writer_that_comes_back_is_not_the_writer_again(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as lb:
        lb.start()
        assert {writer() for _ in range(5)} == {"n1"}
        with connect("127.0.1.1") as session:
            assert session.recv(100) == b"n1\n"
            put(nodes["n1"], "n1", lb, up=False)
            assert session.recv(100) == b"", "sessions to a writer that fell are closed"
        assert {writer() for _ in range(5)} == {"n2"}
        with connect("127.0.1.1") as session:
            session.recv(100)
            put(nodes["n1"], "n1", lb, up=True)
            assert {writer() for _ in range(5)} == {"n2"}, "no failback"
            session.sendall(b"still here")
        put(nodes["n2"], "n2", lb, up=False)
        assert {writer() for _ in range(5)} == {"n1"}
        put(nodes["n2"], "n2", lb, up=True)
        assert {writer() for _ in range(5)} == {"n1"}


def test_the_way_back_on_purpose(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as lb:
        lb.start()
        put(nodes["n1"], "n1", lb, up=False)
        with connect("127.0.1.1") as session:
            assert session.recv(100) == b"n2\n"
            put(nodes["n1"], "n1", lb, up=True)
            lb.command("clear table writer")
            assert writer() == "n1"
            lb.command("shutdown sessions server writer/n2")
            assert session.recv(100) == b""
        assert {writer() for _ in range(5)} == {"n1"}


def test_the_detection_budget(nodes: dict[str, Node]) -> None:
    """As the example's comment says, and some time for a busy machine."""
    budgets = {"503": 0.7, "200 again": 0.7, "no answer": 1.7}
    worst = dict.fromkeys(budgets, 0.0)
    with balancer("lb1", "127.0.1.1") as lb:
        lb.start()

        def take(what: str, status: str) -> None:
            started = time.monotonic()
            lb.wait_status("writer", "n1", status)
            worst[what] = max(worst[what], time.monotonic() - started)

        for _ in range(3):
            nodes["n1"].up = False
            take("503", "DOWN")
            nodes["n1"].up = True
            take("200 again", "UP")
            nodes["n1"].silent = True
            take("no answer", "DOWN")
            nodes["n1"].silent = False
            take("200 again", "UP")
    for what, budget in budgets.items():
        measured(f"HAProxy decides after {what}: within {1000 * worst[what]:.0f} ms")
        assert worst[what] < budget + 0.5


def test_many_sessions_at_once_move_together(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as lb, ExitStack() as stack:
        lb.start()
        first = [stack.enter_context(connect("127.0.1.1")) for _ in range(200)]
        assert {session.recv(100) for session in first} == {b"n1\n"}
        put(nodes["n1"], "n1", lb, up=False)
        second = [stack.enter_context(connect("127.0.1.1")) for _ in range(200)]
        put(nodes["n1"], "n1", lb, up=True)
        third = [stack.enter_context(connect("127.0.1.1")) for _ in range(200)]
        assert {session.recv(100) for session in second + third} == {b"n2\n"}


def test_two_balancers_follow_each_other(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as one, balancer("lb2", "127.0.1.2") as two:
        one.start()
        two.start()
        put(nodes["n1"], "n1", one, two, up=False)
        assert writer("127.0.1.1") == "n2"
        wait_until(lambda: "server_key=n2" in two.command("show table writer"), 10, "the peer knows the writer")
        put(nodes["n1"], "n1", one, two, up=True)
        assert writer("127.0.1.2") == "n2", "it never sent a session to n2 itself"


def test_a_writer_that_drains_moves_with_its_sessions(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as lb:
        lb.start()
        with connect("127.0.1.1") as session:
            assert session.recv(100) == b"n1\n"
            nodes["n1"].draining = True
            lb.wait_status("writer", "n1", "DOWN")
            assert session.recv(100) == b""
        assert {writer() for _ in range(5)} == {"n2"}


def test_why_disable_on_404_is_not_in_it(nodes: dict[str, Node]) -> None:
    """Stuck sessions would go to a server in NOLB, and to one of weight 0: nothing would be drained."""
    check = "    http-check expect status 200\n"
    with balancer("lb1", "127.0.1.1", EXAMPLE.replace(check, f"    http-check disable-on-404\n{check}")) as lb:
        lb.start()
        assert writer() == "n1"
        nodes["n1"].draining = True
        lb.wait_status("writer", "n1", "NOLB")
        lb.command("set weight writer/n1 0")
        assert {writer() for _ in range(5)} == {"n1"}


def test_a_reload_keeps_the_writer(nodes: dict[str, Node]) -> None:
    with balancer("lb1", "127.0.1.1") as lb:
        lb.start()
        put(nodes["n1"], "n1", lb, up=False)
        assert writer() == "n2"
        put(nodes["n1"], "n1", lb, up=True)
        # In its first 5 s a process still asks its peers what they know, and hands nothing on.
        wait_until(lambda: re.search(r"^\S+ .* flags=0x\w*3 ", lb.command("show peers")), 15, "peers in step")
        with balancer("lb1", "127.0.1.1") as reloaded:
            reloaded.start("-sf", str(lb.pid))
            lb.wait(10)
            assert writer() == "n2"
