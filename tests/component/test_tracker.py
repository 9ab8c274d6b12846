"""The agent's side of the track files: what the board says is in them at once, and for no longer than it stands."""

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import clock
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

    board = Board(up, LONG)
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
