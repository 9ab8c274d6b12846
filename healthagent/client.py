"""Asks the running agent by its control socket, with nothing but the standard library: a command must start fast."""

import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from healthagent.errors import UnreachableError

__all__ = ["Reply", "ask"]

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent answered: HTTP code and body."""

    code: int
    body: str


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, target: str, *, method: str = "GET") -> Reply:
    """The answer of the agent behind the socket `path`; UnreachableError, in one line, when none comes in time."""
    connection = _Connection(path)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return Reply(code=response.status, body=response.read().decode("utf-8", "replace"))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise UnreachableError(f"{path}: {error.strerror}: is `healthagent serve` running?") from error
    except PermissionError as error:
        raise UnreachableError(f"{path}: {error.strerror}: only root and its group may ask") from error
    except TimeoutError as error:
        raise UnreachableError(f"{path}: the agent has not answered for {TIMEOUT_SECONDS:g} s") from error
    except HTTPException as error:
        raise UnreachableError(f"{path}: what answers there is no agent ({type(error).__name__})") from error
    except OSError as error:  # a path that is too long for a socket has no strerror
        raise UnreachableError(f"{path}: {error.strerror or error}") from error
    finally:
        connection.close()
