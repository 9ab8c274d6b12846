"""Every way in which HAProxy (2.6, and 3.0 of a Debian 13 tree) asks over HTTP, before a real agent and a real node.

n1 is real. n2 is nothing but a listener that answers 200 and keeps what a check has sent.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from healthagent.preface import SIGNATURE
from lab import Agent, Galera, GaleraNode, HAProxy, wait_until
from tests.binaries import need
from tests.integration.expect import measured, reloaded, says, state

# backend -> how it checks, and what its server line says beside
WAYS = {
    "bare": ("option httpchk", ""),
    "no-host": ("option httpchk GET /writer HTTP/1.1", ""),
    "head": ("option httpchk HEAD /writer HTTP/1.1", ""),
    "send": ("option httpchk; http-check send meth GET uri /reader ver HTTP/1.1 hdr Host healthagent", ""),
    "status": ("option httpchk GET /writer; http-check expect status 200", ""),
    "string": ('option httpchk GET /writer; http-check expect string "OK writer"', ""),
    "state": ("option httpchk GET /reader; http-check send-state", ""),
    "preface-v1": ("option httpchk GET /writer HTTP/1.1", "check-send-proxy"),
    "preface-v2": ("option httpchk GET /writer HTTP/1.1", "send-proxy-v2 check-send-proxy"),
}
DEFAULTS = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 1m
    timeout server 1m
    timeout check 500ms
    default-server check port 9200 inter 100ms fall 2 rise 2
"""
STATE_PORT, LEAVING_PORT, AGENT_PORT = 3309, 3310, 9200
LEAVING = f"""
listen leaving
    bind 127.0.0.1:{LEAVING_PORT}
    option httpchk GET /reader
    http-check disable-on-404
    http-check expect status 200
    server n1 127.0.0.1:3306
"""
RECORDER = "127.0.0.2"


def configuration() -> str:
    """One backend for each way; that of `state` has an address, so that it can have sessions."""
    backends = []
    for name, (way, beside) in WAYS.items():
        bind = [f"bind 127.0.0.1:{STATE_PORT}"] if name == "state" else []
        servers = [f"server n1 127.0.0.1:3306 {beside}", f"server n2 {RECORDER}:3306 {beside} backup"]
        lines = [f"{'listen' if bind else 'backend'} {name}", *bind, *way.split("; "), *servers]
        backends.append("\n    ".join(lines))
    return "\n".join([DEFAULTS, *backends, ""])


class Recorder(socketserver.ThreadingTCPServer):
    """The agent of n2, by HTTP or by agent-check: `heard` has what checks have sent, up to `end`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, port: int = AGENT_PORT, end: bytes = b"\r\n\r\n", says: bytes = b"HTTP/1.0 200 OK\r\n\r\nOK writer\n"
    ) -> None:
        heard = self.heard = set[bytes]()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                sent = b""
                while end not in sent.removeprefix(SIGNATURE):
                    sent += self.request.recv(4096)
                heard.add(sent)
                self.request.sendall(says)

        super().__init__((RECORDER, port), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """HAProxy ends its checks by RST."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="module")
def node() -> Iterator[GaleraNode]:
    need("mariadbd", "haproxy")
    with Galera(1) as cluster:
        yield cluster.start().nodes[0]


@pytest.fixture(scope="module")
def agent(node: GaleraNode) -> Iterator[Agent]:
    with Agent.for_node(node) as agent:
        agent.start()
        agent.wait_answer("/writer", 200)
        yield agent


def servers(balancer: HAProxy, name: str = "n1") -> dict[str, dict[str, str]]:
    """By backend."""
    return {row["pxname"]: row for row in balancer.stat() if row["svname"] == name}


def all_are(balancer: HAProxy, status: str, check: tuple[str, ...], within: float = 6) -> float:
    """Waits until n1 is that in every backend by a check that ended so; how many milliseconds that took."""
    began = time.monotonic()

    def reached() -> bool:
        rows = servers(balancer).values()
        return all(row["status"] == status and row["check_status"] in check for row in rows)

    balancer.wait_until(reached, within, f"n1 is {status} everywhere")
    return 1000 * (time.monotonic() - began)


