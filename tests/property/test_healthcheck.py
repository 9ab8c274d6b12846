"""What is answered from bytes and what aiohttp answers are the same, whatever is asked and however it comes."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from healthagent.board import Board
from healthagent.handler import Server
from healthagent.healthcheck import recognise
from healthagent.reception import HttpDesk, Reception, wait_for_requests
from healthagent.web import ALIASES, Web
from tests.build import POLICY, ROLES, galera, healthy

DATE = re.compile(rb"\r\nDate: \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT\r\n")
PATHS = [*ALIASES, *(f"/{role.name}" for role in ROLES)]

text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
tokens = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)
targets = st.one_of(
    st.sampled_from(PATHS),
    st.sampled_from(
        ["/liveness", "/nonsense", "*", "/reader?format=json", "http://db1/any", "/any#x", "/%61ny", "/ANY"]
    ),
)
connections = st.sampled_from(["close", "keep-alive", "Keep-Alive", " CLOSE ", "close, x", "upgrade", "", "TE"])
accepts = st.sampled_from(
    ["*/*", "application/json", "application/json;q=0", "text/plain, application/json; q=0.5", "", "Application/JSON"]
)
balancers = st.sampled_from(["UP 1/2; name=b/n1; node=lb1; weight=1/3", "DOWN", "", "x" * 300])
headers = st.one_of(
    st.tuples(st.sampled_from(["Host", "host", "HOST"]), st.sampled_from(["db1", "db1:9200", "", "[::1]:9200", "a b"])),
    st.tuples(st.sampled_from(["Connection", "connection"]), connections),
    st.tuples(st.sampled_from(["Accept", "ACCEPT"]), accepts),
    st.tuples(st.just("X-Haproxy-Server-State"), balancers),
    st.tuples(st.sampled_from(["User-Agent", "Cookie", "Range", "If-None-Match", "Authorization", "Via"]), text),
    st.tuples(st.sampled_from(["Keep-Alive", "Content-Type", "TE", "ETag", "Max-Forwards", "Server"]), text),
    st.tuples(st.sampled_from(["Sec-WebSocket-Key", "Sec-WebSocket-Key1", "Content-Range", "Content-Location"]), text),
    st.tuples(st.sampled_from(["Expect", "Content-Length", "Upgrade", "Trailer"]), st.sampled_from(["0", "", "h2c"])),
    st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "br", "zstd", "x"])),
    st.tuples(st.just("Proxy-Connection"), connections),
    st.tuples(tokens, text),
)
colons = st.sampled_from([": ", ":", ":\t", ":  "])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "HEAD", "OPTIONS", "GET", "HEAD", "OPTIONS", "POST", "get", "TRACE"]))
    line = f"{method} {draw(targets)} HTTP/{draw(st.sampled_from(['1.0', '1.1', '1.1', '1.2']))}\r\n"
    fields = [f"{name}{draw(colons)}{value}\r\n" for name, value in draw(st.lists(headers, max_size=5))]
    return "".join([line, *fields, "\r\n"]).encode("ascii")


class Side:
    """A listener of the daemon; without `quick` nothing is known, and aiohttp answers all."""

    def __init__(self, web: Web, *, quick: bool) -> None:
        self.answered, self.asked = 0, list[bytes]()
        self._welcomed = asyncio.Event()
        real = web.server()

        def prepared(request: bytes, peer: str) -> tuple[bytes, bool] | None:
            found = real.prepared(request, peer) if quick else None
            self.answered += found is not None
            self.asked.append(request)
            return found

        self._server = Server(lambda request: web.handle(request, shelf=web.shelf()), prepared, {}, ("/ack",))
        self._listener = socket.create_server(("127.0.0.1", 0))
        wait_for_requests(self._listener)
        desk = HttpDesk(self._server)

        def welcome(client: socket.socket, address: str) -> None:
            desk.welcome(client, address)
            self._welcomed.set()

        self._reception = Reception(self._listener, welcome, batch=8)

    def open(self) -> None:
        self._reception.open()

    async def close(self) -> None:
        self._reception.close()
        await self._server.close(1.0)

    async def says(self, sent: list[bytes]) -> bytes:
        """All that comes back for these pieces and the end of our side; its date is left out.

        The second piece is sent when the first one has been taken.
        """
        self.asked.clear()
        self._welcomed.clear()
        loop = asyncio.get_running_loop()
        with closing(socket.socket()) as client:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(client, self._listener.getsockname())
            said = b""
            try:
                for piece in sent:
                    await loop.sock_sendall(client, piece)
                    await self._welcomed.wait()
                    for _ in range(5):  # a transport is made, and reads
                        await asyncio.sleep(0)
                client.shutdown(socket.SHUT_WR)
                while got := await asyncio.wait_for(loop.sock_recv(client, 65536), 5):
                    said += got
            except OSError:  # it has had enough of us
                pass
        return DATE.sub(b"\r\n", said)


class Both:
    """The two sides of one application, in one loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        agent = healthy(galera(read_only=1))
        board = Board(agent.publication, POLICY.max_age_seconds, lambda: agent.now)
        web = Web(board, ROLES, dict, lambda key, role: agent.publication, lambda cluster: ())
        self._runner = runner

        async def open_both() -> tuple[Side, Side]:
            sides = Side(web, quick=True), Side(web, quick=False)
            for side in sides:
                side.open()
            return sides

        self.quick, self.slow = runner.run(open_both())

    def say(self, *sent: bytes) -> tuple[bytes, bytes]:
        async def ask() -> tuple[bytes, bytes]:
            return await self.quick.says(list(sent)), await self.slow.says(list(sent))

        return self._runner.run(ask())


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        sides = Both(runner)
        yield sides
        for side in (sides.quick, sides.slow):
            runner.run(side.close())


@settings(max_examples=600)
@given(heads())
def test_one_request(both: Both, head: bytes) -> None:
    before = both.quick.answered
    quick, slow = both.say(head)
    event("known" if recognise(head) is not None else "not known")
    event("answered from bytes" if both.quick.answered > before else "answered by aiohttp")
    assert quick == slow
    assert quick.startswith(b"HTTP/1.")


@settings(max_examples=150)
@given(heads(), st.data())
def test_split_anywhere(both: Both, head: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(1, len(head) - 1), max_size=4)))
    pieces = [head[start:end] for start, end in zip([0, *cuts], [*cuts, len(head)], strict=True)]
    quick, slow = both.say(*pieces)
    assert quick == slow


@settings(max_examples=150)
@given(st.lists(heads(), min_size=2, max_size=4))
def test_pipelined(both: Both, asked: list[bytes]) -> None:
    quick, slow = both.say(b"".join(asked))
    assert quick == slow


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
def test_what_balancers_ask_is_answered_from_bytes(both: Both, method: str, path: str, version: str) -> None:
    """And at every place where it may be split."""
    head = (
        f"{method} {path} HTTP/{version}\r\nHost: db1\r\nx-haproxy-server-state: UP; name=b/n\r\nX: y\r\n\r\n".encode()
    )
    before = both.quick.answered
    quick, slow = both.say(head)
    assert quick == slow
    assert both.quick.answered == before + 1
    assert both.slow.answered == 0


def test_split_at_every_byte(both: Both) -> None:
    head = b"GET /writer HTTP/1.1\r\nHost: db1\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    whole, slow = both.say(head)
    assert whole == slow
    for cut in range(1, len(head)):
        before = both.quick.answered
        assert both.say(head[:cut], head[cut:]) == (whole, slow)
        assert both.quick.asked == both.slow.asked == [head[:cut], head]
        assert both.quick.answered == before + 1
