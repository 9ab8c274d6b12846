"""HTTP as balancers really speak it, in front of aiohttp's own protocol.

HAProxy's `option httpchk GET /x HTTP/1.1` sends no Host header, which aiohttp refuses from 3.14 on; it gets one here.
What is malformed is refused here, since aiohttp's versions differ in what they let through. And aiohttp waits for ever
for a request that does not come or does not end; here it has a deadline.
"""

import asyncio
import logging
import re
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

__all__ = ["ALLOW", "METHODS", "Connection", "Server", "not_allowed"]

log = logging.getLogger("healthagent.web")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

METHODS = ("GET", "HEAD", "OPTIONS")
ALLOW = {"Allow": ", ".join(METHODS)}
REQUEST_SECONDS = 10.0  # from the connection, or from the last answer, to the end of a request's head
HEAD_LIMIT = 16384
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 5.6.2
# RFC 9112: request line, header lines, an empty one. No folding, no bare LF, nothing before a colon.
HEAD = re.compile(rb"(" + TOKEN + rb") [!-~]+ HTTP/1\.[01]\r\n(?:" + TOKEN + rb":[^\r\n\0]*\r\n)*\r\n")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
HOST = re.compile(rb"\nhost:", re.IGNORECASE)
WITH_BODY = re.compile(rb"\n(?:content-length|transfer-encoding|upgrade):", re.IGNORECASE)
# What aiohttp is given in the place of a malformed request: it answers by handle_error, behind the answers before it.
MALFORMED = b"?\r\n\r\n"


class Server(web.Server):
    """Makes a Connection for each client. `clients`: those of all listeners, the oldest first."""

    def __init__(self, handler: Handler, clients: "dict[Connection, None]") -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": REQUEST_SECONDS,
            "lingering_time": 1.0,
            "logger": log,
        }
        self.clients = clients
        super().__init__(handler, **self._options)

    def __call__(self) -> "Connection":
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)


class Connection(web.RequestHandler):
    """One client: hands complete request heads to aiohttp, and ends connections that bring none in time."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._clients = server.clients
        self._head = b""
        self._method = ""
        self._refused = ""
        self._direct = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._clients[self] = None
        if len(self._clients) > client_limit():
            next(iter(self._clients)).give_up()
        self._expect_request()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._clients.pop(self, None)
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._direct:
            super().data_received(data)
            return
        self._head = (self._head + data).lstrip(b"\r\n")  # RFC 9112 2.2: empty lines before a request are nothing
        while not self._direct and (end := END_OF_HEAD.search(self._head)) is not None:
            head, self._head = self._head[: end.end()], self._head[end.end() :].lstrip(b"\r\n")
            self._take(head)
        if self._direct:
            rest, self._head = self._head, b""
            if rest:
                super().data_received(rest)
        elif len(self._head) > HEAD_LIMIT:
            self._refuse(f"the request's head is longer than {HEAD_LIMIT} bytes")
        elif self._head and not self._head[:1].isalpha():
            self._refuse("not HTTP")
        elif self._head and self._deadline is None:
            self._expect_request()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is malformed gets a 400 and no line in the log; a fault of ours is logged, and never reaches 2xx.

        aiohttp's parser refuses methods that it does not know; to a client they are just other methods, so 405.
        """
        headers = {"Cache-Control": "no-store", "Server": "healthagent"}
        if not self._refused and self._method not in (*METHODS, ""):
            status, says, headers = 405, not_allowed(self._method), headers | ALLOW
        elif status >= 500:
            says = "internal error"
            log.error("failed to answer %s", request.raw_path, exc_info=exc)
        else:
            first = (self._refused or message or "").strip().splitlines()[:1]
            says = f"malformed request: {first[0] if first else 'not HTTP'}"
        response = web.Response(status=status, text=f"{says}\n", headers=headers)
        response.force_close()
        return response

    def give_up(self) -> None:
        """Ends the connection without a word."""
        self._clients.pop(self, None)
        if self.transport is not None:
            self.transport.abort()

    def _take(self, head: bytes) -> None:
        self._forget_deadline()
        match = HEAD.fullmatch(head)
        if match is None:
            self._refuse("not a request of HTTP/1.0 or HTTP/1.1")
        elif len(HOST.findall(head)) > 1:
            self._refuse("more than one Host header")
        else:
            self._method = match[1].decode()
            # A body follows: from here on the bytes are aiohttp's to count.
            self._direct = WITH_BODY.search(head) is not None
            super().data_received(with_host(head))

    def _refuse(self, says: str) -> None:
        self._forget_deadline()
        self._refused, self._head, self._direct = says, b"", True
        super().data_received(MALFORMED)

    def _expect_request(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None


def client_limit() -> int:
    """Half of the files that this process may open: a new client always finds room, the oldest one makes it."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


def not_allowed(method: str) -> str:
    """What the body of a 405 says."""
    return f"method {method} is not allowed; use {', '.join(METHODS)}"


def with_host(head: bytes) -> bytes:
    """The request head, with an empty Host header where HTTP/1.1 asks for one and none is there."""
    line, _, rest = head.partition(b"\n")
    if not line.endswith(b" HTTP/1.1\r") or HOST.search(head) is not None:
        return head
    return line + b"\nHost: \r\n" + rest
