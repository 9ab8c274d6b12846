"""HTTP as balancers, people and attackers speak it, over real TCP and a real Unix socket."""

import asyncio
import gc
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from aiohttp import web

from healthagent import reception, wire
from healthagent.balancers import opinion
from healthagent.board import Board
from healthagent.handler import Server
from healthagent.model import Publication
from healthagent.policy import Base, Role
from healthagent.reception import DEFER_SECONDS, HttpDesk, Reception, wait_for_requests
from healthagent.web import Web
from healthagent.wire import REQUEST_SECONDS
from tests.build import DOWN, POLICY, REPLICA, ROLES, Agent, galera, healthy, with_role
from tests.component.files import no_file_left
from tests.loops import LOOPS

ALIASES = {
    "any": ["/", "/any", "/health", "/readiness"],
    "writer": ["/writer", "/primary", "/master", "/read-write"],
    "reader": ["/reader", "/read-only"],
    "replica": ["/replica", "/slave"],
    "synced": ["/synced"],
    "candidate": ["/candidate"],
}
PATHS = [(path, role) for role, paths in ALIASES.items() for path in paths]
READ_ONLY = galera(read_only=1)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"  # the PROXY preface of HAProxy's own checks


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No client, whatever it does, makes this program say more than nothing."""
    with caplog.at_level(logging.DEBUG):
        yield
    said = caplog.get_records("call")  # caplog.records is of the teardown here
    loud = [record for record in said if record.levelno >= logging.WARNING]
    assert [f"{record.name}: {record.getMessage()}" for record in loud] == []


class Client:
    """Raw bytes to a listener of its own, in the same loop."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """All that comes back until the server closes; `end`: our side is closed first."""
        reader, writer = await self.open()
        writer.write(sent)
        if end:
            writer.write_eof()
        try:
            with suppress(ConnectionError):
                return await asyncio.wait_for(reader.read(), 8)
            return b""
        finally:
            writer.close()

    async def get(self, target: str, *headers: str, method: str = "GET", version: str = "1.0") -> "Reply":
        lines = [f"{method} {target} HTTP/{version}", *headers, "Connection: close", "", ""]
        return Reply(await self.raw("\r\n".join(lines).encode("utf-8", "surrogateescape")))


@dataclass
class House:
    """How the tests run: on which loop, and whether clients are accepted before their request is there."""

    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    waits: bool = True


HOUSE = House()


HOUSES = (*LOOPS, "asyncio, accepted early")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs in every house; of a table each line runs in one of them, always the same."""
    if not list(metafunc.definition.iter_markers("parametrize")):
        metafunc.parametrize("_house", HOUSES, indirect=True)


@pytest.fixture(autouse=True)
def _house(request: pytest.FixtureRequest) -> None:
    name = getattr(request, "param", HOUSES[crc32(request.node.name.encode()) % len(HOUSES)])
    HOUSE.loop = LOOPS.get(name, asyncio.new_event_loop)
    HOUSE.waits = not name.endswith("early")


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=HOUSE.loop) as runner:
        runner.run(work)


