"""Accepts clients, and answers those whose question is there already without making a transport for them.

Three system calls more than accept and close, instead of an event, a protocol, a timer and their end: two thirds of the
work (docs/performance.md). Whoever is not answered like this gets a transport, and all the time that clients have.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

from healthagent.events import Event, Kind, Level
from healthagent.handler import Server
from healthagent.logs import tell
from healthagent.wire import HEAD_LIMIT

__all__ = ["LAST", "Farewell", "HttpDesk", "Reception", "Transports", "wait_for_requests"]

# no file, no memory: clients wait in the backlog meanwhile
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REST_SECONDS = 0.1
# With the end right behind it: one segment for both (measured: a seventh less CPU than two)
LAST = socket.MSG_DONTWAIT | socket.MSG_MORE
DEFER_SECONDS = 1


class Reception:
    """One listening socket; `welcome` gets each client's socket, which is its own from then on, and its address."""

    def __init__(self, listener: socket.socket, welcome: Callable[[socket.socket, str], None], *, batch: int) -> None:
        """`batch`: as many are accepted before others get their turn."""
        self._listener, self._welcome, self._batch = listener, welcome, batch
        self._resting: asyncio.TimerHandle | None = None
        self._complained = False

    def open(self) -> None:
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._resting is not None:
            self._resting.cancel()
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(self._batch):
            try:
                client, address = self._listener.accept()
            except OSError as error:  # nobody is left, or whoever it was has gone already
                if error.errno in OUT_OF_RESOURCES:
                    self._rest(error)
                return
            self._complained = False
            self._welcome(client, address[0] if isinstance(address, tuple) else "")

    def _rest(self, error: OSError) -> None:
        """The listener stays readable: without a rest this would be a loop."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._resting = loop.call_later(REST_SECONDS, self.open)
        if not self._complained:
            says = f"clients have to wait: {error.strerror}"
            tell(Event(kind=Kind.LISTENER, level=Level.WARNING, says=says))
        self._complained = True


def wait_for_requests(listener: socket.socket) -> None:
    """A TCP client is accepted when its request is there, or DEFER_SECONDS after it has come without one (tcp(7))."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)


class Transports:
    """Makes transports for clients that are accepted already."""

    def __init__(self) -> None:
        self._moving: set[asyncio.Task[object]] = set()

    def take(self, client: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """`make` makes the client's protocol."""
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        moving = loop.create_task(loop.connect_accepted_socket(make, client))
        self._moving.add(moving)
        moving.add_done_callback(partial(self._moved, client))

    async def close(self) -> None:
        """Waits for those who are on their way."""
        await asyncio.gather(*self._moving, return_exceptions=True)

    def _moved(self, client: socket.socket, moving: "asyncio.Task[object]") -> None:
        self._moving.discard(moving)
        if moving.cancelled() or moving.exception() is not None:
            client.close()


class HttpDesk:
    """Answers a health check that has come with its connection; everybody else gets a transport, and `server`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transports = Transports()

    def welcome(self, client: socket.socket, address: str) -> None:
        try:
            request = client.recv(HEAD_LIMIT, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._transports.take(client, self._server)
            return
        except OSError:  # it has reset the connection
            client.close()
            return
        prepared = self._server.prepared(request, address)
        if prepared is not None:
            self._answer(client, *prepared)
        elif request:
            self._transports.take(client, partial(self._server, request))
        else:  # it only wanted to connect
            client.close()

    async def close(self) -> None:
        """Waits for those who are on their way to a transport."""
        await self._transports.close()

    def _answer(self, client: socket.socket, message: bytes, stays: bool) -> None:
        try:
            sent = client.send(message, socket.MSG_DONTWAIT if stays else LAST)
            if stays and sent == len(message):
                self._transports.take(client, partial(self._server, begun=True))
                return
            # close() alone throws the answer away where something unread has come meanwhile (RFC 2525 2.17)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone
            pass
        client.close()


class Farewell:
    """Clients that have been told all: our side is closed, theirs may still say something.

    What is unread when a socket is closed makes the kernel send a reset (RFC 2525 2.17), which may overtake the
    answer. So they stay a while, but never more than `room` of them.
    """

    def __init__(self, *, seconds: float, room: int) -> None:
        self._seconds, self._room = seconds, room
        self._leaving: deque[tuple[float, socket.socket]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._leaving)

    def take(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._leaving.append((loop.time() + self._seconds, client))
        if len(self._leaving) > self._room:
            self._leaving.popleft()[1].close()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._sweep)

    def close(self) -> None:
        while self._leaving:
            self._leaving.popleft()[1].close()
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while self._leaving and self._leaving[0][0] <= loop.time():
            self._leaving.popleft()[1].close()
        self._timer = loop.call_at(self._leaving[0][0], self._sweep) if self._leaving else None
