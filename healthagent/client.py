"""Asks the running agent by its control socket.

By a socket and a few lines: `check` is run every second, and loading http.client takes longer than all that it does.
So does `socket`, of which nothing is used but the class of the interpreter that it is built on.
"""

import time
from _socket import AF_UNIX, SOCK_STREAM, socket

__all__ = ["TIMEOUT_SECONDS", "NoAnswerError", "Reply", "ask", "one_line"]

TIMEOUT_SECONDS = 5.0
ANSWER_LIMIT = 1 << 26  # /state of the largest node has a few hundred KiB


class NoAnswerError(Exception):
    """Nothing answers, or nothing that is an agent; the text is one line."""


class Reply:
    """What the agent answered: HTTP code, headers by name in lower case, body."""

    __slots__ = ("body", "code", "headers")

    def __init__(self, code: int, headers: dict[str, str], body: str) -> None:
        self.code, self.headers, self.body = code, headers, body


def ask(path: str, target: str, *, method: str = "GET", seconds: float | None = None) -> Reply:
    """The answer of the agent behind the socket `path`, all of it within so many seconds (TIMEOUT_SECONDS)."""
    seconds = TIMEOUT_SECONDS if seconds is None else seconds
    request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        received = _exchange(path, request.encode("ascii"), seconds)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoAnswerError(f"{path}: {error.strerror}: is `healthagent serve` running?") from error
    except PermissionError as error:
        raise NoAnswerError(f"{path}: {error.strerror}: only root and its group may ask") from error
    except BlockingIOError as error:
        raise NoAnswerError(f"{path}: the agent takes no more connections: too many wait already") from error
    except TimeoutError as error:
        raise NoAnswerError(f"{path}: the agent has not answered for {seconds:g} s") from error
    except OSError as error:  # a path that is too long for a socket has no strerror
        raise NoAnswerError(f"{path}: {error.strerror or error}") from error
    reply = _reply(received)
    if reply is None:
        raise NoAnswerError(f"{path}: what answers there is no agent")
    return reply


def _exchange(path: str, request: bytes, seconds: float) -> bytes:
    """The bytes of a whole answer, or of what has come when the connection ends."""
    deadline = time.monotonic() + seconds
    received = bytearray()
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(request)
        while len(received) < ANSWER_LIMIT:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(65536)
            received += data
            if not data or _complete(received):
                break
    finally:
        connection.close()
    return bytes(received)


def _complete(received: bytes | bytearray) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    length = _headers(bytes(head)).get("content-length", "") if found else ""
    return length.isascii() and length.isdigit() and len(body) >= int(length)


def _reply(received: bytes) -> Reply | None:
    """None: it is no HTTP, or not the whole of it."""
    head, found, body = received.partition(b"\r\n\r\n")
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    code, headers = rest[:3], _headers(head)
    if not found or version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or rest[3:4] not in (b"", b" "):
        return None
    if "content-length" in headers and headers["content-length"] != str(len(body)):
        return None
    return Reply(int(code), headers, body.decode("utf-8", "replace"))


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


def one_line(text: str) -> str:
    """Text of a server or an agent, for a terminal: one line, and nothing in it that is not to be seen."""
    return "".join(char if char.isprintable() else " " for char in text.strip())
