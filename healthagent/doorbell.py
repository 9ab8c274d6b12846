"""A UDP port on the loopback device: whatever comes there means "look now", and nothing else. For wsrep_notify_cmd.

A datagram, because it is the one way to tell somebody something that never waits for him. A pipe without a reader
blocks at open(), one that is full at write(), a Unix socket whose queue is full at send(); here the kernel throws away
what finds no room, and nobody listening is an error at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from healthagent.errors import StartError
from healthagent.kinds import spoken_address

__all__ = ["Doorbell"]

Place = tuple[str, int]

# So often it is heard at most: 20 looks a second, whoever rings and however often. What rings meanwhile is one ring.
PAUSE_SECONDS = 0.05
# Of the kernel's memory: so little that a flood is thrown away there, at no cost here. It never gives less than 2304.
BUFFER_BYTES = 2304
MOST_AT_ONCE = 64


class Doorbell:
    """`ring` is called for what comes; it must be quick and raise nothing."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._place: Place | None = None
        self._socket: socket.socket | None = None
        self._deaf: asyncio.TimerHandle | None = None

    def prepare(self, place: Place | None) -> socket.socket | None:
        """What is to be given to adopt(): the port, opened if it is another one than before. StartError if taken."""
        return None if place is None or place == self._place else _opened(place)

    def adopt(self, place: Place | None, opened: socket.socket | None) -> None:
        """Listens there from now on, and no longer where it did before."""
        if place == self._place:
            return
        self.close()
        self._place, self._socket = place, opened
        if opened is not None:
            asyncio.get_running_loop().add_reader(opened, self._hear)

    def close(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self._place = self._socket = self._deaf = None

    def _hear(self) -> None:
        """One ring for all that has come, and then a pause in which the loop is not even woken."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._deaf = loop.call_later(PAUSE_SECONDS, self._listen)
        with contextlib.suppress(OSError):  # nothing more is there
            for _ in range(MOST_AT_ONCE):
                self._socket.recv(1)
        self._ring()

    def _listen(self) -> None:
        assert self._socket is not None
        self._deaf = None
        asyncio.get_running_loop().add_reader(self._socket, self._hear)


def _opened(place: Place) -> socket.socket:
    host, port = place
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        opened.bind(place)
    except OSError as error:
        opened.close()
        where = spoken_address(host, port)
        raise StartError(f"probe.notify: cannot listen on {where} (UDP): {error.strerror}") from error
    return opened
