"""Two pollers on kept connections: what an agent says over HTTP, and what its server says of itself, from when on."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from lab import MariaDB, sql

__all__ = ["EVERY_SECONDS", "Listener", "Poller", "Watcher"]

EVERY_SECONDS = 0.002
TIMEOUT_SECONDS = 5.0


class Poller(threading.Thread):
    """Asks every 2 ms and keeps what changes: `changes` are (moment, word), by time.monotonic()."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.changes: list[tuple[float, str]] = []
        self.failure: BaseException | None = None

    def ask(self) -> str:
        raise NotImplementedError

    def run(self) -> None:
        last = None
        try:
            while not self._over.wait(EVERY_SECONDS):
                word = self.ask()
                if word != last:
                    self.changes.append((time.monotonic(), word))
                    last = word
        except BaseException as error:
            if not self._over.is_set():
                self.failure = error

    def when(self, true: Callable[[str], bool], since: float, within: float = 30.0) -> float:
        """The first moment at which it said so after `since`; that it has said so all along counts as `since`."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            changes = list(self.changes)
            before = [word for at, word in changes if at <= since]
            if before and true(before[-1]):
                return since
            found = next((at for at, word in changes if at > since and true(word)), None)
            if found is not None:
                return found
            if self.failure is not None:
                raise self.failure
            time.sleep(EVERY_SECONDS)
        raise TimeoutError(f"{self!r} says {self.changes[-3:]}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()


class Watcher(Poller):
    """One role over HTTP/1.1: `200` or `503`; `slowest` is the longest time to an answer, in seconds."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        super().__init__()
        self._socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self.slowest = 0.0

    def ask(self) -> str:
        began = time.monotonic()
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"\n"):
            more = self._socket.recv(4096)
            if not more:
                raise EOFError("the agent has closed the connection")
            data += more
        self.slowest = max(self.slowest, time.monotonic() - began)
        return data.split(b" ", 2)[1].decode()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._socket.close()


class Listener(Poller):
    """One status variable of a server, on a connection of its own."""

    def __init__(self, server: MariaDB, variable: str) -> None:
        super().__init__()
        self._client = server.client(timeout=TIMEOUT_SECONDS)
        self._statement = f"SHOW GLOBAL STATUS WHERE Variable_name = '{variable}'"

    def ask(self) -> str:
        found = sql.rows(self._client, self._statement)
        return str(found[0]["Value"]) if found else ""

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._client.close()
