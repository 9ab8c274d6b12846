"""The clients of the soak: checks of every kind, held against what is true, and those who misbehave."""

import random
import re
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ROLES", "UP", "Crowd", "Places", "Truth", "WrongError", "verdict"]

ROLES = ("any", "writer", "reader")
UP = dict.fromkeys(ROLES, True)
ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) ([^\r\n]*)\r\n(.*?)\r\n\r\n(.*)", re.DOTALL)
AGENT_LINE = re.compile(rb"(up (?:100|[1-9][0-9]?)%|down #[a-z_]+)\n")
TIMEOUT_SECONDS = 5.0
WRITER_SECONDS = 0.1
KEPT_WRONGS = 40
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close() sends RST
MALFORMED = (
    b"GET /nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /writer?foo=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /reader?max_lag=abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /writer HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"GET /writer HTTP/9.9\r\n\r\n",
    b"GET /writer HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /wri\0ter HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /writer HTTP/1.1\nHost: x\n\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"PROXY TCP4 1.2.3.4\r\nGET /writer HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /writer HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET /writer HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
)


class WrongError(Exception):
    """An answer that is malformed, contradicts itself or says what is not true."""


class Truth:
    """What every answer must say now, by role; None: on its way from one to the other, so either is right.

    A check is judged only where the same held before it began and after it ended.
    """

    def __init__(self) -> None:
        self.now: Mapping[str, bool | None] = {}

    def unknown(self) -> None:
        self.now = {}

    def known(self, by_role: Mapping[str, bool | None]) -> None:
        self.now = dict(by_role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the agent listens; `by_send`: the agent-check port without a role."""

    http: tuple[str, int]
    control: Path
    ports: Mapping[str, tuple[str, int]]
    by_send: tuple[str, int]
    program: Path
    tracks: Mapping[str, Path]


@dataclass
class Crowd:
    """Threads that ask until stopped; `count` by kind, `wrongs` the first wrong answers in words."""

    places: Places
    truth: Truth
    threads: int = 6
    pause_seconds: float = 0.015
    count: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)
    wrong_count: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        jobs: list[Callable[[], None]] = [self.check] * self.threads
        jobs += [self._misbehave, self._dawdle, self._run_program]
        self._threads = [threading.Thread(target=self._loop, args=(job,), daemon=True) for job in jobs]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wrong(self, text: str) -> None:
        with self._lock:
            self.wrong_count += 1
            if len(self.wrongs) < KEPT_WRONGS:
                self.wrongs.append(f"{time.strftime('%H:%M:%S')} {text}")

    def _loop(self, job: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                job()
            except Exception as error:  # on loopback a check gets its answer, whatever is done to the server
                self.wrong(f"{type(error).__name__}: {error}")
                self._stop.wait(self.pause_seconds)

    def _counted(self, kind: str) -> None:
        with self._lock:
            self.count[kind] += 1

    def check(self) -> None:
        """One check of one kind, of one role; then a pause. WrongError, or OSError where nobody answers."""
        role, kind = random.choice(ROLES), random.choice(list(KINDS))
        true = self.truth.now
        said = KINDS[kind](self.places, role)
        self._counted(kind)
        if said is not None and true is self.truth.now and true.get(role) not in (None, said):
            raise WrongError(f"{kind} {role}: {'up' if said else 'down'}, which is not true")
        self._stop.wait(self.pause_seconds * random.uniform(0.5, 1.5))

    def _written(self, role: str, wanted: str) -> str:
        """What the role's track file says. Another process writes it, and has to get a processor for that."""
        until = time.monotonic() + WRITER_SECONDS
        while (says := self.places.tracks[role].read_text().strip()) != wanted and time.monotonic() < until:
            time.sleep(0.005)
        return says

    def _run_program(self) -> None:
        """`healthagent check`, and the track files, every second."""
        role, true = random.choice(list(self.places.tracks)), self.truth.now
        argv: list[str | Path] = [self.places.program, "check", role, "--socket", self.places.control]
        status = subprocess.run(argv, capture_output=True, check=False).returncode
        if status not in (0, 1):
            raise WrongError(f"check {role} ended with {status}")
        expected = true.get(role)
        written = self._written(role, "0" if expected else "1")
        agree = (status == 0) == expected == (written == "0")
        if true is self.truth.now and expected is not None and not agree:
            raise WrongError(f"{role} is {expected}; check ended with {status}, its track file says {written!r}")
        self._counted("check, track file")
        self._stop.wait(1)

    def _misbehave(self) -> None:
        request = random.choice(MALFORMED)
        answer = exchange(self.places.http, request)
        self._counted("malformed")
        if answer and not re.match(rb"HTTP/1\.[01] 4\d\d ", answer):
            raise WrongError(f"{request[:60]!r} is answered {answer[:60]!r}")
        self._stop.wait(0.1)

    def _dawdle(self) -> None:
        """Clients that send a byte now and then and never a whole request, and some that ask and ask and never read.
        The agent cuts them off; they come again, so that there are always as many.
        """
        places = [*[self.places.http] * 40, *self.places.ports.values(), self.places.by_send]
        clients = [Dawdler(place) for place in places] + [Dawdler(self.places.http, greedy=True) for _ in range(5)]
        while not self._stop.wait(0.5):
            for client in clients:
                client.go_on()
                self._counted("slow")
        for client in clients:
            client.close()


class Dawdler:
    """One such client, on its connection or on the next one."""

    def __init__(self, place: tuple[str, int], *, greedy: bool = False) -> None:
        self._place, self._begin = place, b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n" * 200 if greedy else b"GET /"
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._place, TIMEOUT_SECONDS)
        self._socket.setblocking(False)
        self._socket.send(self._begin)

    def go_on(self) -> None:
        try:
            self._socket.send(b"a")
        except BlockingIOError:  # nobody takes any more of it
            return
        except OSError:  # cut off
            self.close()
            self._connect()

    def close(self) -> None:
        self._socket.close()


