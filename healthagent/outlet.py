"""Takes lines from everybody and writes them in a thread of its own: nobody waits for whoever reads the log.

Standard error may be a pipe that nobody reads, a terminal that was stopped, a file on a disk that stands still, and
journald may be stopped: write(2) and send(2) wait then, for ever. What finds no room meanwhile is thrown away, the
oldest first, and counted.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from healthagent.events import Event, Kind, Level
from healthagent.folding import Folding
from healthagent.forms import Line

__all__ = ["ROOM", "Outlet"]

ROOM = 1000


class Outlet:
    """`write` brings one line out; it may wait, and an OSError means that the line is lost."""

    def __init__(
        self, write: Callable[[Line], None], *, clock: Callable[[], float] = time.monotonic, room: int = ROOM
    ) -> None:
        self.write = write
        self._clock, self._room = clock, room
        self._folding = Folding()
        self._waiting: deque[Line] = deque()
        self._lost = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, line: Line) -> None:
        """Never waits, from any thread."""
        with self._changed:
            if self._closed:
                return
            now = self._clock()
            self._add(self._folding.due(now))
            if self._folding.take(line, now):
                self._add([line])
            self._start()
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """What was said and counted so far is written, as far as that is possible in so many seconds."""
        with self._changed:
            self._closed = True
            self._add(self._folding.rest(self._clock()))
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread to be had (TasksMax): the next line tries again
            thread.start()
            self._thread = thread

    def _add(self, lines: list[Line]) -> None:
        self._waiting.extend(lines)
        while len(self._waiting) > self._room:
            self._waiting.popleft()
            self._lost += 1

    def _run(self) -> None:
        while (found := self._next()) is not None:
            lost, line = found
            if lost and not self._written(_of_lost(lost, line.wall)):
                self._lost += lost
            if not self._written(line):
                self._lost += 1

    def _next(self) -> tuple[int, Line] | None:
        """How many were lost before, and the next line; None: it is over."""
        with self._changed:
            while True:
                now = self._clock()
                self._add(self._folding.due(now))
                if self._waiting:
                    lost, self._lost = self._lost, 0
                    return lost, self._waiting.popleft()
                if self._closed:
                    return None
                due = self._folding.due_at
                self._changed.wait(None if due is None else max(0.0, due - now))

    def _written(self, line: Line) -> bool:
        try:
            self.write(line)
        except Exception:  # whatever it is: there is no other place to tell it, and the next line may be written
            return False
        return True


def _of_lost(count: int, wall: float) -> Line:
    lines = "1 line was" if count == 1 else f"{count} lines were"
    says = f"{lines} lost before this one: nobody took them"
    return Line(Event(kind=Kind.LINES_LOST, level=Level.ERROR, says=says, fields={"lines": count}), wall)
