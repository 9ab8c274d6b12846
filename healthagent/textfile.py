"""The metrics as a file for node_exporter's textfile collector.

Written in a thread, by rename: a directory that hangs must not hold up an answer, and the collector may read at any
moment. What is not named `*.prom` it passes by, so the file that is being written is not. An agent that stops removes
its file; one that is killed leaves it, and node_exporter's node_textfile_mtime_seconds says how old it is. Where it
cannot be written, that is told once and tried again: no verdict depends on it, so it keeps no agent from starting.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from healthagent.board import Board
from healthagent.errand import Errand
from healthagent.logs import tell_of_file
from healthagent.lookout import Lookout
from healthagent.model import Verdict

__all__ = ["CHANGED_SECONDS", "PACE_SECONDS", "Textfile"]


PACE_SECONDS, CHANGED_SECONDS = 15.0, 1.0  # from one writing to the next, and when a verdict has changed
DEADLINE_SECONDS = 5.0
LAST_SECONDS = 1.0  # for a file that is not wanted any more: what is under way, and then the removal


class Textfile:
    """`adopt()` sets which file; `close()` removes it. `render` makes what stands in it."""

    def __init__(self, board: Board, render: Callable[[], bytes]) -> None:
        self._board, self._render = board, render
        self._path: Path | None = None
        self._start()
        self._verdicts: Mapping[str, Verdict] = {}
        self._changed = False
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        board.follow(self._look)

    async def adopt(self, path: Path | None) -> None:
        """This file from now on, or none; one that is not wanted any more is removed."""
        if path == self._path:
            return
        await self._remove()
        self._start()  # one that hangs in the old directory is left there
        self._path, self._changed, self._trouble = path, True, ""
        if path is not None:
            self._beat()

    async def close(self) -> None:
        """Removes the file: it would say for ever what was true last."""
        await self._remove()

    def _start(self) -> None:
        self._lookout, self._errand = Lookout("textfile", seconds=DEADLINE_SECONDS), Errand()
        self._unwanted = threading.Event()

    async def _remove(self) -> None:
        path, self._path = self._path, None
        if self._timer is not None:
            self._timer.cancel()
        if path is None:
            return
        self._unwanted.set()  # a write that hangs now puts nothing there when it goes on
        await self._errand.wait(LAST_SECONDS)
        await self._errand.close()
        trouble = await Lookout("textfile", seconds=LAST_SECONDS).look(partial(_unlink, path))
        if trouble is None:
            trouble = f"{path.parent} has not answered for {LAST_SECONDS:g} s"
        if trouble:
            says = f"cannot be removed: {trouble}; remove it, or the collector goes on telling what stands there"
            tell_of_file(path, f"{path}: {says}", trouble)

    def _beat(self) -> None:
        self._look()
        self._timer = asyncio.get_running_loop().call_later(CHANGED_SECONDS, self._beat)

    def _look(self) -> None:
        """Writes what is due; for the board to call, so quick."""
        if self._path is None:
            return
        verdicts = self._board.current().verdicts
        self._changed = self._changed or verdicts != self._verdicts
        self._verdicts = verdicts
        if self._errand.due(CHANGED_SECONDS if self._changed else PACE_SECONDS):
            self._changed = False
            self._errand.run(self._write(self._path))

    async def _write(self, path: Path) -> None:
        trouble = await self._lookout.look(partial(_replace, path, self._render(), self._unwanted))
        if trouble is None:
            trouble = f"{path.parent} has not answered for {DEADLINE_SECONDS:g} s"
        if trouble and not self._trouble:
            says = f"{path}: cannot be written: {trouble}; tried again every {PACE_SECONDS:g} s"
            tell_of_file(path, says, trouble)
        elif self._trouble and not trouble:
            tell_of_file(path, f"{path}: written again")
        self._trouble = trouble


def _replace(path: Path, text: bytes, unwanted: threading.Event) -> str:
    """Replaces the file as a whole, unless it is not wanted any more by then; what was in the way: "" for nothing."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            os.fchmod(descriptor, 0o644)  # whatever our umask says: node_exporter may be another user
            file.write(text)
        if unwanted.is_set():
            temporary.unlink()
            return ""
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return _spoken(error, path)
    # whoever has removed the file just before the rename has seen the one before it
    return _unlink(path) if unwanted.is_set() else ""


def _unlink(path: Path) -> str:
    """What was in the way: "" for nothing."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return _spoken(error, path)
    return ""


def _spoken(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no directory {path.parent}"
    if isinstance(error, PermissionError):
        return f"this user may not write to {path.parent}"
    return str(error.strerror)
