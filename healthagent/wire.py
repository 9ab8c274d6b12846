"""HTTP as balancers really speak it, in front of aiohttp's own protocol.

HAProxy's `option httpchk GET /x HTTP/1.1` sends no Host header, which aiohttp refuses from 3.14 on; it gets one here.
And aiohttp waits for ever for a request that does not come or does not end; here it has a deadline.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

__all__ = ["ALLOW", "METHODS", "Server", "not_allowed"]

log = logging.getLogger("healthagent.web")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

REQUEST_SECONDS = 10.0  # from the connection, or from the last answer, to the end of a request's head
HEAD_LIMIT = 16384
METHODS = ("GET", "HEAD", "OPTIONS")
ALLOW = {"Allow": ", ".join(METHODS)}
REQUEST_LINE = re.compile(rb"([A-Za-z]+) \S+ HTTP/1\.[01]\r?\Z")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
WITHOUT_HOST = re.compile(rb"\A[^\n]* HTTP/1\.1\r?\n(?!(?:[^\n]*\n)*?host[ \t]*:)", re.IGNORECASE)
WITH_BODY = re.compile(rb"\n(?:content-length|transfer-encoding|upgrade)[ \t]*:", re.IGNORECASE)


class Server(web.Server):
    """Makes a Connection for each client."""

    def __init__(self, handler: Handler) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": REQUEST_SECONDS,
            "lingering_time": 1.0,
            "logger": log,
        }
        super().__init__(handler, **self._options)

    def __call__(self) -> "Connection":
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)


class Connection(web.RequestHandler):
    """One client: hands complete request heads to aiohttp, and ends connections that bring none in time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = b""
        self._line = b""
        self._direct = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._direct:
            super().data_received(data)
            return
        self._head += data
        while not self._direct and (end := END_OF_HEAD.search(self._head)) is not None:
            head, self._head = self._head[: end.end()], self._head[end.end() :]
            self._forget_deadline()
            self._line = head.partition(b"\n")[0]
            # A body follows: from here on the bytes are aiohttp's to count.
            self._direct = WITH_BODY.search(head) is not None
            super().data_received(with_host(head))
        if self._direct or len(self._head) > HEAD_LIMIT or not self._head[:1].isalpha():
            rest, self._head, self._direct = self._head, b"", self._direct or bool(self._head)
            if rest:
                super().data_received(rest)
        elif self._deadline is None:
            self._expect_request()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP gets a 400 and no line in the log; a fault of ours is logged, and never reaches 2xx.

        aiohttp's parser refuses methods that it does not know; to a client they are just other methods, so 405.
        """
        headers = {"Cache-Control": "no-store", "Server": "healthagent"}
        line = REQUEST_LINE.match(self._line)
        if line is not None and line[1].decode() not in METHODS:
            status, says, headers = 405, not_allowed(line[1].decode()), headers | ALLOW
        elif status >= 500:
            says = "internal error"
            log.error("failed to answer %s", request.raw_path, exc_info=exc)
        else:
            first = (message or "").strip().splitlines()[:1]
            says = f"malformed request: {first[0] if first else 'not HTTP'}"
        response = web.Response(status=status, text=f"{says}\n", headers=headers)
        response.force_close()
        return response

    def _expect_request(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def not_allowed(method: str) -> str:
    """What the body of a 405 says."""
    return f"method {method} is not allowed; use {', '.join(METHODS)}"


def with_host(head: bytes) -> bytes:
    """The request head, with an empty Host header where HTTP/1.1 asks for one and none is there."""
    if WITHOUT_HOST.match(head) is None:
        return head
    line, _, rest = head.partition(b"\n")
    return line + b"\nHost: \r\n" + rest
