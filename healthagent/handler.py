"""aiohttp behind our own reading of HTTP: what it is given is one complete head after the other, and well formed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import web

from healthagent.healthcheck import SERVER
from healthagent.wire import ALLOW, HEAD_LIMIT, Connection

__all__ = ["Handler", "Server"]

log = logging.getLogger("healthagent.web")

FOR_EVER_SECONDS = 365 * 86400.0  # Connection has the deadlines, and sees answers that aiohttp does not


class Server(web.Server):
    """Makes a Connection for each client, and a Handler for each that asks more than health checks.

    `prepared`: the bytes of an answer and whether the connection goes on, for a request that is known. `clients`: those
    of all listeners, the oldest first. `posts`: the paths that take POST; `handler` says who may. `prefaces`: whether a
    connection may begin with a PROXY preface. `refused` hears the status of each answer that `handler` did not give.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        prepared: Callable[[bytes, str], tuple[bytes, bool] | None],
        clients: dict[Connection, None],
        posts: Collection[str] = (),
        *,
        prefaces: bool = True,
        refused: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": FOR_EVER_SECONDS,
            "lingering_time": 1.0,
            "max_line_size": HEAD_LIMIT,
            "max_field_size": HEAD_LIMIT,
            "logger": log,
        }
        self.clients, self.prefaces, self.prepared, self.refused = clients, prefaces, prepared, refused
        self.posts = frozenset(path.encode() for path in posts)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            machinery = request.protocol
            assert isinstance(machinery, Handler)
            return await machinery.connection.answer(request, await handler(request))

        super().__init__(handle, **self._options)

    def __call__(self, received: bytes = b"", *, begun: bool = False) -> Connection:  # type: ignore[override]
        """`received`: what the client has said before it had a transport; `begun`: it has been answered already."""
        return Connection(self, received, begun=begun)

    def handler(self, connection: Connection) -> "Handler":
        """aiohttp's side of `connection`, from its first request on that is not known."""
        return Handler(self, connection, loop=asyncio.get_running_loop(), **self._options)

    async def close(self, seconds: float) -> None:
        """Ends all connections; answers under way have so many seconds."""
        idle = [client for client in self.clients if client.server is self and not client.busy]
        for client in idle:
            client.give_up()
        await self.shutdown(seconds)


class Handler(web.RequestHandler):
    """Says what became of a request in our words, and nothing in the log that a client could cause."""

    def __init__(self, server: Server, connection: Connection, **options: Any) -> None:
        super().__init__(server, **options)
        self.connection, self._refused = connection, server.refused

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is refused gets its answer and no line in the log; a fault of ours is logged, and never reaches 2xx."""
        says = f"malformed request: {(message or 'not HTTP').strip().splitlines()[0]}"
        if self.connection.refusal is not None:
            status, says = self.connection.refusal
        elif status >= 500:
            says = "internal error"
            log.error("failed to answer %s", request.raw_path, exc_info=exc)
        headers = {"Cache-Control": "no-store", "Server": SERVER, **(ALLOW if status == 405 else {})}
        response = web.Response(status=status, text=f"{says}\n", headers=headers)
        response.force_close()
        self._refused(status)
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp 3.8 trips over a client that is gone before its request is looked at: nothing to tell."""
        if self.transport is not None:
            super().log_exception(*args, **kw)
