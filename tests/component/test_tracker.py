"""The agent's side of the track files: what the board says is in them at once, and for no longer than it stands."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import clock, trackwriter
from healthagent import tracker as module
from healthagent.board import Board
from healthagent.model import Publication, Status
from healthagent.tracker import Tracker, Writer
from healthagent.trackfile import TrackFile
from tests.build import Agent, healthy
from tests.component.test_track_writer import becomes

LONG = 3600.0
PATIENCE_SECONDS = 0.1  # a busy machine; what it takes is well below 1 ms


def publish(board: Board, publication: Publication, *, valid: float = LONG) -> None:
    """Publishes it so that it stands for so long from now on."""
    assert publication.facts is not None
    board.publish(publication, clock.now() - publication.facts.started_at + valid)


def test_a_verdict_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    up = healthy().publication
    assert up.verdicts["writer"].status is Status.UP

    async def run() -> list[float]:
        board = Board(Agent().publication, LONG)
        tracker = Tracker(board)
        files = tuple(TrackFile(role=role, path=path, up=value, down=0) for role, value in (("writer", 1),))
        await tracker.check(files)
        tracker.adopt(files, LONG)
        becomes(path, "0")  # nothing was there to be kept
        took = []
        for number in range(50):
            down = number % 2 == 1
            began = time.monotonic()
            if down:
                publish(board, up, valid=-1.0)
            else:
                publish(board, up)
            took.append(becomes(path, "0" if down else "1") - began)
        tracker.close()
        return took

    took = sorted(asyncio.run(run()))
    assert took[len(took) // 2] < PATIENCE_SECONDS


def test_a_loop_that_is_stuck_does_not_keep_its_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "alive"

    async def run() -> None:
        board = Board(Agent().publication, LONG)
        tracker = Tracker(board)
        tracker.adopt((TrackFile(role="any", path=path, up=1, down=0),), LONG)
        publish(board, healthy().publication, valid=0.5)
        becomes(path, "1")
        becomes(path, "0")  # the loop has not turned since
        tracker.close()

    asyncio.run(run())


def test_a_role_that_a_reload_renames_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role of before has no verdict under the new configuration, and is not down for that."""
    path = tmp_path / "alive"
    up = healthy().publication
    told: list[bytes] = []
    monkeypatch.setattr(Writer, "send", lambda _, message: told.append(message))

    def follow(tracker: Tracker, role: str) -> None:
        tracker.adopt((TrackFile(role=role, path=path, up=1, down=0),), LONG)

    board = Board(Agent().publication, LONG)
    publish(board, up)
    tracker = Tracker(board)
    follow(tracker, "reader")
    tracker.hold()
    publish(board, replace(up, verdicts={"orders": up.verdicts["reader"]}))
    follow(tracker, "orders")
    publish(board, up, valid=-1.0)
    assert [message.split()[1:3] for message in told] == [[b"1", b"1"], [b"1", b"1"], [b"0", b"1"]]


def test_before_the_first_sample_a_file_is_kept_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    path.write_text("1\n")
    before = path.stat().st_ino

    async def run() -> None:
        tracker = Tracker(Board(Agent().publication, LONG))
        tracker.adopt((TrackFile(role="any", path=path, up=1, down=0),), 0.5)
        limit = time.monotonic() + 10
        while path.stat().st_ino == before:
            assert time.monotonic() < limit, "taken over"
        assert path.read_text() == "1\n"
        becomes(path, "0")
        tracker.close()

    asyncio.run(run())


def test_a_writer_that_cannot_be_started_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alive"

    async def run() -> None:
        board = Board(Agent().publication, LONG)
        tracker = Tracker(board)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", "/nowhere/python")
            tracker.adopt((TrackFile(role="any", path=path, up=1, down=0),), LONG)
            publish(board, healthy().publication)
        assert not path.exists()
        publish(board, healthy().publication)
        becomes(path, "1")
        publish(board, healthy().publication, valid=-1.0)  # else its writer would wait for an hour
        becomes(path, "0")
        tracker.close()
        publish(board, healthy().publication)

    asyncio.run(run())
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        f"the process that writes track files in {tmp_path} cannot be started: No such file or directory;"
        " it is started again"
    )