def at_rest(balancer: HAProxy) -> dict[str, dict[str, str]] | None:
    """The rows, unless a check is under way (`* L7STS`): code and text of the one before are gone then."""
    rows = servers(balancer)
    return None if any(row["check_status"].startswith("*") for row in rows.values()) else rows


def test_every_way_gets_its_verdict_and_the_reason(program: list[str | Path], agent: Agent, node: GaleraNode) -> None:
    with HAProxy(configuration(), program=program) as balancer:
        balancer.start()
        all_are(balancer, "UP", ("L7OK",))
        rows = balancer.wait_until(lambda: at_rest(balancer), 6, "no check is under way")
        assert {row["check_code"] for row in rows.values()} == {"200"}
        node.execute("SET GLOBAL wsrep_reject_queries = ALL")
        try:
            took = all_are(balancer, "DOWN", ("L7STS", "L7RSP"))
            rows = balancer.wait_until(lambda: at_rest(balancer), 6, "no check is under way")
        finally:
            node.execute("SET GLOBAL wsrep_reject_queries = NONE")
        measured(f"{balancer.version}: in {len(rows)} ways of httpchk rejecting is DOWN after {took:.0f} ms")
        by_string = rows.pop("string")  # the one way that hides the reason: whoever looks at the body sees no phrase
        assert by_string["last_chk"] == "HTTP content check did not match"
        shown = {name: (row["check_code"], row["last_chk"]) for name, row in rows.items()}
        assert shown == dict.fromkeys(rows, ("503", "rejecting"))
        took = all_are(balancer, "UP", ("L7OK",))
        measured(f"{balancer.version}: and UP again after {took:.0f} ms")


def test_what_haproxy_sends(program: list[str | Path]) -> None:
    """So that the test above is known to prove what it says."""
    need("haproxy")
    recorder = Recorder()
    with HAProxy(configuration(), program=program) as balancer:
        try:
            balancer.start()
            balancer.wait_until(
                lambda: all(row["check_status"] == "L7OK" for row in servers(balancer, "n2").values()), 6, "checks"
            )
        finally:
            recorder.close()
    plain = {sent for sent in recorder.heard if not sent.startswith((b"PROXY ", SIGNATURE))}
    assert b"OPTIONS / HTTP/1.0\r\n\r\n" in plain
    assert b"HEAD /writer HTTP/1.1" in {sent.partition(b"\r\n")[0] for sent in plain}
    without_host = [sent.lower() for sent in plain if sent.startswith(b"GET /writer HTTP/1.1\r\n")]
    assert [b"host:" in sent for sent in without_host] == [False]
    assert [b"x-haproxy-server-state: up" in sent.lower() for sent in plain if b"/reader HTTP/1.0" in sent] == [True]
    texts = [sent for sent in recorder.heard if sent.startswith(b"PROXY ")]
    assert [(text.split(b" ")[1], b"\r\nGET /writer" in text) for text in texts] == [(b"TCP4", True)]
    binaries = [sent for sent in recorder.heard if sent.startswith(SIGNATURE)]
    assert {(sent[12], b"GET /writer" in sent) for sent in binaries} == {(0x20, True)}, "LOCAL"


def test_agent_checks_carry_no_preface(program: list[str | Path]) -> None:
    """So the agent takes none on those ports, whatever is set for the connections of clients and for httpchk."""
    need("haproxy")
    recorder = Recorder(9202, b"\n", b"up 50%\n")
    agent_check = 'agent-check agent-port 9202 agent-inter 100ms agent-send "reader\\n" weight 100'
    backend = f"backend b\n    server n2 {RECORDER}:3306 send-proxy-v2 check-send-proxy {agent_check}\n"
    with HAProxy(DEFAULTS + backend, program=program) as balancer:
        try:
            balancer.start()
            balancer.wait_until(lambda: balancer.server("b", "n2")["weight"] == "50", 3, "an answer")
        finally:
            recorder.close()
    assert recorder.heard == {b"reader\n"}


