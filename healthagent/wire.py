"""HTTP as balancers really speak it, in front of aiohttp's own protocol.

HAProxy's `option httpchk GET /x HTTP/1.1` sends no Host header, which aiohttp refuses from 3.14 on; it gets one here.
What is malformed is refused here, since aiohttp's versions differ in what they let through. aiohttp waits for ever for
a request that does not come or an answer that nobody reads; here both have a deadline. And it takes as many requests as
a client likes to send at once; here it gets the next one when it has answered the one before. A POST comes without a
body, and only to the paths that take one. Over TCP a connection may begin with a PROXY preface.
"""

import asyncio
import logging
import re
import resource
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import web

from healthagent import preface

__all__ = ["FILE_LIMIT", "Connection", "Server", "client_limit"]

log = logging.getLogger("healthagent.web")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

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


class Server(web.Server):
    """Makes a Connection for each client.

    `clients`: those of all listeners, the oldest first. `posts`: the paths that take POST; `handler` says who may.
    `prefaces`: whether a connection may begin with a PROXY preface.
    """

    def __init__(
        self, handler: Handler, clients: "dict[Connection, None]", posts: Collection[str] = (), *, prefaces: bool = True
    ) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": REQUEST_SECONDS,
            "lingering_time": 1.0,
            "max_line_size": HEAD_LIMIT,
            "max_field_size": HEAD_LIMIT,
            "logger": log,
        }
        self.clients, self.prefaces = clients, prefaces
        self.posts = frozenset(path.encode() for path in posts)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            connection = request.protocol
            assert isinstance(connection, Connection)
            return await connection.answer(request, await handler(request))

        super().__init__(handle, **self._options)

    def __call__(self) -> "Connection":
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)


class Connection(web.RequestHandler):
    """One client: hands one complete request head after the other to aiohttp, and ends what takes too long."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._clients, self._posts = server.clients, server.posts
        self._head, self._searched = b"", 0
        self._refusal: tuple[int, str] | None = None
        self._busy = False
        self._direct = False
        self._opening = server.prefaces
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._clients[self] = None
        if len(self._clients) > client_limit():
            next(iter(self._clients)).give_up()
        self._start_deadline()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._clients.pop(self, None)
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._direct:  # the body of a request: aiohttp counts it, and closes after the answer
            super().data_received(data)
            return
        self._head += data
        if not self._busy:
            self._take()
        elif len(self._head) > HEAD_LIMIT and self.transport is not None:
            self.transport.pause_reading()  # aiohttp's own pause_reading is for bodies

    async def answer(self, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
        """Sends the response, as far as the client reads it, and only then takes the next request."""
        if self._direct:
            response.force_close()
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:  # a check that ends in RST; aiohttp comes to the same end
            return response
        if self.transport is None:
            return response
        self._busy = False
        self._stop_deadline()
        self._start_deadline()
        if len(self._head) <= HEAD_LIMIT:
            self.transport.resume_reading()
        asyncio.get_running_loop().call_soon(self._take)
        return response

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is refused gets its answer and no line in the log; a fault of ours is logged, and never reaches 2xx."""
        says = f"malformed request: {(message or 'not HTTP').strip().splitlines()[0]}"
        if self._refusal is not None:
            status, says = self._refusal
        elif status >= 500:
            says = "internal error"
            log.error("failed to answer %s", request.raw_path, exc_info=exc)
        headers = {"Cache-Control": "no-store", "Server": "healthagent", **(ALLOW if status == 405 else {})}
        response = web.Response(status=status, text=f"{says}\n", headers=headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp 3.8 trips over a client that is gone before its request is looked at: nothing to tell."""
        if self.transport is not None:
            super().log_exception(*args, **kw)

    def give_up(self) -> None:
        """Ends the connection without a word."""
        self._clients.pop(self, None)
        if self.transport is not None:
            self.transport.abort()

    def _take(self) -> None:
        """Hands the next request to aiohttp, once it is complete."""
        if self._busy or self._direct or (self._opening and not self._opened()):
            return
        self._head = self._head.lstrip(b"\r\n")  # RFC 9112 2.2: empty lines before a request are nothing
        # on from where it has been looked at: clients that send a byte at a time must not cost their square
        end = END_OF_HEAD.search(self._head, max(0, self._searched - 3))
        self._searched = len(self._head)
        if end is not None:
            head, self._head, self._searched = self._head[: end.end()], self._head[end.end() :], 0
            self._hand_over(head)
        elif len(self._head) > HEAD_LIMIT:
            self._refuse(400, f"malformed request: its head is longer than {HEAD_LIMIT} bytes")
        elif self._head and not self._head[:1].isalpha():
            self._refuse(400, "malformed request: not HTTP")

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
        posting = method == b"POST" and path is not None and path.partition(b"?")[0] in self._posts
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
            self._busy, self._direct = True, WITH_BODY.search(headers) is not None
            rest, self._head = (self._head, b"") if self._direct else (b"", self._head)
            host = b"" if hosts else b"Host: \r\n"
            super().data_received(method + b" " + path + version + host + headers + rest)

    def _refuse(self, status: int, says: str) -> None:
        self._refusal, self._head, self._direct = (status, says), b"", True
        super().data_received(REFUSED)

    def _start_deadline(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.give_up)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None


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
