"""Keeps keepalived's track files as the verdicts are, by a writer process for each of their directories.

See trackwriter for why these are processes of their own, and what they do when this one says nothing more.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

from healthagent import clock, trackwriter
from healthagent.board import Board
from healthagent.errors import StartError
from healthagent.events import Event, Kind, Level
from healthagent.logs import tell
from healthagent.lookout import Lookout
from healthagent.render import track_value
from healthagent.trackfile import TrackFile

__all__ = ["Tracker"]

LOOK_SECONDS = 2.0
# A writer that ends as soon as it is started is started again at every publication, and told of once.
SETTLED_SECONDS = 5.0


class Tracker:
    """`check()` and then `adopt()` set what is written; `close()` leaves it to the writers."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._files: tuple[TrackFile, ...] = ()
        self._writers: dict[Path, Writer] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._keep_until: float | None = None
        self._sampled = False
        self._held = False
        board.follow(self._tell)

    async def check(self, files: tuple[TrackFile, ...]) -> None:
        """StartError: a directory is not there, or nothing can be written there. Nothing is changed."""
        for file in files:
            trouble = await Lookout("track", seconds=LOOK_SECONDS).look(partial(_trouble, file.path))
            if trouble is None:
                trouble = f"{file.path.parent} has not answered for {LOOK_SECONDS:g} s"
            if trouble:
                raise StartError(f"keepalived.track_files: {file.path}: {trouble}")

    def hold(self) -> None:
        """Nothing is told until adopt(): files and roles change together, and a role that is gone is no role down."""
        self._held = True

    def adopt(self, files: tuple[TrackFile, ...], max_age_seconds: float) -> None:
        """These from now on; a file that is not named any more gets its `down`.

        Until the first sample a file stays as the agent before this one has left it, but no longer than max_age.
        """
        if self._keep_until is None:
            self._keep_until = clock.now() + max_age_seconds
        self._files, self._held = files, False
        directories = {file.path.parent for file in files}
        for directory in directories.difference(self._writers):
            self._writers[directory] = Writer(directory, self._leaving)
        self._tell()
        for directory in set(self._writers) - directories:
            self._writers.pop(directory).close()

    def close(self) -> None:
        """The writers go on alone: `down` when the last verdicts are too old, unless a new agent takes over."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        self._files = ()

    def _tell(self) -> None:
        """Tells the writers what the board says, and until when; for the board to call, so quick."""
        if self._held:
            return
        publication, until = self._board.current(), self._board.valid_until
        self._sampled = self._sampled or publication.snapshot is not None
        if not self._sampled and self._keep_until is not None:
            until = self._keep_until
        lines: dict[Path, list[bytes]] = {directory: [] for directory in self._writers}
        for file in self._files:
            value = track_value(publication.verdicts.get(file.role), up=file.up, down=file.down)
            wanted = str(value).encode() if self._sampled else trackwriter.KEEP
            lines[file.path.parent].append(b"%s %d %d %s" % (wanted, file.up, file.down, os.fsencode(file.path)))
        self._leaving[:] = [process for process in self._leaving if process.poll() is None]
        for directory, writer in self._writers.items():
            writer.send(b"\n".join([str(until).encode(), *lines[directory]]))


class Writer:
    """The process that writes the files of one directory. One that has been let go is put to those `leaving`: it ends
    when it likes, and remains a zombie until somebody has asked for its status.
    """

    def __init__(self, directory: Path, leaving: list[subprocess.Popen[bytes]]) -> None:
        self._directory, self._leaving = directory, leaving
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._broken = False

    def send(self, message: bytes) -> None:
        """One that has ended is started again."""
        if self._channel is None and not self._start():
            return
        assert self._channel is not None
        try:
            self._channel.send(message)
        except BlockingIOError:
            pass  # it hangs in its directory; when it goes on, what it has read last has ended long ago
        except OSError:
            self._lose()
        else:
            self._broken = self._broken and clock.now() - self._started_at < SETTLED_SECONDS

    def close(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._leaving.append(self._process)
            self._process = None

    def _start(self) -> bool:
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:  # no file to be had
            self._complain(f"cannot be started: {error.strerror}")
            return False
        ours.setblocking(False)
        # until it can handle them itself: one that is killed as it starts would leave a file as it is
        before = signal.pthread_sigmask(signal.SIG_BLOCK, trackwriter.SIGNALS)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", trackwriter.__file__],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C is not meant for it
            )
        except OSError as error:
            ours.close()
            self._complain(f"cannot be started: {error.strerror}")
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            its.close()
        self._channel, self._started_at = ours, clock.now()
        asyncio.get_running_loop().add_reader(ours, self._hear)
        return True

    def _hear(self) -> None:
        """What it has to tell, or that it has ended."""
        assert self._channel is not None
        try:
            told = self._channel.recv(trackwriter.MESSAGE_LIMIT).decode("utf-8", "replace")
        except BlockingIOError:
            return
        except OSError:
            told = ""
        if not told:
            self._lose()
            return
        level, _, says = told.partition(" ")
        tell(Event(kind=Kind.TRACK_FILE, level=Level.ERROR if level == "ERROR" else Level.INFO, says=says))

    def _lose(self) -> None:
        status = self._process.poll() if self._process is not None else None
        self.close()
        self._complain("has ended" if status is None else f"has ended with {status}")

    def _complain(self, says: str) -> None:
        if not self._broken:
            said = f"the process that writes track files in {self._directory} {says}; it is started again"
            tell(Event(kind=Kind.TRACK_FILE, level=Level.ERROR, says=said))
        self._broken = True


def _trouble(path: Path) -> str:
    """What is in the way of writing this file; nothing: ""."""
    directory = path.parent
    try:
        if not directory.is_dir():
            return f"there is no directory {directory}; make it with tmpfiles.d, with the files in it"
        if path.is_dir():
            return "is a directory"
    except OSError as error:
        return str(error.strerror)
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"this user may not write to {directory}"
    return ""
