"""Standard error as it may be: shared with somebody who does not wait, full, gone."""

import errno
import os
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from healthagent import sinks
from healthagent.events import Event, Kind
from healthagent.forms import Line, logfmt
from healthagent.sinks import Stderr


def line(says: str) -> Line:
    return Line(Event(kind=Kind.STARTED, says=says), 0.0)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The end to read from, and the one that is standard error."""
    ends = os.pipe()
    monkeypatch.setattr(sinks, "STDERR", ends[1])
    yield ends
    for end in ends:
        os.close(end)


def test_one_that_does_not_wait_gets_whole_lines_all_the_same(pipe: tuple[int, int]) -> None:
    """O_NONBLOCK is of the open file, not of the process: whoever shares the terminal may have set it."""
    reader, its = pipe
    os.set_blocking(its, False)
    write = Stderr(logfmt)
    lines = [line(f"{number} {'x' * 3000}") for number in range(100)]  # a pipe takes 64 KiB
    writing = threading.Thread(target=lambda: deque(map(write, lines), maxlen=0))
    writing.start()
    expected = b"".join(logfmt(one) for one in lines)
    found = b""
    while len(found) < len(expected):
        found += os.read(reader, 10_000)
    writing.join(10)

    assert found == expected


def test_what_follows_a_torn_line_is_a_line_of_its_own(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that is full takes what it still can, and the rest not."""
    real = os.write
    room = [10]

    def little(descriptor: int, data: memoryview) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: room.pop()])

    write = Stderr(logfmt)
    with monkeypatch.context() as full:
        full.setattr(os, "write", little)
        with pytest.raises(OSError, match="No space"):
            write(line("lost"))
        with pytest.raises(OSError, match="No space"):
            write(line("lost too"))
    write(line("whole"))
    write(line("next"))

    assert os.read(pipe[0], 4096) == logfmt(line("lost"))[:10] + b"\n" + logfmt(line("whole")) + logfmt(line("next"))


def test_the_journal_that_is_away_is_no_reason_to_be_silent(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    monkeypatch.setattr(sinks, "JOURNAL_SOCKET", f"{tmp_path}/nowhere")
    sinks.Journal()(line("it is so"))

    assert os.read(pipe[0], 4096) == b'<6>event=started msg="it is so"\n'