def exchange(place: tuple[str, int] | Path, request: bytes) -> bytes:
    """All that comes until the connection ends; what came before an RST is kept."""
    received = bytearray()
    family = socket.AF_UNIX if isinstance(place, Path) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(str(place) if isinstance(place, Path) else place)
        with suppress(ConnectionError):
            connection.sendall(request)
            while data := connection.recv(65536):
                received += data
    return bytes(received)


def verdict(answer: bytes, role: str) -> bool:
    """Whether it says up; WrongError where it is none, or says two things."""
    match = ANSWER.fullmatch(answer)
    if match is None:
        raise WrongError(f"{role}: no answer but {answer[:80]!r}")
    code, phrase, head, body = match.groups()
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n"))
    up = code == b"200"
    signs = [headers[b"x-healthagent-verdict"] == b"up", int(headers[b"x-healthagent-weight"]) > 0]
    if body.startswith(b"{"):
        signs.append(b'"verdict": "up"' in body or b'"verdict":"up"' in body)
    elif body:
        signs.append(body.startswith(f"OK {role} ".encode()))
    reasons = headers.get(b"x-healthagent-reasons", b"")
    if code not in (b"200", b"503") or set(signs) != {up} or (not up and phrase not in reasons.split(b",")):
        raise WrongError(f"{role}: contradicts itself: {answer!r}")
    return up


def _http(places: Places, role: str, *, before: str = "", tail: str = "", method: str = "GET", line: str = "") -> bool:
    version = line or "HTTP/1.1\r\nHost: healthagent\r\nConnection: close"
    return verdict(exchange(places.http, f"{before}{method} /{role}{tail} {version}\r\n\r\n".encode()), role)


def _control(places: Places, role: str) -> bool:
    request = f"GET /{role} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return verdict(exchange(places.control, request.encode()), role)


def _kept(places: Places, role: str) -> bool:
    """Three requests on one connection, sent at once; the last answer counts, and all are whole."""
    request = f"GET /{role} HTTP/1.1\r\nHost: healthagent\r\n\r\n"
    last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    answers = re.split(rb"(?=HTTP/1\.1 )", exchange(places.http, (request * 2 + last).encode()))[1:]
    if len(answers) != 3:
        raise WrongError(f"{len(answers)} answers to 3 requests")
    return [verdict(answer, role) for answer in answers][-1]


def _agent_line(answer: bytes) -> bool:
    if AGENT_LINE.fullmatch(answer) is None:
        raise WrongError(f"agent-check says {answer!r}")
    return answer.startswith(b"up")


def _agent_check(places: Places, role: str) -> bool | None:
    place = places.ports.get(role)
    return None if place is None else _agent_line(exchange(place, b""))


def _agent_send(places: Places, role: str) -> bool:
    return _agent_line(exchange(places.by_send, f"{role}\n".encode()))


def _parameter(places: Places, role: str) -> bool | None:
    """Many different questions: more than the agent keeps at a time."""
    target = random.choice([f"/reader?max_lag={random.randint(1, 40)}s", f"/any?max_queue={random.randint(1, 40)}"])
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(places.http, request.encode())
    if not re.match(rb"HTTP/1\.1 (200|400|503) ", answer):
        raise WrongError(f"{target}: {answer!r}")
    return None


def _reset(places: Places, role: str) -> None:
    """A check that ends in RST before its answer is read, as HAProxy's and keepalived's may."""
    with socket.create_connection(places.http, TIMEOUT_SECONDS) as connection:
        connection.sendall(f"GET /{role} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _document(places: Places, role: str) -> None:
    for target in ("/state", f"/why?role={role}", "/liveness"):
        answer = exchange(places.http, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise WrongError(f"{target}: {answer[:200]!r}")


KINDS: Mapping[str, Callable[[Places, str], bool | None]] = {
    "GET": _http,
    "HEAD": lambda places, role: _http(places, role, method="HEAD"),
    "OPTIONS": lambda places, role: _http(places, role, method="OPTIONS"),
    "HTTP/1.0": lambda places, role: _http(places, role, line="HTTP/1.0"),
    "without Host": lambda places, role: _http(places, role, line="HTTP/1.1\r\nConnection: close"),
    "JSON": lambda places, role: _http(places, role, tail="?format=json"),
    "PROXY": lambda places, role: _http(places, role, before="PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    "kept": _kept,
    "control socket": _control,
    "agent-check": _agent_check,
    "agent-send": _agent_send,
    "parameters": _parameter,
    "documents": _document,
    "RST": _reset,
}
