"""The process that writes track files, asked as the agent asks it: what it does while told, and when told no more."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthagent import clock, trackwriter
from tests.component.test_service import wait

LONG = 3600.0
SHORT = 0.4


class Writer:
    """A writer and the agent's end of its channel."""

    def __init__(self, umask: int = -1) -> None:
        self.channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(10)
        command = [sys.executable, "-I", "-S", trackwriter.__file__]
        self.process = subprocess.Popen(command, stdin=its.fileno(), cwd="/", umask=umask)
        its.close()

    def tell(self, *files: tuple[Path, str | int], valid: float = LONG, up: int = 1, down: int = 0) -> None:
        lines = [f"{value} {up} {down} {path}" for path, value in files]
        self.channel.send("\n".join([str(clock.now() + valid), *lines]).encode())

    def hear(self) -> str:
        return self.channel.recv(65536).decode()

    def leave(self) -> None:
        """As an agent that ends, however it ends."""
        self.channel.close()

    def ends(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def start() -> Iterator[Callable[[], Writer]]:
    writers: list[Writer] = []

    def begin() -> Writer:
        writers.append(Writer())
        return writers[-1]

    yield begin
    for writer in writers:
        writer.close()


@pytest.fixture
def writer(start: Callable[[], Writer]) -> Writer:
    return start()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "track" / "writer alive"


@pytest.fixture(autouse=True)
def directory(path: Path) -> Path:
    path.parent.mkdir()
    return path.parent


def becomes(path: Path, value: str, seconds: float = 10) -> float:
    """Waits until the file holds it; when that was seen."""
    limit = time.monotonic() + seconds
    while not path.exists() or path.read_text() != f"{value}\n":
        assert time.monotonic() < limit, f"{path} does not become {value}"
        time.sleep(0.0002)
    return time.monotonic()


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_it_writes_what_it_is_told(writer: Writer, path: Path) -> None:
    other = path.with_name("other")
    writer.tell((path, 1), (other, 0))
    becomes(path, "1")
    becomes(other, "0")
    writer.tell((path, 0), (other, 1))
    becomes(path, "0")
    becomes(other, "1")
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["other", "writer alive"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_keepalived_may_read_them_whatever_the_umask(path: Path) -> None:
    writer = Writer(umask=0o077)
    try:
        writer.tell((path, 1))
        becomes(path, "1")
        assert path.stat().st_mode & 0o777 == 0o644
    finally:
        writer.close()


def test_a_reader_in_the_middle_sees_one_value_or_the_other(writer: Writer, path: Path) -> None:
    """keepalived takes an empty file for 0."""
    values = {"100000\n", "-7\n"}
    writer.tell((path, 100000), up=100000, down=-7)
    becomes(path, "100000")
    for number in range(200):
        writer.tell((path, -7 if number % 2 else 100000), up=100000, down=-7)
        assert path.read_text() in values
    becomes(path, "-7")


def test_what_it_is_told_lasts_until_then(writer: Writer, path: Path) -> None:
    writer.tell((path, 1), valid=SHORT)
    told = time.monotonic()
    becomes(path, "1")
    assert SHORT - 0.05 <= becomes(path, "0") - told < SHORT + 0.3
    writer.tell((path, 1))
    becomes(path, "1")


class Channel:
    """The writer's loop in this process, with a clock that stands still but while it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
        self.ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        its.setblocking(False)
        self.its, self.turns, self.at = its, turns, 1000.0
        self.waited: list[float] = []
        monkeypatch.setattr(trackwriter, "CHANNEL", its.fileno())
        monkeypatch.setattr(trackwriter, "now", lambda: self.at)
        monkeypatch.setattr(time, "sleep", self.wait)
        monkeypatch.setattr(select, "select", lambda *ends: self.wait(ends[3]))

    def wait(self, seconds: float) -> None:
        self.waited.append(round(seconds, 6))
        assert len(self.waited) < 10_000, "for ever"
        self.at += seconds
        if len(self.waited) == self.turns:
            self.ours.close()

    def tell(self, path: Path, value: str, *, until: float) -> None:
        self.ours.send(f"{until}\n{value} 1 0 {path}".encode())

    def follow(self) -> tuple[dict[bytes, trackwriter.File], float]:
        files: dict[bytes, trackwriter.File] = {}
        return files, trackwriter.follow(files)

    def close(self) -> None:
        self.ours.close()
        self.its.close()


def test_it_wakes_up_when_its_time_is_over_and_then_as_seldom_as_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(monkeypatch, turns=6)
    channel.tell(path, "1", until=1001.2)
    files, until = channel.follow()
    channel.close()
    assert channel.waited == [0.5, 0.5, 0.2, 0.5, 0.5, 0.5]
    assert (path.read_text(), until) == ("0\n", 1001.2)
    assert not any(file.lingers() for file in files.values())


def test_without_an_agent_it_takes_back_what_it_said_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch, turns=1)
    channel.tell(path, "1", until=1000.65)
    files, until = channel.follow()
    assert path.read_text() == "1\n"
    trackwriter.outlive(files.values(), until)
    channel.close()
    assert channel.waited == [0.5, 0.1, 0.05]
    assert path.read_text() == "0\n"


def test_without_an_agent_it_goes_on_for_long_but_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch, turns=3)
    channel.tell(path, "1", until=1000.75)
    monkeypatch.setattr(trackwriter.File, "_write", refuse)
    path.write_text("1\n")
    files, until = channel.follow()
    del channel.waited[:]
    trackwriter.outlive(files.values(), until + 0.25)
    channel.close()
    long = int(trackwriter.GIVE_UP_SECONDS / trackwriter.RETRY_SECONDS)
    assert [seconds for seconds in channel.waited if seconds < 1] == []
    assert len(channel.waited) in (long, long + 1)
    assert path.read_text() == "1\n"


def refuse(file: trackwriter.File) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@contextmanager
def unwritable(writer: Writer, path: Path) -> Iterator[None]:
    """As on a filesystem that is read-only: what is in the file can be read, and not replaced."""
    obstacle = path.with_name(f".{path.name}.{writer.process.pid}")
    obstacle.mkdir()
    yield
    obstacle.rmdir()


def test_a_file_that_could_not_be_written_in_time_is_written_later(writer: Writer, path: Path) -> None:
    """Nobody is there to be told of it, and keepalived believes what it says."""
    writer.tell((path, 1))
    becomes(path, "1")
    with unwritable(writer, path):
        writer.tell((path, 1), valid=-1.0)
        assert "cannot be written" in writer.hear()
        writer.leave()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.ends(0.5)
        assert path.read_text() == "1\n"
    becomes(path, "0")
    assert writer.ends() == 0


def test_a_file_of_which_another_writer_has_made_something_is_left_to_it(
    start: Callable[[], Writer], path: Path
) -> None:
    path.write_text("1\n")
    before, after = start(), start()
    with unwritable(before, path):
        before.tell((path, 1), valid=-1.0)
        assert "cannot be written" in before.hear()
        before.leave()
        after.tell((path, 1))
        assert before.ends() == 0
    assert path.read_text() == "1\n"


def test_a_file_that_is_not_named_any_more_is_tried_again(writer: Writer, path: Path) -> None:
    writer.tell((path, 1))
    becomes(path, "1")
    with unwritable(writer, path):
        writer.tell()
        assert "cannot be written" in writer.hear()
        assert path.read_text() == "1\n"
    becomes(path, "0")
    path.unlink()
    writer.tell((path.with_name("other"), 1))
    becomes(path.with_name("other"), "1")
    assert not path.exists(), "it is nobody's now"


def test_without_an_agent_it_lasts_until_then_and_the_writer_ends(writer: Writer, path: Path) -> None:
    writer.tell((path, 1), valid=SHORT)
    becomes(path, "1")
    writer.leave()
    becomes(path, "0")
    assert writer.ends() == 0


def test_without_an_agent_and_with_nothing_to_take_back_it_ends_at_once(writer: Writer, path: Path) -> None:
    writer.tell((path, 0))
    becomes(path, "0")
    writer.leave()
    assert writer.ends() == 0


def test_it_leaves_a_file_that_another_writer_has_taken_over(start: Callable[[], Writer], path: Path) -> None:
    before, after = start(), start()
    before.tell((path, 1), valid=1.0)
    becomes(path, "1")
    before.leave()
    old = inode(path)
    after.tell((path, "keep"), valid=LONG)
    assert before.ends() == 0, "long before its time"
    assert path.read_text() == "1\n"
    assert inode(path) != old, "by this the one before knows"


def test_one_that_was_frozen_leaves_what_another_writer_has_taken_over(start: Callable[[], Writer], path: Path) -> None:
    """Its agent was killed and started again meanwhile: what it heard last is of no interest any more."""
    frozen = start()
    frozen.tell((path, 1), valid=SHORT)
    becomes(path, "1")
    limit, before = clock.now() + SHORT, inode(path)
    frozen.process.send_signal(signal.SIGSTOP)
    frozen.leave()
    start().tell((path, 1))
    wait(lambda: inode(path) != before, "taken over")
    taken = inode(path)
    wait(lambda: clock.now() > limit, "its time is over")
    frozen.process.send_signal(signal.SIGCONT)
    assert frozen.ends() == 0
    assert (path.read_text(), inode(path)) == ("1\n", taken)


@pytest.mark.parametrize(
    ("left", "kept"), [("1\n", "1"), ("0", "0"), ("", "0"), ("garbage", "0"), ("2\n", "0"), (None, "0")]
)
def test_it_keeps_what_an_agent_may_have_left_and_nothing_else(
    writer: Writer, path: Path, left: str | None, kept: str
) -> None:
    if left is not None:
        path.write_text(left)
    writer.tell((path, "keep"))
    becomes(path, kept)


def test_what_is_kept_does_not_last_for_ever(writer: Writer, path: Path) -> None:
    path.write_text("1\n")
    writer.tell((path, "keep"), valid=SHORT)
    becomes(path, "0")


def test_a_file_that_is_not_named_any_more_gets_its_down(writer: Writer, path: Path) -> None:
    other = path.with_name("other")
    writer.tell((path, 1), (other, 1))
    becomes(other, "1")
    writer.tell((path, 1))
    becomes(other, "0")
    assert path.read_text() == "1\n"
    other.unlink()
    writer.tell((path, 0))
    becomes(path, "0")
    assert not other.exists(), "it is nobody's now"


@pytest.mark.parametrize("number", trackwriter.SIGNALS, ids=lambda number: number.name)
def test_a_signal_means_down_at_once(writer: Writer, path: Path, number: signal.Signals) -> None:
    """systemd tells the whole control group; nothing is left then that could do it later."""
    writer.tell((path, 1))
    becomes(path, "1")
    writer.process.send_signal(number)
    becomes(path, "0")
    assert writer.ends() == 0


def test_a_signal_without_an_agent_too_but_not_in_a_file_that_is_another_ones(
    start: Callable[[], Writer], path: Path
) -> None:
    one = start()
    one.tell((path, 1))
    becomes(path, "1")
    one.leave()
    one.process.terminate()
    becomes(path, "0")
    assert one.ends() == 0


@pytest.mark.parametrize("damage", ["removed", "emptied", "another value"])
def test_what_somebody_else_does_to_a_file_is_undone_and_told(writer: Writer, path: Path, damage: str) -> None:
    writer.tell((path, 1))
    becomes(path, "1")
    if damage == "removed":
        path.unlink()
    else:
        path.write_text("" if damage == "emptied" else "0\n")
    becomes(path, "1")
    assert writer.hear() == f"ERROR {path}: was changed or removed by somebody else; it is written again"


def test_a_directory_that_vanishes_is_told_once_and_tried_again(writer: Writer, path: Path) -> None:
    writer.tell((path, 1))
    becomes(path, "1")
    path.unlink()
    path.parent.rmdir()
    assert writer.hear() == f"ERROR {path}: cannot be written: No such file or directory; tried again every 0.5 s"
    for _ in range(5):
        writer.tell((path, 1))
    path.parent.mkdir()
    becomes(path, "1")
    assert writer.hear() == f"INFO {path}: holds 1 again"


def test_it_ends_with_its_agent_where_the_directory_is_gone(writer: Writer, path: Path) -> None:
    writer.tell((path, 1), valid=SHORT)
    becomes(path, "1")
    path.unlink()
    path.parent.rmdir()
    writer.leave()
    assert writer.ends() == 0


def test_a_message_that_makes_no_sense_is_down(writer: Writer, path: Path) -> None:
    """Of an agent of another version, whose package has been replaced meanwhile."""
    writer.tell((path, 1))
    becomes(path, "1")
    writer.channel.send(b"{}")
    assert writer.hear().startswith("ERROR track files: their writer ends: ValueError")
    becomes(path, "0")
    assert writer.ends() == 1


def test_it_is_small(writer: Writer, path: Path) -> None:
    writer.tell((path, 1))
    becomes(path, "1")
    status = Path(f"/proc/{writer.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 20_000, f"{resident} KiB"


def test_a_file_that_was_taken_over_at_once_is_not_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the rename and the next look at the file the writer of the next agent has put its own there."""
    file = trackwriter.File(bytes(path))
    file.wanted, file.up, file.down = b"1", b"1", b"0"
    rename = os.rename

    def and_the_next_one(source: bytes, target: bytes) -> None:
        rename(source, target)
        path.with_name("next").write_text("1\n")
        rename(path.with_name("next"), path)

    monkeypatch.setattr(os, "rename", and_the_next_one)
    file.settle()
    monkeypatch.undo()

    assert file.taken()
    file.release()
    assert path.read_text() == "1\n"


def test_what_it_has_written_itself_is_its_own(path: Path) -> None:
    file = trackwriter.File(bytes(path))
    file.wanted, file.up, file.down = b"1", b"1", b"0"
    file.settle()
    assert not file.taken()
    file.release()
    assert path.read_text() == "0\n"
