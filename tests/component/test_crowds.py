"""Nobody who idles, dawdles or floods costs a balancer its answer: the real daemon before crowds, on all of its ports.

Its database is a stand-in; the crowd is a process of its own, so that its work does not slow down who measures.
"""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.build import galera_rows
from tests.component.fake_mariadb import FakeMariaDB, serving
from tests.component.test_service import Daemon, free_port, wait
from tests.figures import measured

IDLE, SLOW = 2000, 200
FEW_FILES = 256
ENOUGH_FILES = 8192
PACE_SECONDS = 0.05
HELD_SECONDS = 2
REQUEST_SECONDS = 5  # nobody may be silent for longer
SPARE_SECONDS = 5  # on a busy machine
NARROW = 4096


class Offence(NamedTuple):
    """A client that never reads and never stops: what it sends first, and then for ever; `seconds` it may stay."""

    port: str
    first: bytes
    again: bytes
    pause: float
    seconds: float


OFFENCES = {
    "a head byte by byte": Offence("http", b"GET /any HTTP/1.1\r\nX: ", b"x", 0.1, REQUEST_SECONDS),
    "a head without end": Offence("http", b"GET /any HTTP/1.1\r\nX: ", b"x" * NARROW, 0, 2),
    "a body without end": Offence(
        "http", b"GET /any HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"x" * NARROW, 0, 2
    ),
    "questions without end": Offence("http", b"", b"GET /state HTTP/1.1\r\n\r\n" * 20, 0, REQUEST_SECONDS),
    "agent-check, byte by byte": Offence("role", b"", b"x", 0.05, 1),
    "agent-check, a role byte by byte": Offence("named", b"", b"x", 0.05, 1.4),
    "agent-check, a flood": Offence("role", b"", b"x" * NARROW, 0, 1),
    "agent-check, a role without end": Offence("named", b"", b"x" * NARROW, 0, 1),
}