@asynccontextmanager
async def listening(application: Web, *, control: bool = False) -> AsyncIterator[Client]:
    """As the daemon listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        if HOUSE.waits:
            wait_for_requests(listener)
        async with received(application, listener, control=control):
            yield Client(listener.getsockname()[1])


@asynccontextmanager
async def received(application: Web, listener: socket.socket, *, control: bool, name: str = "") -> AsyncIterator[None]:
    server = application.server(control, name)
    desk = HttpDesk(server)
    accepting = Reception(listener, desk.welcome, batch=32)
    accepting.open()
    try:
        yield
    finally:
        accepting.close()
        await desk.close()
        await server.close(1.0)


class Reply:
    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status, *lines = head.decode("ascii").split("\r\n")
        self.protocol, code, self.phrase = status.split(" ", 2)
        self.code = int(code)
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
        self.names = [line.partition(":")[0].lower() for line in lines]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def never_asked(key: str, role: Role) -> Publication:
    raise AssertionError(key)


def nothing_held(cluster: bool) -> tuple[str, ...]:
    return ()


def talk(
    work: Callable[[Client], Awaitable[None]],
    publication: Publication | None = None,
    *,
    control: bool = False,
    roles: tuple[Role, ...] = ROLES,
    acknowledge: Callable[[bool], tuple[str, ...]] = nothing_held,
    drain_code: int = 503,
) -> None:
    """Runs `work` against a server that publishes `publication`; a synced read-only node if none is given.

    `control`: its listener counts as the control socket.
    """
    told = publication if publication is not None else healthy(READ_ONLY).publication

    async def main() -> None:
        now = told.snapshot.ended_at if told.snapshot is not None else 0.0
        board = Board(told, POLICY.max_age_seconds, lambda: now)
        about = {"source": "test", "last_reload_success": True, "errors": []}
        application = Web(board, roles, lambda: about, never_asked, acknowledge, drain_code=drain_code)
        async with asyncio.timeout(25), listening(application, control=control) as client:
            await work(client)

    run(main())


# --- paths ----------------------------------------------------------------------------------------------------------


def test_every_path_and_alias_asks_its_role() -> None:
    async def work(client: Client) -> None:
        for path, role in PATHS:
            reply = await client.get(path)
            down = role in ("writer", "candidate")
            assert (path, reply.code) == (path, 503 if down else 200)
            assert reply.phrase == ("read_only" if down else "OK")
            assert reply.headers["x-healthagent-role"] == role
            assert reply.headers["cache-control"] == "no-store"
            tail = f"{role} weight=0 state=synced reasons=read_only\n" if down else f"{role} weight=100 state=synced\n"
            assert reply.text == ("FAIL " if down else "OK ") + tail

    talk(work)


def test_before_the_first_sample_every_role_is_503_starting() -> None:
    async def work(client: Client) -> None:
        for path, role in PATHS:
            reply = await client.get(path)
            assert (reply.code, reply.phrase) == (503, "starting")
            assert reply.text == f"FAIL {role} weight=0 state=unknown reasons=starting\n"
        assert (await client.get("/liveness")).code == 200
        assert (await client.get("/state")).document["sample"]["age_seconds"] is None
        assert (await client.get("/why?role=writer")).document == []

    talk(work, Agent().publication)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_get_head_and_options_answer_alike(method: str) -> None:
    async def work(client: Client) -> None:
        for path, _ in PATHS:
            for headers in ([], ["Accept: application/json"]):
                get, other = await client.get(path, *headers), await client.get(path, *headers, method=method)
                same = ("x-healthagent-state", "x-healthagent-weight", "x-healthagent-reasons", "content-type")
                assert (other.code, other.phrase) == (get.code, get.phrase)
                assert [other.headers[name] for name in same] == [get.headers[name] for name in same]
                assert other.body == (get.body if method == "GET" else b"")

    talk(work)


@pytest.mark.parametrize("path", ["/state", "/why?role=writer", "/liveness", "/nonsense"])
def test_head_has_no_body_anywhere(path: str) -> None:
    async def work(client: Client) -> None:
        get = await client.get(path)
        for method in ("HEAD", "OPTIONS"):
            reply = await client.get(path, method=method)
            assert (reply.code, reply.body) == (get.code, b"")

    talk(work)


@pytest.mark.parametrize("ask", [("/writer?format=json",), ("/writer", "Accept: application/json")])
def test_json(ask: tuple[str, ...]) -> None:
    async def work(client: Client) -> None:
        reply = await client.get(*ask)
        assert (reply.code, reply.headers["content-type"]) == (503, "application/json; charset=utf-8")
        assert reply.document == {
            "role": "writer",
            "verdict": "down",
            "weight": 0,
            "state": "synced",
            "reasons": ["read_only"],
            "since": reply.document["since"],
        }

    talk(work)


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("*/*", False),
        ("text/plain", False),
        ("APPLICATION/JSON", True),
        ("text/html, application/json;q=0.5", True),
        ("application/json;q=0", False),
        ("application/json; q=0.0", False),
        ("application/jsonlines", False),
        (",;,=;", False),
    ],
)
def test_accept(accept: str, is_json: bool) -> None:
    async def work(client: Client) -> None:
        assert (
            (await client.get("/any", f"Accept: {accept}"))
            .headers["content-type"]
            .startswith("application/json" if is_json else "text/plain")
        )
        assert (await client.get("/any?format=text", f"Accept: {accept}")).text.startswith("OK any")

    talk(work)


def test_state_is_always_200_and_json() -> None:
    async def work(client: Client) -> None:
        reply = await client.get("/state")
        assert (reply.code, reply.document["state"], reply.document["roles"]["any"]["verdict"]) == (200, "down", "down")

    talk(work, healthy().sees(DOWN).publication)


def test_why_is_always_200_and_a_list_of_gates() -> None:
    async def work(client: Client) -> None:
        reply = await client.get("/why?role=writer")
        assert reply.code == 200
        assert [gate["gate"] for gate in reply.document if not gate["passed"]] == ["writable"]

    talk(work)


def test_liveness_uses_no_result_of_the_database() -> None:
    async def work(client: Client) -> None:
        assert (await client.get("/liveness")).code == 200

    talk(work, healthy().sees(DOWN).publication)


def test_a_replica() -> None:
    async def work(client: Client) -> None:
        codes = [(await client.get(path)).code for path in ("/any", "/writer", "/reader", "/replica", "/synced")]
        assert codes == [200, 503, 200, 200, 503]
        assert (await client.get("/synced")).phrase == "not_galera"

    talk(work, healthy(REPLICA).publication)


@pytest.mark.parametrize("drain_code", [503, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_role_that_drains_and_what_is_unknown_have_codes_of_their_own(drain_code: int, method: str) -> None:
    async def work(client: Client) -> None:
        for path in ("/reader", "/read-only"):
            reply = await client.get(path, method=method)
            assert (reply.code, reply.phrase) == (drain_code, "draining")
            assert reply.headers["x-healthagent-weight"] == "0"
            assert reply.body == (b"FAIL reader weight=0 state=synced reasons=draining\n" if method == "GET" else b"")
        assert [(await client.get(path, method=method)).code for path in ("/any", "/writer", "/x")] == [200, 503, 400]

    talk(work, healthy(READ_ONLY, with_role("reader", drain=True)).publication, drain_code=drain_code)


def test_a_reload_changes_the_code_of_what_is_draining_already() -> None:
    publication = healthy(policy=with_role("reader", drain=True)).publication
    application = Web(Board(publication, 3.0, lambda: 0.0), ROLES, dict, never_asked, nothing_held, drain_code=503)

    async def main() -> None:
        async with listening(application) as client:
            assert (await client.get("/reader")).code == 503
            application.adopt(ROLES, drain_code=404)
            assert (await client.get("/reader")).code == 404

    run(main())


def test_a_role_that_is_new_and_not_judged_yet_is_starting() -> None:
    """Between a reload and the next sample, which may take its time on a server that hangs."""

    async def main() -> None:
        agent = healthy()
        own = replace(ROLES[2], name="analytics")
        application = Web(Board(agent.publication, 3.0, lambda: agent.now), ROLES, dict, never_asked, nothing_held)
        application.adopt((*ROLES, own), drain_code=503)
        async with listening(application) as client:
            reply = await client.get("/analytics")
            assert (reply.code, reply.phrase) == (503, "starting")
            assert (await client.get("/why?role=analytics")).document == []

    run(main())


# --- what is refused ------------------------------------------------------------------------------------------------

BAD_TARGETS = [
    *("/nonsense", "/any/", "//any", "/ANY", "/Writer", "/any/..", "/./any", "/any%20", "/%61ny", "/any;x", "/any#x"),
    *("/writer/reader", "/.env", "/any%00", "/\udcff", "*", "any", "/metricss", "/w", "/writer\\", "/any%2f"),
    *("/any?x=1", "/any?x", "/any?=", "/any?format", "/any?format=", "/any?format=xml", "/any?format=JSON"),
    *("/any?format=json&format=json", "/any?role=any", "/why?role=nobody", "/why?role=", "/why?role=any&role=any"),
    *("/any?%ff=1", "/any?format=%ff", "/any?\udcff=1", "/any?" + "&".join(["a=1"] * 50), "/state?x=1"),
    "/liveness?x=1",
    *("/reader?max_lag", "/reader?max_lag=", "/reader?max_lag=abc", "/reader?max_lag=-5s", "/reader?max_lag=5s5"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_nothing_malformed_ever_gets_2xx(method: str) -> None:
    async def work(client: Client) -> None:
        for target in BAD_TARGETS:
            for version in ("1.0", "1.1"):
                reply = await client.get(target, method=method, version=version)
                assert (target, reply.code) == (target, 400)

    talk(work)


def test_an_unknown_path_is_told_the_roles() -> None:
    async def work(client: Client) -> None:
        reply = await client.get("/wirter")
        assert reply.code == 400
        for word in ("/wirter", "any", "writer", "reader", "synced", "candidate", "replica"):
            assert word in reply.text
        assert "error" in (await client.get("/wirter", "Accept: application/json")).document

    talk(work)


def test_an_unknown_role_or_parameter_is_named() -> None:
    async def work(client: Client) -> None:
        assert "'nobody'" in (await client.get("/why?role=nobody")).text
        assert "writer" in (await client.get("/why?role=nobody")).text
        assert "'x'" in (await client.get("/any?x=1")).text
        assert "'format'" in (await client.get("/any?format=xml")).text

    talk(work)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "BREW"])
def test_another_method_is_405_and_told_what_is_allowed(method: str) -> None:
    async def work(client: Client) -> None:
        for path in ("/any", "/nonsense", "/state"):
            reply = await client.get(path if method != "CONNECT" else "x:1", method=method)
            assert reply.code in ((405,) if method not in ("get",) else (400, 405))
            if reply.code == 405:
                assert reply.headers["allow"] == "GET, HEAD, OPTIONS"

    talk(work)


def test_a_body_is_read_by_nobody() -> None:
    async def work(client: Client) -> None:
        post = b"POST /any HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        assert Reply(await client.raw(post)).code == 405
        get = b"GET /any HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        assert Reply(await client.raw(get)).code == 200

    talk(work)


GARBAGE = {
    "binary": bytes(range(256)) * 8,
    "zeros": b"\0" * 512,
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + b"\x55" * 200,
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no version": b"GET /any\r\n\r\n",
    "a version from nowhere": b"GET /any HTTP/9.9\r\n\r\n",
    "HTTP/0.9": b"GET /liveness\r\n\r\n",
    "HTTP/2.0": b"GET /liveness HTTP/2.0\r\n\r\n",
    "bare line feeds": b"GET /liveness HTTP/1.0\n\n",
    "a blank before the colon": b"GET /liveness HTTP/1.1\r\nHost : x\r\n\r\n",
    "two hosts": b"GET /liveness HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a folded header": b"GET /liveness HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "an absolute target with a bad port": b"GET http://h:abc/liveness HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target with a huge port": b"GET http://h:99999999/liveness HTTP/1.1\r\nHost: h\r\n\r\n",
    "half an authority": b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n",
    "300 headers": b"GET /liveness HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    "three blanks": b"GET  /any  HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET /any HTTP/1.1\r\nHost x\r\n\r\n",
    "a header with a blank name": b"GET /any HTTP/1.1\r\n : x\r\n\r\n",
    "bad length": b"GET /any HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"GET /any HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a header of 64 KiB": b"GET /any HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 65536 + b"\r\n\r\n",
    "64 KiB without an end": b"GET /any HTTP/1.1\r\nX: " + b"x" * 65536,
    "a target of 64 KiB": b"GET /" + b"a" * 65536 + b" HTTP/1.0\r\n\r\n",
    "a NUL in a header": b"GET /any HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_not_http_gets_400_or_nothing(sent: bytes) -> None:
    async def work(client: Client) -> None:
        told = await client.raw(sent, end=True)
        assert told == b"" or Reply(told).code in (400, 431)
        assert (await client.get("/any")).code == 200

    talk(work)


# --- changes --------------------------------------------------------------------------------------------------------


class Held:
    """What the agent holds against its node, and with which word each was asked for."""

    def __init__(self, *words: str) -> None:
        self.words, self.asked = words, list[bool]()

    def __call__(self, cluster: bool) -> tuple[str, ...]:
        self.asked.append(cluster)
        told, self.words = self.words, ()
        return told


def test_what_is_acknowledged_is_told_and_a_second_time_nothing() -> None:
    held = Held("inconsistent", "wsrep_off")

    async def work(client: Client) -> None:
        first, second = await client.get("/ack", method="POST"), await client.get("/ack", method="POST")
        assert (first.code, first.text) == (200, "acknowledged: inconsistent, wsrep_off\n")
        assert (second.code, second.text) == (200, "nothing to acknowledge\n")
        assert first.headers["cache-control"] == "no-store"

    talk(work, control=True, acknowledge=held)
    assert held.asked == [False, False]


@pytest.mark.parametrize("ask", [("/ack?cluster=1&format=json",), ("/ack?cluster=1", "Accept: application/json")])
def test_another_cluster_is_acknowledged_where_it_is_meant(ask: tuple[str, ...]) -> None:
    held = Held("other_cluster")

    async def work(client: Client) -> None:
        reply = await client.get(*ask, method="POST", version="1.1")
        assert (reply.code, reply.document) == (200, {"acknowledged": ["other_cluster"]})

    talk(work, control=True, acknowledge=held)
    assert held.asked == [True]


@pytest.mark.parametrize("header", [(), ("Host: localhost",), ("X-Forwarded-For: 127.0.0.1",), ("Host: unix",)])
def test_over_tcp_nothing_is_changed(header: tuple[str, ...]) -> None:
    held = Held("inconsistent")

    async def work(client: Client) -> None:
        for path in ("/ack", "/ack?cluster=1", "/ack?x=1"):
            reply = await client.get(path, *header, method="POST")
            assert (reply.code, reply.phrase) == (403, "Forbidden")
            assert "control socket" in reply.text

    talk(work, acknowledge=held)
    assert held.asked == []


@pytest.mark.parametrize("control", [True, False])
def test_only_post_acknowledges(control: bool) -> None:
    held = Held("inconsistent")

    async def work(client: Client) -> None:
        for method in ("GET", "HEAD", "OPTIONS"):
            reply = await client.get("/ack?cluster=1", method=method)
            assert (reply.code, reply.headers["allow"]) == (405, "POST")
        for method in ("PUT", "DELETE", "post", "Post", "POSTS"):
            assert (await client.get("/ack", method=method)).code in (400, 405)

    talk(work, control=control, acknowledge=held)
    assert held.asked == []


BAD_POSTS = {
    **{
        target: f"POST {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()
        for target in (
            *("/ack?x=1", "/ack?cluster", "/ack?cluster=", "/ack?cluster=0", "/ack?cluster=true", "/ack?format=xml"),
            *(
                "/ack?cluster=1&cluster=1",
                "/ack?role=any",
                "/ack/",
                "//ack",
                "/ACK",
                "/%61ck",
                "/ack;x",
                "/ack#x",
                "ack",
            ),
            *("/any", "/", "*", "/state", "/why?role=any", "/liveness", "/nonsense", "/metrics", "/drain"),
        )
    },
    "a body": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "a request as a body": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\nPOST /ack HTTP/1.1\r\n\r\n",
    "half a body": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhello",
    "a body that never comes": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
    "a huge body": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    "two lengths": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "the same length twice": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n",
    "a negative length": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: -0\r\n\r\n",
    "no length": b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
    "a length of many digits": b"POST /ack HTTP/1.1\r\nHost: x\r\ncontent-length: 00\r\n\r\n",
    "chunks": b"POST /ack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "no chunks": b"POST /ack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": (
        b"POST /ack HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two hosts": b"POST /ack HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no version": b"POST /ack\r\n\r\n",
    "HTTP/2.0": b"POST /ack HTTP/2.0\r\n\r\n",
    "bare line feeds": b"POST /ack HTTP/1.1\n\n",
    "a blank before the colon": b"POST /ack HTTP/1.1\r\nContent-Length : 0\r\n\r\n",
}


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("sent", BAD_POSTS.values(), ids=BAD_POSTS.keys())
def test_a_malformed_post_changes_nothing_and_neither_does_what_comes_behind_it(sent: bytes, control: bool) -> None:
    held = Held("inconsistent")

    async def work(client: Client) -> None:
        told = await client.raw(sent)
        if told or len(sent) < 100_000:  # who still sends when the answer comes may lose it with the connection
            assert Reply(told).code in ((400, 405, 411) if control else (400, 403, 405, 411))
        assert told.count(b"\r\n\r\n") <= 1

    talk(work, control=control, acknowledge=held)
    assert held.asked == []


@pytest.mark.parametrize("headers", ["", "Content-Length: 0\r\n", "content-length:0 \r\nContent-Type: text/plain\r\n"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_post_without_a_body(headers: str, version: str) -> None:
    held = Held("inconsistent")

    async def work(client: Client) -> None:
        reply = Reply(await client.raw(f"POST /ack HTTP/{version}\r\nConnection: close\r\n{headers}\r\n".encode()))
        assert (reply.code, reply.text) == (200, "acknowledged: inconsistent\n")

    talk(work, control=True, acknowledge=held)


def test_posts_and_gets_on_one_connection() -> None:
    async def work(client: Client) -> None:
        reader, writer = await client.open()
        for _ in range(2):
            writer.write(b"POST /ack HTTP/1.1\r\n\r\nGET /any HTTP/1.1\r\n\r\nGET /ack HTTP/1.1\r\n\r\n")
            told = [await one_answer(reader) for _ in range(3)]
            assert [reply.code for reply in told] == [200, 200, 405]
        writer.close()

    talk(work, control=True)


def test_a_role_that_has_to_be_switched_on_says_how() -> None:
    async def work(client: Client) -> None:
        reply = await client.get("/stale-ok")
        assert (reply.code, "`roles: {stale-ok: {enabled: true}}`" in reply.text) == (400, True)
        assert "stale-ok" not in (await client.get("/nonsense")).text

    talk(work, roles=tuple(role for role in ROLES if role.base is not Base.STALE_OK))


# --- how it is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /any HTTP/1.0\r\n\r\n",
        b"OPTIONS / HTTP/1.0\r\n\r\n",
        b"GET /any HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /any HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /any HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /any HTTP/1.1\r\nhost:x\r\nconnection: close\r\n\r\n",
        b"GET /any HTTP/1.1\r\nx-haproxy-server-state: UP 2/3; host=x\r\nconnection: close\r\n\r\n",
        b"GET http://db1:9200/any HTTP/1.1\r\nHost: db1:9200\r\nConnection: close\r\n\r\n",
        b"GET http://db1:9200/any HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
def test_every_way_to_ask_gets_its_verdict(head: bytes) -> None:
    async def work(client: Client) -> None:
        assert Reply(await client.raw(head)).code == 200

    talk(work)


@pytest.mark.parametrize("head", [b"GET /any HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /any HTTP/1.1\r\n\r\n"])
def test_a_request_split_at_every_byte(head: bytes) -> None:
    async def work(client: Client) -> None:
        async def split(at: int) -> None:
            reader, writer = await client.open()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            writer.write(head[:at])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(head[at:])
            first = await asyncio.wait_for(reader.readline(), 8)
            assert first == b"HTTP/1.1 200 OK\r\n"
            writer.close()

        await asyncio.gather(*(split(at) for at in range(1, len(head))))

    talk(work)


# --- what balancers say ---------------------------------------------------------------------------------------------

SAID = "X-Haproxy-Server-State: UP 1/2; address=10.0.0.11; port=3306; name=b/n1; node=lb1; weight=1/3; scur=2/5; qcur=4"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_a_balancer_thinks_is_shown(method: str) -> None:
    async def work(client: Client) -> None:
        assert (await client.get("/read-only", SAID, method=method)).code == 200
        (shown,) = (await client.get("/state")).document["balancers"]
        assert 0 <= shown.pop("age_seconds") < 5
        assert {key: shown.pop(key) for key in ("address", "role")} == {"address": "127.0.0.1", "role": "reader"}
        thinks = opinion(SAID.partition(": ")[2])
        assert thinks is not None
        assert shown == asdict(thinks)

    talk(work)


def test_what_a_balancer_thinks_decides_nothing_and_is_heard_with_checks_only() -> None:
    async def work(client: Client) -> None:
        for path in ("/state", "/liveness", "/why", "/nonsense"):
            await client.get(path, SAID)
        for said in ("", "x", "UP", SAID.partition(": ")[2].replace("lb1", "\udcff" * 9), "UP; " * 3000):
            for path, code in (("/any", 200), ("/writer", 503)):
                assert (await client.get(path, f"X-Haproxy-Server-State: {said}")).code == code
        assert (await client.get("/state")).document["balancers"] == []
        assert (await client.get("/writer", SAID)).code == 503
        assert (await client.get("/any", SAID.replace("UP 1/2", "DOWN"))).code == 200

    talk(work)


def test_on_the_control_socket_there_is_no_balancer_and_no_preface() -> None:
    async def work(client: Client) -> None:
        await client.get("/any", SAID)
        assert (await client.get("/state")).document["balancers"] == []
        assert Reply(await client.raw(b"PROXY UNKNOWN\r\nGET /any HTTP/1.0\r\n\r\n")).code == 400

    talk(work, control=True)


def test_keep_alive_and_pipelining() -> None:
    async def work(client: Client) -> None:
        reader, writer = await client.open()
        for _ in range(3):
            writer.write(b"GET /writer HTTP/1.1\r\n\r\nGET /any HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.write(b"HEAD /state HTTP/1.1\r\n\r\n")
            told = [await one_answer(reader), await one_answer(reader), await one_answer(reader, body=False)]
            assert [reply.code for reply in told] == [503, 200, 200]
        writer.close()

    talk(work)


async def one_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Reply:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 8)
    reply = Reply(head)
    if body:
        reply.body = await reader.readexactly(int(reply.headers["content-length"]))
    return reply


# --- clients that do not behave -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /any HTTP/1.1\r\nHost: x\r\n", b"PROXY TC", b"PROXY UNKNOWN\r\n", LOCAL[:14], LOCAL]
)
def test_half_a_request_is_ended_after_its_deadline(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 0.2)

    async def work(client: Client) -> None:
        started = asyncio.get_running_loop().time()
        assert await client.raw(sent) == b""
        assert 0.2 <= asyncio.get_running_loop().time() - started < 2

    talk(work)


def test_a_client_that_trickles_does_not_move_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 0.3)

    async def work(client: Client) -> None:
        reader, writer = await client.open()
        started = asyncio.get_running_loop().time()
        with suppress(ConnectionError):
            while not reader.at_eof() and asyncio.get_running_loop().time() - started < 5:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - started < 2
        writer.close()

    talk(work)


def test_500_idle_connections_do_not_keep_the_others_from_their_answers() -> None:
    async def work(client: Client) -> None:
        idle = await asyncio.gather(*(client.open() for _ in range(500)))
        started = asyncio.get_running_loop().time()
        for path, role in PATHS:
            assert (await client.get(path)).headers["x-healthagent-role"] == role
        assert asyncio.get_running_loop().time() - started < 3
        for _, writer in idle:
            writer.close()

    talk(work)


@pytest.mark.parametrize("before", [b"", b"GET /any"])
@pytest.mark.parametrize("target", [b"/any", b"/any?format=text"])
def test_a_client_that_takes_its_time_is_answered(before: bytes, target: bytes) -> None:
    """The kernel keeps who has said nothing for a second; then it is a client like any other."""
    head = b"GET " + target + b" HTTP/1.0\r\n\r\n"

    async def work(client: Client) -> None:
        reader, writer = await client.open()
        writer.write(before)
        await asyncio.sleep(DEFER_SECONDS + 0.3)
        writer.write(head.removeprefix(before))
        assert Reply(await reader.read()).text == "OK any weight=100 state=synced\n"
        writer.close()

    talk(work)


@pytest.mark.parametrize("target", ["/any", "/any?format=text", "/state"])
def test_a_client_that_has_closed_its_side_is_answered(target: str) -> None:
    head = f"GET {target} HTTP/1.1\r\n\r\n".encode()

    async def work(client: Client) -> None:
        assert (await client.raw(head * 3, end=True)).count(b"HTTP/1.1 200 OK\r\n") == 3
        assert await client.raw(b"", end=True) == b""
        assert await client.raw(head[:9], end=True) == b""

    talk(work)


def test_where_no_file_is_left_clients_wait(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "REST_SECONDS", 0.01)

    async def work(client: Client) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as late:
            with no_file_left():
                late.connect(("127.0.0.1", client.port))
                late.sendall(b"GET /any HTTP/1.0\r\n\r\n")
                late.setblocking(False)
                answer = asyncio.ensure_future(loop.sock_recv(late, 4096))
                await asyncio.wait({answer}, timeout=0.2)  # some rests
                assert not answer.done()
            assert Reply(await answer).code == 200

    talk(work)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["clients have to wait: Too many open files"]
    caplog.clear()


@pytest.mark.parametrize(
    "sent", [b"", LOCAL[:14], b"GET /wr", b"GET /writer HTTP/1.0\r\n\r\n", b"OPTIONS / HTTP/1.0\r\n\r\n"]
)
def test_a_check_that_ends_in_rst_leaves_no_trace(sent: bytes) -> None:
    """A balancer that has read the status line drops the connection; `_nothing_is_logged` sees what that leaves."""

    async def work(client: Client) -> None:
        for _ in range(20):
            _, writer = await client.open()
            writer.write(sent)
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        assert (await client.get("/any")).code == 200

    talk(work)


def test_a_client_that_resets_between_two_of_its_requests_leaves_no_trace() -> None:
    """What is known is answered from bytes, and the one behind it is aiohttp's, when the client is gone already."""
    asked = b"GET /any HTTP/1.1\r\n\r\n" * 2 + b"GET /state HTTP/1.1\r\n\r\n"

    async def work(client: Client) -> None:
        for number in range(400):
            with socket.create_connection(("127.0.0.1", client.port)) as rude:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                rude.sendall(asked)
                await asyncio.sleep(0.00001 * (number % 120))
        assert (await client.get("/any")).code == 200
        gc.collect()

    talk(work)


