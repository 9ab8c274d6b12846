"""Real processes, started and stopped by PID, and the one way to wait for what they show."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

POLL_SECONDS = 0.015
LOG_TAIL_LINES = 25

T = TypeVar("T")


class LabError(Exception):
    """A real process did not do what a test or a demonstration needs; the text ends with the tails of the logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that a lab process started, directly or not."""

    pid: int
    argv: tuple[str, ...]


def lab_dir() -> Path:
    """The directory that `lab/enter` made; it also tells that the ports and processes here are nobody else's."""
    if path := os.environ.get("LAB_DIR"):
        return Path(path)
    raise LabError("LAB_DIR is not set: run this under lab/enter")


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        text = str(error)
    return f"--- {log}\n" + "\n".join(text.splitlines()[-lines:])


def wait_until(predicate: Callable[[], T | None], timeout: float, what: str, *, logs: Sequence[Path] = ()) -> T:
    """Polls until the predicate answers something true, and returns that."""
    deadline = time.monotonic() + timeout
    while not (seen := predicate()):
        if time.monotonic() > deadline:
            raise LabError("\n".join([f"not within {timeout:g} s: {what}", *map(tail, logs)]))
        time.sleep(POLL_SECONDS)
    return seen


class Closing:
    """What `with` ends by close()."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Process(Closing):
    """One real process: its command line, its log, its life and death."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = tuple(map(str, argv))
        self.log = log
        # The mark is inherited: by it close() finds what a killed process left behind (SST scripts, rsync daemons).
        self.env = {**(env or {}), "LAB_OWNER": str(log)}
        self.cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.argv[0]} {f'pid {self._popen.pid}' if self._popen else 'not started'}>"

    def start(self, *arguments: str) -> Self:
        """Starts it, with arguments for this time only, in a session of its own so that Ctrl-C is not meant for it."""
        if self.alive:
            raise LabError(f"{self!r} runs already")
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*self.argv, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                cwd=self.cwd,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise LabError(f"{self!r} was never started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def wait(self, timeout: float = 30) -> int:
        """The exit status, as subprocess gives it: -9 after SIGKILL."""
        popen = self._popen
        if popen is None:
            raise LabError(f"{self!r} was never started")
        try:
            return popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"not within {timeout:g} s: end of {self!r}\n{tail(self.log)}") from None

    def signal(self, number: signal.Signals) -> None:
        """Signals the process, if it still lives: the PID is ours until it has been waited for."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def stop(self, timeout: float = 30) -> int | None:
        """SIGTERM, and SIGKILL when that is not enough; the exit status, None if it was never started."""
        if self._popen is None:
            return None
        self.thaw()
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL for this process alone: like in a real crash, its children live on until close()."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def freeze(self) -> None:
        """SIGSTOP; returns when the kernel has stopped all of its threads."""
        self.signal(signal.SIGSTOP)
        wait_until(self._frozen, 5, f"{self!r} frozen", logs=[self.log])

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def _frozen(self) -> bool:
        try:
            tasks = Path(f"/proc/{self.pid}/task").iterdir()
            return all((task / "stat").read_text().rpartition(") ")[2].startswith("T") for task in tasks)
        except OSError:  # a thread ended while we looked
            return False

    def children(self) -> list[Child]:
        """What it started and still runs, children of children included, orphans too."""
        mark = f"LAB_OWNER={self.log}".encode()
        own = self._popen.pid if self._popen else 0
        found = (_marked(int(entry.name), mark) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [child for child in found if child and child.pid != own]

    def close(self) -> None:
        """The end: nothing that it started is left."""
        self.stop()
        self._kill_children()

    def _kill_children(self) -> None:
        def none_left() -> bool:
            children = self.children()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            return not children

        wait_until(none_left, 10, f"end of the children of {self!r}", logs=[self.log])

    def wait_until(self, predicate: Callable[[], T | None], timeout: float, what: str) -> T:
        """wait_until with this process's log, which gives up at once when the process dies."""

        def predicate_while_alive() -> T | None:
            if not self.alive:
                raise LabError(f"{self!r} ended with {self.wait()} before: {what}\n{tail(self.log)}")
            return predicate()

        return wait_until(predicate_while_alive, timeout, f"{what} ({self!r})", logs=[self.log])

    def log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []


def _marked(pid: int, mark: bytes) -> Child | None:
    """The process, if it carries the mark; one that ended meanwhile, or a zombie, has no environment to read."""
    try:
        if mark not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return None
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return None
    return Child(pid=pid, argv=tuple(argv))
