"""Nobody waits for the log, and what finds no room is counted."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from healthagent import outlet as outlets
from healthagent.events import Event, Kind
from healthagent.folding import Folding
from healthagent.forms import Line
from healthagent.logs import Handler
from healthagent.outlet import Outlet
from lab.process import wait_until


def line(number: int) -> Line:
    """None of them is like another: they are changes of as many roles."""
    return Line(Event(kind=Kind.ROLE_CHANGE, says=f"line {number}", fields={"role": str(number)}), float(number))


class Reader:
    """What reads the log, or does not."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.stuck = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()

    def __call__(self, line: Line) -> None:
        if not self._goes_on.is_set():
            self.stuck.set()
            assert self._goes_on.wait(30)
        self.read.append(line.event.says)

    def stop(self) -> None:
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()


def test_lines_come_out_in_their_order() -> None:
    reader = Reader()
    outlet = Outlet(reader)
    for number in range(100):
        outlet.put(line(number))
    outlet.close(10)

    assert reader.read == [f"line {number}" for number in range(100)]


def test_a_reader_that_stands_still_loses_the_oldest_lines_and_hears_how_many() -> None:
    reader = Reader()
    outlet = Outlet(reader, room=10)
    reader.stop()
    outlet.put(line(0))
    assert reader.stuck.wait(10)
    for number in range(1, 100):
        outlet.put(line(number))
    assert reader.read == []
    reader.go_on()
    outlet.close(10)

    assert reader.read == [
        "line 0",
        "89 lines were lost before this one: nobody took them",
        *[f"line {number}" for number in range(90, 100)],
    ]


def test_the_end_does_not_wait_for_a_reader_for_ever() -> None:
    reader = Reader()
    outlet = Outlet(reader)
    reader.stop()
    outlet.put(line(0))
    assert reader.stuck.wait(10)
    outlet.close(0.01)
    outlet.put(line(1))
    reader.go_on()
    wait_until(lambda: reader.read == ["line 0"], 10, "what was said before comes out")


def test_a_log_that_cannot_be_written_is_tried_again_with_the_next_line() -> None:
    written: list[str] = []
    failed = threading.Event()

    def write(line: Line) -> None:
        if not failed.is_set():
            failed.set()
            raise BrokenPipeError
        written.append(line.event.says)

    outlet = Outlet(write)
    outlet.put(line(0))
    assert failed.wait(10)
    outlet.put(line(1))
    outlet.close(10)

    assert written == ["1 line was lost before this one: nobody took them", "line 1"]


def test_one_that_can_never_be_written_makes_no_loop() -> None:
    tries: list[str] = []

    def write(line: Line) -> None:
        tries.append(line.event.says)
        raise OSError

    outlet = Outlet(write)
    for number in range(3):
        outlet.put(line(number))
    outlet.close(10)

    assert [said for said in tries if said.startswith("line")] == ["line 0", "line 1", "line 2"]
    assert len(tries) <= 5


def test_where_no_thread_is_to_be_had_the_next_line_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: object, arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    reader = Reader()
    outlet = Outlet(reader)
    with monkeypatch.context() as patched:
        patched.setattr(outlets, "start_new_thread", refuse)
        outlet.put(line(0))
    outlet.put(line(1))
    outlet.close(10)

    assert reader.read == ["line 0", "line 1"]


def test_a_count_comes_by_itself_when_its_time_is_over() -> None:
    """Nobody says anything more: the thread wakes for it."""
    reader, clock = Reader(), Clock()
    outlet = Outlet(reader, clock=clock)
    no_file = Line(Event(kind=Kind.LISTENER, says="no file"), 0.0)
    for _ in range(2):
        outlet.put(no_file)
    clock.leap = 59.8
    outlet.put(no_file)
    wait_until(lambda: len(reader.read) == 2, 10, "the count")
    outlet.close(10)

    assert reader.read == ["no file", "no file (the last of 2 such lines within 60 s)"]


class Rubbish:
    """A cycle, so the collector's to find; it logs when it goes, as asyncio's Task does."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log, self.itself = log, self

    def __del__(self) -> None:
        self.log("from a finalizer")


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Every allocation that matters meets the collector, with something to finalize; logs, and never by root."""
    logger = logging.Logger("rubbish")
    depth = threading.local()

    def collecting(name: str, owner: type) -> None:
        real = getattr(owner, name)

        def collect(*arguments: object, **named: object) -> object:
            if not getattr(depth, "busy", False):
                depth.busy = True
                Rubbish(logger.error)
                gc.collect(0)
                depth.busy = False
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, collect)

    outlet = Outlet(lambda line: None)
    logger.addHandler(Handler(outlet))
    collecting("due", Folding)
    collecting("take", Folding)
    collecting("emit", Handler)
    yield logger.error
    outlet.close(1)


def test_a_finalizer_that_logs_stops_nobody(collected: Callable[[str], None]) -> None:
    """Wherever the collector meets it: in the log's own thread, or in the middle of another line."""

    def talk() -> None:
        for number in range(50):
            collected(f"line {number}")

    talkers = [threading.Thread(target=talk, daemon=True) for _ in range(3)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join(10)
    assert [talker.is_alive() for talker in talkers] == [False] * 3


class Clock:
    def __init__(self) -> None:
        self.leap = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.leap