def test_state_shows_what_haproxy_thinks(program: list[str | Path], agent: Agent, node: GaleraNode) -> None:
    def thinks() -> dict[str, Any]:
        heard = [said for said in state(agent)["balancers"] if said["name"] == "state/n1"]
        assert len(heard) <= 1
        return {} if not heard else heard[0]

    with HAProxy(configuration(), program=program) as balancer, ExitStack() as sessions:
        balancer.start()
        all_are(balancer, "UP", ("L7OK",))
        wait_until(lambda: thinks().get("state") == "UP", 3, "UP")
        for _ in range(3):
            sessions.enter_context(socket.create_connection(("127.0.0.1", STATE_PORT)))
        wait_until(lambda: thinks()["sessions"] == 3, 3, "three sessions")
        found = thinks()
        assert (found["address"], found["role"]) == ("127.0.0.1", "reader")
        assert (found["weight"], found["weight_total"], found["sessions_total"], found["queue"]) == (1, 1, 3, 0)
        assert 0 <= found["age_seconds"] < 2
        balancer.command("set server state/n1 state drain")
        wait_until(lambda: thinks()["weight_total"] == 0 or thinks()["weight"] == 0, 3, "a weight of nothing")
        balancer.command("set server state/n1 state ready")
        node.execute("SET GLOBAL wsrep_reject_queries = ALL")
        try:
            wait_until(lambda: thinks()["state"] == "DOWN", 3, "DOWN")
        finally:
            node.execute("SET GLOBAL wsrep_reject_queries = NONE")
        all_are(balancer, "UP", ("L7OK",))


def test_disable_on_404(program: list[str | Path], agent: Agent, node: GaleraNode) -> None:
    """A role that drains: who is connected stays, nobody comes in, and it is back with the first 200."""
    draining: dict[str, Any] = {"roles": {"reader": {"drain": True}}, "http": {"drain_code": 404}}
    agent.wait_answer("/reader", 200)
    with HAProxy(DEFAULTS + LEAVING, program=program) as balancer, ExitStack() as sessions:
        balancer.start()
        all_are(balancer, "UP", ("L7OK",))
        session = sessions.enter_context(socket.create_connection(("127.0.0.1", LEAVING_PORT), timeout=5))
        assert session.recv(1024), "a greeting"
        with reloaded(agent, **draining):
            took = all_are(balancer, "NOLB", ("L7OKC",))
            row = balancer.server("leaving", "n1")
            assert (row["check_code"], row["scur"]) == ("404", "1")
            late = sessions.enter_context(socket.create_connection(("127.0.0.1", LEAVING_PORT), timeout=5))
            assert late.recv(1024) == b"", "nobody else is there, and this one takes no new session"
            measured(f"{balancer.version}: disable-on-404 is NOLB after {took:.0f} ms")
            assert balancer.server("leaving", "n1")["scur"] == "1"
        took = all_are(balancer, "UP", ("L7OK",))
        measured(f"{balancer.version}: and back after {took:.0f} ms")

        node.execute("SET GLOBAL wsrep_reject_queries = ALL")
        all_are(balancer, "DOWN", ("L7STS",))
        with reloaded(agent, **draining):
            assert says(agent, "reader") == "503 rejecting", "a down stays down"
            node.execute("SET GLOBAL wsrep_reject_queries = NONE")
            wait_until(lambda: says(agent, "reader") == "404 draining", 5, "it drains")
            wait_until(lambda: balancer.server("leaving", "n1")["check_code"] == "404", 3, "HAProxy has seen it")
            checked = int(balancer.server("leaving", "n1")["lastchg"])
            balancer.wait_until(lambda: int(balancer.server("leaving", "n1")["lastchg"]) > checked + 1, 4, "checks")
            assert balancer.server("leaving", "n1")["status"] == "DOWN", "404 lifts no server that is DOWN"
        all_are(balancer, "UP", ("L7OK",))
