"""The metrics as a file for node_exporter's textfile collector.

Written in a thread, by rename: a directory that hangs must not hold up an answer, and the collector may read at any
moment. What is not named `*.prom` it passes by, so the file that is being written is not. An agent that stops removes
its file; one that is killed leaves it, and node_exporter's node_textfile_mtime_seconds says how old it is.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from healthagent.board import Board
from healthagent.errand import Errand
from healthagent.errors import StartError
from healthagent.lookout import Lookout
from healthagent.model import Verdict

__all__ = ["CHANGED_SECONDS", "PACE_SECONDS", "Textfile"]

log = logging.getLogger("healthagent.textfile")

PACE_SECONDS, CHANGED_SECONDS = 15.0, 1.0  # from one writing to the next, and when a verdict has changed
DEADLINE_SECONDS = 5.0
LAST_SECONDS = 1.0  # for the last one and the removal together, when the agent stops


class Textfile:
    """`check()` and then `adopt()` set which file; `close()` removes it. `render` makes what stands in it."""

    def __init__(self, board: Board, render: Callable[[], bytes]) -> None:
        self._board, self._render = board, render
        self._path: Path | None = None
        self._start()
        self._verdicts: Mapping[str, Verdict] = {}
        self._changed = False
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        board.follow(self._look)

    async def check(self, path: Path | None) -> None:
        """StartError: the directory is not there, or nothing can be written there. Nothing is changed."""
        if path is None or path == self._path:
            return
        trouble = await Lookout("textfile", seconds=DEADLINE_SECONDS).look(partial(_trouble, path))
        if trouble is None:
            trouble = f"{path.parent} has not answered for {DEADLINE_SECONDS:g} s"
        if trouble:
            raise StartError(f"metrics.textfile: {path}: {trouble}")

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

    async def _remove(self) -> None:
        path, self._path = self._path, None
        if self._timer is not None:
            self._timer.cancel()
        if path is None:
            return
        await self._errand.wait(LAST_SECONDS)
        removing = asyncio.ensure_future(self._lookout.look(partial(_unlink, path)))
        await asyncio.wait({removing}, timeout=LAST_SECONDS)
        removing.cancel()
        await self._errand.close()

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
        trouble = await self._lookout.look(partial(_replace, path, self._render()))
        if trouble is None:
            trouble = f"{path.parent} has not answered for {DEADLINE_SECONDS:g} s"
        if trouble and not self._trouble:
            log.error("%s: cannot be written: %s; tried again every %g s", path, trouble, PACE_SECONDS)
        elif self._trouble and not trouble:
            log.info("%s: written again", path)
        self._trouble = trouble


def _trouble(path: Path) -> str:
    """What is in the way of writing this file; nothing: ""."""
    try:
        if not path.parent.is_dir():
            return f"there is no directory {path.parent}"
        if path.is_dir():
            return "is a directory"
    except OSError as error:
        return str(error.strerror)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"this user may not write to {path.parent}"
    return ""


def _replace(path: Path, text: bytes) -> str:
    """Replaces the file as a whole; what was in the way: "" for nothing."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            os.fchmod(descriptor, 0o644)  # whatever our umask says: node_exporter may be another user
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return str(error.strerror)
    return ""


def _unlink(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return True