class Guarded(Daemon):
    """The daemon beside a database that is well; `role` is an agent-check port for any, `named` takes agent-send."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ports = {"http": self.port, "role": free_port(), "named": free_port()}
        ports = f'"127.0.0.1:{self.ports["role"]}": any, "127.0.0.1:{self.ports["named"]}": null'
        self.configure(agent_check=f"listen: {{{ports}}}")

    def up(self, *, files: str) -> None:
        self.start(files=files)
        wait(lambda: self.get("/any")[0] == 200, "a probe has ended")

    @property
    def open_files(self) -> int:
        assert self.process is not None
        return sum(1 for _ in os.scandir(f"/proc/{self.process.pid}/fd"))

    @property
    def rss_mib(self) -> float:
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20


@contextmanager
def well(path: Path) -> Iterator[None]:
    """A synced Galera node behind that Unix socket, in a thread."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def main() -> None:
        async with serving(FakeMariaDB(galera_rows()), path):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[main()])
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Guarded]:
    found = Guarded(tmp_path)
    with well(tmp_path / "no.sock"):
        yield found
        found.close()


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many as this process may have; how many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < ENOUGH_FILES:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no more than {before[1]} open files")
        pytest.skip(f"no more than {before[1]} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


QUESTIONS = {"http": b"GET /any HTTP/1.0\r\n\r\n", "role": b"", "named": b"any\n"}
ANSWERS = {"http": b"HTTP/1.0 200 OK\r\n", "role": b"up 100%\n", "named": b"up 100%\n"}


class Checks:
    """Asks every port as a balancer does, each on a connection of its own, every PACE_SECONDS."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.seconds: dict[str, list[float]] = {kind: [] for kind in ports}
        self.wrong: list[str] = []
        self._ports, self._ending = ports, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[kind]) for kind in ports]

    def _ask(self, kind: str) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            due = max(began, due + PACE_SECONDS)
            try:
                said = ask(self._ports[kind], QUESTIONS[kind])
            except OSError as error:
                said = repr(error).encode()
            self.seconds[kind].append(time.monotonic() - began)
            if not said.startswith(ANSWERS[kind]):
                self.wrong.append(f"{kind}: {said[:80]!r}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, seconds: float) -> None:
        """As many checks on every port as there should be in that time."""
        done = {kind: len(each) for kind, each in self.seconds.items()}
        more = seconds / PACE_SECONDS
        wait(lambda: all(len(self.seconds[kind]) >= done[kind] + more for kind in done), "checks", 5 * seconds)

    def tell(self, what: str) -> None:
        for kind, seconds in self.seconds.items():
            p99, most = 1000 * percentile(seconds), 1000 * max(seconds)
            measured(f"{what}: {len(seconds)} checks ({kind}) answered, p99 {p99:.0f} ms, at most {most:.0f} ms")

    def in_time(self) -> bool:
        """By what the examples of HAProxy allow (timeout check 500ms); one in a hundred may be the machine's fault."""
        return max(map(percentile, self.seconds.values())) < 0.5 and max(map(max, self.seconds.values())) < 2


def percentile(seconds: list[float]) -> float:
    """The 99th."""
    return sorted(seconds)[int(0.99 * len(seconds))]


def ask(port: int, question: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(question)
        with client.makefile("rb") as answer:
            return answer.read()


@contextmanager
def crowd(daemon: Guarded, idle: int, slow: int) -> Iterator[subprocess.Popen[bytes]]:
    """All of them are there; a line on its stdin: nobody comes again, and nobody leaves."""
    argv = [sys.executable, "-m", "tests.component.crowd", *map(str, (*daemon.ports.values(), idle, slow))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


def stays(port: int, offence: Offence) -> float:
    """For how many seconds a client can go on like this, before it is cut off."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        client.connect(("127.0.0.1", port))
        client.settimeout(0.1)
        began = time.monotonic()
        with suppress(ConnectionError):
            client.sendall(offence.first)
            while time.monotonic() - began < offence.seconds + SPARE_SECONDS:
                with suppress(TimeoutError):
                    client.send(offence.again)
                time.sleep(offence.pause)
        return time.monotonic() - began


def test_a_crowd_that_idles_and_dawdles_misses_nobody_a_check(daemon: Guarded, many_files: int) -> None:
    """And whoever never stops is cut off, whatever else is going on."""
    daemon.up(files=f"1024:{many_files}")
    own, before = daemon.open_files, daemon.rss_mib
    with (
        Checks(daemon.ports) as checks,
        crowd(daemon, IDLE, SLOW) as process,
        ThreadPoolExecutor(len(OFFENCES)) as pool,
    ):
        first = daemon.rss_mib
        offenders = {name: pool.submit(stays, daemon.ports[each.port], each) for name, each in OFFENCES.items()}
        wait(lambda: daemon.open_files > 2 * IDLE, "both listeners hold their crowd", 30)
        checks.wait_for(HELD_SECONDS)
        wait(lambda: daemon.open_files > 2 * IDLE, "who has been cut off is back", 30)
        with_them = daemon.rss_mib
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait(lambda: daemon.open_files < own + 30, "all are cut off", 2 * REQUEST_SECONDS + SPARE_SECONDS)
        after = daemon.rss_mib
    stayed = {name: offender.result() for name, offender in offenders.items()}
    checks.tell(f"{IDLE} idle connections on each listener and {SLOW} slow ones")
    measured(
        f"memory of the agent: {before:.0f} MiB, with that crowd {first:.0f} to {with_them:.0f}, after it {after:.0f}"
    )
    assert checks.wrong == []
    assert checks.in_time()
    for name, offence in OFFENCES.items():
        assert stayed[name] < offence.seconds + SPARE_SECONDS / 2, name
    for name in ("a head byte by byte", "questions without end"):
        assert stayed[name] > 0.9 * REQUEST_SECONDS, name
    assert with_them < before + 100
    assert after < with_them + 5
    assert "Traceback" not in daemon.said()
    assert "level=warning" not in daemon.said()


def test_where_few_files_may_be_open_the_oldest_goes_and_checks_are_answered(daemon: Guarded) -> None:
    daemon.up(files=f"{FEW_FILES}:{FEW_FILES}")
    with Checks(daemon.ports) as checks, crowd(daemon, FEW_FILES + 100, 40):
        checks.wait_for(HELD_SECONDS)
    checks.tell(f"{FEW_FILES} files and more idle connections than that")
    assert checks.wrong == []
    assert checks.in_time()
    (line,) = [line for line in daemon.said().splitlines() if "level=warning" in line]
    assert f"only {FEW_FILES} files may be open: room for 80 clients over HTTP and 40 over agent-check" in line
    assert "level=error" not in daemon.said()


def test_who_comes_behind_two_thousand_others_is_not_sent_away(daemon: Guarded, many_files: int) -> None:
    """While the daemon is held up the kernel keeps them for it. A SYN that it drops comes again after a second."""
    if int(Path("/proc/sys/net/core/somaxconn").read_text()) <= IDLE:
        pytest.skip("net.core.somaxconn is too low")
    daemon.up(files=f"1024:{many_files}")
    with ExitStack() as stack:
        daemon.signal(signal.SIGSTOP)
        for _ in range(IDLE):
            client = stack.enter_context(closing(socket.socket()))
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", daemon.port))
        with ThreadPoolExecutor(1) as pool, socket.create_connection(("127.0.0.1", daemon.port), timeout=0.5):
            check = pool.submit(ask, daemon.port, QUESTIONS["http"])
            daemon.signal(signal.SIGCONT)
            assert check.result().startswith(ANSWERS["http"])