def test_what_a_client_says_behind_its_last_request_does_not_take_the_answer_away() -> None:
    """A socket that is closed with something unread in it makes the kernel throw away what has not been sent."""

    def asks(port: int, pause: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"GET /any HTTP/1.0\r\n\r\n")
            for _ in range(pause):
                pass
            with suppress(ConnectionError):
                client.sendall(b"\r\n")
            with suppress(ConnectionError):
                return client.recv(15)
            return b""

    async def work(client: Client) -> None:
        for pause in range(0, 4000, 10):
            assert await asyncio.to_thread(asks, client.port, pause) == b"HTTP/1.0 200 OK", pause

    talk(work)


@pytest.mark.parametrize("first", [b"GET /any HTTP/1.1\r\n\r\n", b"GET /any?format=text HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("begins", [b"PROXY UNKNOWN\r\n", LOCAL])
def test_a_preface_stands_at_the_beginning(first: bytes, begins: bytes) -> None:
    async def work(client: Client) -> None:
        reader, writer = await client.open()
        writer.write(first)
        assert (await one_answer(reader)).code == 200
        writer.write(begins + first)
        assert (await one_answer(reader)).code == 400
        writer.close()

    talk(work)


@pytest.mark.parametrize("target", ["/any", "/state"])
def test_a_half_closed_client_with_empty_lines_behind_its_request_is_not_waited_for(target: str) -> None:
    async def work(client: Client) -> None:
        started = asyncio.get_running_loop().time()
        told = await client.raw(f"GET {target} HTTP/1.1\r\n\r\n\r\n\r\n".encode(), end=True)
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert asyncio.get_running_loop().time() - started < 0.8 * REQUEST_SECONDS

    talk(work)


def test_what_aiohttp_says_of_a_client_that_is_gone_is_not_told() -> None:
    """3.8 asserts that a connection still is one when it looks at its request, a moment after it came."""

    async def work(client: Client) -> None:
        async def never(request: web.BaseRequest) -> web.StreamResponse:
            raise AssertionError

        server = Server(never, lambda request, peer: None, {})
        machinery = server.handler(server())
        assert machinery.transport is None
        machinery.log_exception("Unhandled exception")

    talk(work)


def test_the_unix_socket_answers_like_tcp(tmp_path: Path) -> None:
    async def main() -> None:
        agent = healthy(READ_ONLY)
        board = Board(agent.publication, 3.0, lambda: agent.now)
        application = Web(board, ROLES, dict, never_asked, nothing_held)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "c.sock"))
            listener.listen()
            async with received(application, listener, control=True):
                for path, role in PATHS:
                    reader, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
                    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                    reply = Reply(await reader.read())
                    assert reply.headers["x-healthagent-role"] == role
                    writer.close()

    run(main())


def test_a_client_that_sends_and_never_reads_holds_nobody_up_and_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its next answer when the one before has been sent; what it sends meanwhile stays with the kernel."""
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 1.0)

    async def work(client: Client) -> None:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the kernel does not read for it
        narrow.connect(("127.0.0.1", client.port))
        _, writer = await asyncio.open_connection(sock=narrow, limit=1024)
        flood = b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000

        async def send() -> None:
            while True:
                writer.write(flood)
                await writer.drain()

        sending = asyncio.ensure_future(send())
        for _ in range(20):
            assert (await asyncio.wait_for(client.get("/liveness"), 1)).code == 200
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, 20)

    talk(work)


def test_a_header_of_12_kb_is_taken() -> None:
    async def work(client: Client) -> None:
        assert (await client.get("/liveness", "X: " + "y" * 12_000)).code == 200

    talk(work)


def test_nothing_is_taken_from_a_connection_behind_a_request_with_a_body() -> None:
    async def work(client: Client) -> None:
        first = b"GET /liveness HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb"
        told = await client.raw(first + b"GET /liveness HTTP/1.1\nHost: x\n\n")
        assert told.count(b" 200 OK") <= 1

    talk(work)
