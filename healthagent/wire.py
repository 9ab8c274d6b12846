"""HTTP as balancers really speak it, in front of aiohttp's own protocol.

Health checks that are known are answered here, from bytes that are ready; everything else is aiohttp's. HAProxy's
`option httpchk GET /x HTTP/1.1` sends no Host header, which aiohttp refuses from 3.14 on; it gets one here. What is
malformed is refused here, since aiohttp's versions differ in what they let through. aiohttp waits for ever for a
request that does not come or an answer that nobody reads; here both have a deadline. And it takes as many requests as a
client likes to send at once; here it gets the next one when it has answered the one before. A POST comes without a
body, and only to the paths that take one. Over TCP a connection may begin with a PROXY preface.
"""

import asyncio
import re
import resource
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import web

from healthagent import preface

__all__ = ["ALLOW", "FILE_LIMIT", "HEAD_LIMIT", "Application", "Connection", "client_limit"]

METHODS = ("GET", "HEAD", "OPTIONS")
ALLOW = {"Allow": ", ".join(METHODS)}
REQUEST_SECONDS = 5.0  # from the connection, or from the last answer, until the next answer has been sent
HEAD_LIMIT = 16384
HEADERS_LIMIT = 100
# for the database, /proc, listeners and log, and for clients that are accepted and not yet counted, or gone and not yet
# closed: without a file left asyncio accepts nobody for a second, and the database would look as if it were away
OWN_FILES = 96
LEAST_CLIENTS = 8
FILE_LIMIT = 16384  # no more are used, whatever the limit is: a crowd of as many clients costs about 60 MB
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 5.6.2
# RFC 9112: request line, header lines, an empty one. No folding, no bare LF, nothing before a colon.
HEAD = re.compile(rb"(" + TOKEN + rb") ([!-~]+)( HTTP/1\.[01]\r\n)((?:" + TOKEN + rb":[^\r\n\0]*\r\n)*\r\n)")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
HOST = re.compile(rb"^host:", re.IGNORECASE | re.MULTILINE)
# A target in absolute form, which every server must take (RFC 9112 3.2.2), is the same as its path.
ABSOLUTE = re.compile(rb"https?://(?:\[[0-9a-f:.]+\]|[0-9a-z.-]+)(?::[0-9]{1,5})?(/[!-~]*|\?[!-~]*|)", re.IGNORECASE)
LENGTH = re.compile(rb"^content-length:[ \t]*([^\r\n]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
WITH_BODY = re.compile(rb"^(?:content-length|transfer-encoding|upgrade):", re.IGNORECASE | re.MULTILINE)
TRANSFER_ENCODING = re.compile(rb"^transfer-encoding:", re.IGNORECASE | re.MULTILINE)
# What aiohttp is given in the place of a request that it must refuse: it answers by handle_error.
REFUSED = b"?\r\n\r\n"


class Application(Protocol):
    """What a Connection needs of what is behind it: handler.Server."""

    clients: "dict[Connection, None]"
    posts: frozenset[bytes]
    prefaces: bool
    prepared: Callable[[bytes, str], tuple[bytes, bool] | None]

    def handler(self, connection: "Connection") -> web.RequestHandler: ...


class Connection(asyncio.Protocol):
    """One client: answers what is known, hands everything else to aiohttp, and ends what takes too long."""

    def __init__(self, server: Application, received: bytes = b"", *, begun: bool = False) -> None:
        """`received`: what the client has said before it had a transport; `begun`: it has been answered already."""
        self.server, self.busy = server, False
        self.transport: asyncio.Transport | None = None
        self.refusal: tuple[int, str] | None = None
        self._received, self._head, self._searched = received, b"", 0
        self._handler: web.RequestHandler | None = None
        self._direct = self._clogged = self._half_closed = False
        self._opening = server.prefaces and not begun
        self._due = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self._loop = cast(asyncio.Transport, transport), asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=0)  # pause_writing() as soon as the kernel takes no more
        clients = self.server.clients
        clients[self] = None
        if len(clients) > client_limit():
            next(iter(clients)).give_up()
        self._extend()
        self._watch_deadline()
        if self._received:
            self.data_received(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.clients.pop(self, None)
        self.transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._direct:  # the body of a request: aiohttp counts it, and closes after the answer
            self._machinery().data_received(data)
            return
        self._head += data
        self._take()
        if len(self._head) > HEAD_LIMIT and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Its side is closed; it may read on, so it gets the answers to what it has asked."""
        self._half_closed = True
        return self._pending()

    def pause_writing(self) -> None:
        self._clogged = True
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._clogged = False
        if self._handler is not None:
            self._handler.resume_writing()
        if not self.busy:
            self._answered()

    async def answer(self, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
        """Sends aiohttp's response, as far as the client reads it, and only then takes the next request."""
        if self._direct:
            response.force_close()
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:  # a check that ends in RST; aiohttp comes to the same end
            return response
        self.busy = False
        if response.keep_alive:
            self._answered()
        else:  # aiohttp closes, as soon as it has dropped what may still come of a body
            self._direct, self._head = True, b""
        return response

    def give_up(self) -> None:
        """Ends the connection without a word."""
        self.server.clients.pop(self, None)
        if self.transport is not None:
            self.transport.abort()

    def _take(self) -> None:
        """Answers the next request, or hands it to aiohttp, once it is complete and the one before is answered."""
        if self.transport is None or self.transport.is_closing() or self.busy or self._clogged or self._direct:
            return
        if self._opening and not self._opened():
            return
        self._head = self._head.lstrip(b"\r\n")  # RFC 9112 2.2: empty lines before a request are nothing
        # on from where it has been looked at: clients that send a byte at a time must not cost their square
        end = END_OF_HEAD.search(self._head, max(0, self._searched - 3))
        self._searched = len(self._head)
        if end is not None:
            head, self._head, self._searched = self._head[: end.end()], self._head[end.end() :], 0
            self._respond(head)
        elif len(self._head) > HEAD_LIMIT:
            self._refuse(400, f"malformed request: its head is longer than {HEAD_LIMIT} bytes")
        elif self._head and not self._head[:1].isalpha():
            self._refuse(400, "malformed request: not HTTP")

    def _respond(self, head: bytes) -> None:
        assert self.transport is not None
        peer = self.transport.get_extra_info("peername")
        prepared = self.server.prepared(head, peer[0] if isinstance(peer, tuple) else "")
        if prepared is None:
            self._hand_over(head)
            return
        message, stays = prepared
        self.transport.write(message)
        if stays:
            self._answered()
        else:
            self._direct, self._head = True, b""
            self.transport.close()  # when all is sent

    def _answered(self) -> None:
        """The next request has its own time, from when the client has taken the answer to the one before."""
        if self.transport is None or self._clogged:
            return
        if self._half_closed and not self._pending():
            self.transport.close()
            return
        self._extend()
        if len(self._head) <= HEAD_LIMIT:
            self.transport.resume_reading()
        if self._head:
            self._loop.call_soon(self._take)

    def _pending(self) -> bool:
        """A request that has no answer yet."""
        return self.busy or END_OF_HEAD.search(self._head.lstrip(b"\r\n")) is not None

    def _opened(self) -> bool:
        """Drops the preface, if there is one; False while it is not complete, or if it is refused."""
        try:
            length = preface.length(self._head)
        except preface.PrefaceError as error:
            self._refuse(400, f"malformed request: {error}")
            return False
        if length is None:
            return False
        self._opening, self._head = False, self._head[length:]
        return True

    def _hand_over(self, head: bytes) -> None:
        match = HEAD.fullmatch(head)
        if match is None or len(head) > HEAD_LIMIT or head.count(b"\n") > HEADERS_LIMIT:
            self._refuse(400, "malformed request: not one of HTTP/1.0 or HTTP/1.1, or too large")
            return
        method, target, version, headers = match.group(1, 2, 3, 4)
        path, hosts = origin_form(target), len(HOST.findall(headers))
        posting = method == b"POST" and path is not None and path.partition(b"?")[0] in self.server.posts
        if method.decode() not in METHODS and not posting:
            self._refuse(405, f"method {method.decode()} is not allowed; use {', '.join(METHODS)}")
        elif path is None:
            self._refuse(400, "malformed request: its target must be a path")
        elif hosts > 1:
            self._refuse(400, "malformed request: more than one Host header")
        elif posting and TRANSFER_ENCODING.search(headers):
            self._refuse(411, "a POST comes without a body here: no Transfer-Encoding")
        elif posting and LENGTH.findall(headers) not in ([], [b"0"]):
            self._refuse(400, "a POST comes without a body here: its parameters stand behind the path")
        else:
            self.busy, self._direct = True, WITH_BODY.search(headers) is not None
            rest, self._head = (self._head, b"") if self._direct else (b"", self._head)
            host = b"" if hosts else b"Host: \r\n"
            self._machinery().data_received(method + b" " + path + version + host + headers + rest)

    def _refuse(self, status: int, says: str) -> None:
        self.refusal, self._head, self.busy, self._direct = (status, says), b"", True, True
        self._machinery().data_received(REFUSED)

    def _machinery(self) -> web.RequestHandler:
        if self._handler is None:
            assert self.transport is not None
            self._handler = self.server.handler(self)
            self._handler.connection_made(self.transport)
        return self._handler

    def _extend(self) -> None:
        self._due = self._loop.time() + REQUEST_SECONDS

    def _watch_deadline(self) -> None:
        """One timer for a whole connection: it looks again where there have been answers meanwhile."""
        left = self._due - self._loop.time()
        if left > 0:
            self._deadline = self._loop.call_later(left, self._watch_deadline)
        else:
            self.give_up()


def origin_form(target: bytes) -> bytes | None:
    """The target as a path with its query; None for what names none."""
    if target.startswith(b"/") or target == b"*":
        return target
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        return None
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def client_limit() -> int:
    """Half of the files that are not our own: a new client always finds room, the oldest one makes it."""
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], FILE_LIMIT)
    return max(LEAST_CLIENTS, (files - OWN_FILES) // 2)