def one(path: Path) -> tuple[TrackFile, ...]:
    return (TrackFile(role="any", path=path, up=1, down=0),)


def begun(path: Path) -> tuple[Board, Tracker]:
    """A board before its first sample, and who writes a file by it."""
    board = Board(Agent().publication, LONG)
    tracker = Tracker(board)
    tracker.adopt(one(path), LONG)
    return board, tracker


def writer_of(tracker: Tracker) -> Writer:
    (writer,) = tracker._writers.values()
    return writer


def pid_of(tracker: Tracker) -> int:
    process = writer_of(tracker)._process
    assert process is not None
    return process.pid


async def until(true: Callable[[], bool], what: str) -> None:
    """The loop turns meanwhile."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - other processes do it
            await asyncio.sleep(0.002)


def gone(pid: int) -> bool:
    """No zombie either."""
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("at_once", [True, False], ids=["as it starts", "later"])
def test_a_writer_that_is_told_to_end_writes_down(tmp_path: Path, at_once: bool) -> None:
    path = tmp_path / "alive"
    path.write_text("1\n")

    async def run() -> None:
        board, tracker = begun(path)
        if not at_once:
            publish(board, healthy().publication)
            inode = path.stat().st_ino
            await until(lambda: path.stat().st_ino != inode, "taken over")
        os.kill(pid_of(tracker), signal.SIGTERM)
        becomes(path, "0")
        tracker.close()

    asyncio.run(run())


def test_a_writer_that_is_let_go_leaves_no_zombie(tmp_path: Path) -> None:
    path, other = tmp_path / "alive", tmp_path / "elsewhere" / "alive"
    other.parent.mkdir()

    async def run() -> None:
        board, tracker = begun(path)
        becomes(path, "0")
        before = pid_of(tracker)
        tracker.adopt(one(other), LONG)
        becomes(other, "0")

        def seen() -> bool:
            publish(board, healthy().publication)
            return gone(before)

        await until(seen, "no zombie")
        publish(board, healthy().publication, valid=-1.0)
        becomes(other, "0")
        tracker.close()

    asyncio.run(run())


def test_a_writer_that_is_stuck_holds_up_nothing_and_is_not_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its channel is full: the agent goes on, and so does the writer when it can."""
    path = tmp_path / "alive"
    up = healthy().publication

    async def run() -> None:
        board, tracker = begun(path)
        becomes(path, "0")
        stuck = pid_of(tracker)
        os.kill(stuck, signal.SIGSTOP)
        for _ in range(1000):
            publish(board, up)
        os.kill(stuck, signal.SIGCONT)
        becomes(path, "1")
        assert pid_of(tracker) == stuck
        publish(board, up, valid=-1.0)
        becomes(path, "0")
        tracker.close()

    asyncio.run(run())
    assert caplog.records == []


def test_a_writer_that_ends_again_and_again_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, broken = tmp_path / "alive", tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)\n")
    up = healthy().publication

    async def run() -> None:
        board = Board(Agent().publication, LONG)
        tracker = Tracker(board)
        with monkeypatch.context() as patched:
            patched.setattr(trackwriter, "__file__", str(broken))
            tracker.adopt(one(path), LONG)
            for _ in range(3):
                await until(lambda: writer_of(tracker)._channel is None, "it has ended")
                publish(board, up)
            await until(lambda: writer_of(tracker)._channel is None, "it has ended")
        assert len(caplog.records) == 1
        publish(board, up)
        becomes(path, "1")
        monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
        publish(board, up)
        os.kill(pid_of(tracker), signal.SIGKILL)
        await until(lambda: writer_of(tracker)._channel is None, "it has ended")
        assert len(caplog.records) == 2, "it had been well in between"
        tracker.close()

    asyncio.run(run())
