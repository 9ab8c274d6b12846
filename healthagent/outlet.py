"""Takes lines from everybody and writes them in a thread of its own: nobody waits for whoever reads the log.

Standard error may be a pipe that nobody reads, a terminal that was stopped, a file on a disk that stands still, and
journald may be stopped: write(2) and send(2) wait then, for ever. What finds no room meanwhile is thrown away, the
oldest first, and counted.

Finalizers log, too (asyncio's of a Task whose exception nobody has seen), and the collector runs them wherever
somebody allocates: in the middle of put() as well, or while the log's own thread works. So whoever logs takes no lock
that can be held at that moment: a SimpleQueue's put() may be entered again, and all else is done by the log's thread.
"""

import time
from _thread import allocate_lock, start_new_thread  # threading's own start() takes a lock
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from healthagent.events import Event, Kind, Level
from healthagent.folding import Folding
from healthagent.forms import Line

__all__ = ["ROOM", "Outlet"]

ROOM = 1000


class Waiting(NamedTuple):
    """`line` None: nothing comes any more. `at`: when it was said. `lost`: lines that were thrown away for this one."""

    line: Line | None
    at: float
    lost: int


class Outlet:
    """`write` brings one line out; it may wait, and an OSError means that the line is lost."""

    def __init__(
        self, write: Callable[[Line], None], *, clock: Callable[[], float] = time.monotonic, room: int = ROOM
    ) -> None:
        self.write = write
        self._clock, self._room = clock, room
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._closed = False
        self._alive = allocate_lock()  # held as long as there is a thread
        # the thread's own
        self._folding = Folding()
        self._lost = 0

    def put(self, line: Line) -> None:
        """Never waits, from any thread and any finalizer."""
        if self._closed:
            return
        lost = 0
        while self._waiting.qsize() >= self._room:
            try:
                lost += 1 + self._waiting.get_nowait().lost
            except Empty:  # the thread was faster
                break
        self._waiting.put(Waiting(line, self._clock(), lost))
        self._start()

    def close(self, seconds: float) -> None:
        """What was said and counted so far is written, as far as that is possible in so many seconds."""
        self._closed = True
        self._waiting.put(Waiting(None, self._clock(), 0))
        self._start()
        self._alive.acquire(timeout=seconds)

    def _start(self) -> None:
        if self._alive.acquire(blocking=False):
            try:
                start_new_thread(self._run, ())
            except RuntimeError:  # no thread to be had (TasksMax): the next line tries again
                self._alive.release()

    def _run(self) -> None:
        try:
            while self._round():
                pass
        finally:
            self._alive.release()

    def _round(self) -> bool:
        """Writes what waits, or what is due; False: it is over."""
        found = self._found()
        over = any(waiting.line is None for waiting in found)
        self._lost += sum(waiting.lost for waiting in found)
        for line in self._folded(found, over=over):
            lost, self._lost = self._lost, 0
            if lost and not self._written(_of_lost(lost, line.wall)):
                self._lost += lost
            if not self._written(line):
                self._lost += 1
        return not over

    def _found(self) -> list[Waiting]:
        """All that waits; where nothing does, the first that comes, or nothing when something is due."""
        due = self._folding.due_at
        found = []
        try:
            found.append(self._waiting.get(timeout=None if due is None else max(0.0, due - self._clock())))
            while len(found) <= self._room:  # where more comes all the time, it is for the next round
                found.append(self._waiting.get_nowait())
        except Empty:
            pass
        return found

    def _folded(self, found: list[Waiting], *, over: bool) -> list[Line]:
        lines: list[Line] = []
        for waiting in found:
            if waiting.line is not None:
                lines += self._folding.due(waiting.at)
                if self._folding.take(waiting.line, waiting.at):
                    lines.append(waiting.line)
        lines += self._folding.due(self._clock())
        return lines + self._folding.rest(self._clock()) if over else lines

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
