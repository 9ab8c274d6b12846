"""Which requests are known, and that what is answered from bytes follows the verdict as everything else does."""

import pytest

from healthagent import clock
from healthagent.board import Board
from healthagent.healthcheck import Form, recognise
from healthagent.web import PREPARED, Web
from tests.build import POLICY, ROLES, galera, healthy

TEXT, JSON = "text/plain", "application/json"


def asks(*lines: str, first: str = "GET /writer HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"OPTIONS / HTTP/1.0\r\n\r\n", Form("/", "OPTIONS", 0, TEXT, False)),
        (b"GET /writer HTTP/1.1\r\n\r\n", Form("/writer", "GET", 1, TEXT, True)),
        (asks("Host: db1"), Form("/writer", "GET", 1, TEXT, True)),
        (asks("host:db1", "connection:close"), Form("/writer", "GET", 1, TEXT, False)),
        (asks("Connection: Keep-Alive", first="HEAD /a HTTP/1.0"), Form("/a", "HEAD", 0, TEXT, True)),
        (asks("Accept: application/json"), Form("/writer", "GET", 1, JSON, True)),
        (asks("Accept: application/json; q=0"), Form("/writer", "GET", 1, TEXT, True)),
        (asks("User-Agent: GoogleHC/1.0", "X-Anything: \tat (all)"), Form("/writer", "GET", 1, TEXT, True)),
    ],
)
def test_what_is_known(data: bytes, form: Form) -> None:
    known = recognise(data)
    assert known is not None
    assert known.form == form
    assert known.said is None


def test_what_haproxy_says_of_the_server() -> None:
    known = recognise(asks("x-haproxy-server-state: UP 1/2; name=b/n1"))
    assert known is not None
    assert known.said == "UP 1/2; name=b/n1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /writer HTTP/1.1\r\n",
        b"\r\nGET /writer HTTP/1.1\r\n\r\n",
        b"GET /writer HTTP/1.1\r\n\r\nG",
        b"GET /writer HTTP/1.1\n\n",
        b"GET /writer HTTP/1.2\r\n\r\n",
        b"GET  /writer HTTP/1.1\r\n\r\n",
        b"get /writer HTTP/1.1\r\n\r\n",
        b"POST /ack HTTP/1.1\r\n\r\n",
        asks("Host: a", "Host: b"),
        asks("Accept: a", "accept: b"),
        asks("Connection: upgrade"),
        asks("Connection: close, x"),
        asks("Content-Length: 0"),
        asks("Transfer-Encoding: chunked"),
        asks("Expect: 100-continue"),
        asks("User-Agent: a", "user-agent: b"),
        asks("Content-Encoding: br"),
        asks("Sec-WebSocket-Key1: x"),
        asks("Proxy-Connection: close"),
        asks("Upgrade: h2c"),
        asks(" Host: folded"),
        asks("Host : db1"),
        asks("X: \x01"),
        asks("X: \x80"),
        asks("no colon"),
        asks("X: " + "y" * 4096),
        asks(*[f"X-{number}: y" for number in range(40)]),
    ],
)
def test_what_is_left_to_aiohttp(data: bytes) -> None:
    assert recognise(data) is None


class Desk:
    """The application, and a clock of its own."""

    def __init__(self) -> None:
        self.agent = healthy()
        self.now = self.agent.now
        self.board = Board(self.agent.publication, POLICY.max_age_seconds, lambda: self.now)
        self.web = Web(self.board, ROLES, dict, lambda key, role: self.agent.publication, lambda cluster: ())

    def says(self, request: bytes = b"GET /writer HTTP/1.0\r\n\r\n") -> str | None:
        """The status line."""
        ready = self.web.prepared(request, "", shelf=self.web.shelf())
        return None if ready is None else ready[0].partition(b"\r\n")[0].decode()

    def heard(self) -> list[str]:
        """Whose opinion of this node is known."""
        return [known.peer for known in self.web._balancers.known(clock.now())]


def test_the_bytes_follow_the_verdict() -> None:
    desk = Desk()
    assert desk.says() == "HTTP/1.0 200 OK"
    desk.agent.sees(galera(read_only=1))
    assert desk.says() == "HTTP/1.0 200 OK", "nobody has published it yet"
    desk.board.publish(desk.agent.publication, POLICY.max_age_seconds)
    assert desk.says() == "HTTP/1.0 503 read_only"


def test_old_facts_never_serve() -> None:
    desk = Desk()
    assert desk.says() == "HTTP/1.0 200 OK"
    desk.now += POLICY.max_age_seconds + 0.01
    assert desk.says() == "HTTP/1.0 503 stale"


def test_what_haproxy_says_is_heard_each_time_wherever_the_same_bytes_came_before() -> None:
    desk = Desk()
    said = asks("X-Haproxy-Server-State: UP 1/2; name=b/n1; node=lb1; weight=1/3; scur=2/5; qcur=4")
    assert desk.web.prepared(said, "", shelf=desk.web.shelf(control=True)) is not None
    assert desk.heard() == []
    for peer in ("10.0.0.1", "10.0.0.2"):
        assert desk.web.prepared(said, peer, shelf=desk.web.shelf()) is not None
    assert desk.heard() == ["10.0.0.1", "10.0.0.2"]


def test_a_reload_counts_at_once() -> None:
    desk = Desk()
    assert desk.says(b"GET /reader HTTP/1.0\r\n\r\n") == "HTTP/1.0 200 OK"
    desk.web.adopt(ROLES[:2], drain_code=503)
    assert desk.says(b"GET /reader HTTP/1.0\r\n\r\n") is None


def test_who_asks_in_ever_new_words_fills_no_memory() -> None:
    desk = Desk()
    for number in range(3 * PREPARED):
        assert desk.says(asks(f"X-Request: {number}")) == "HTTP/1.1 200 OK"
    assert len(desk.web.shelf().ready) <= PREPARED
