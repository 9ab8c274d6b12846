"""A process of its own that writes track files for keepalived, and `down` into them when its agent says nothing more.

    python -I -S trackwriter.py      its stdin is a SOCK_SEQPACKET, whose other end is the agent's

keepalived believes for ever what stands in a file: beside an agent that is killed, frozen or stuck the address would
stay. So the files are written by a process that does nothing else. Each message says what they shall hold, and until
when that may stand; at that time they get their `down` value. That goes on when the agent has gone, and ends when the
writer of the next one has taken the files over. A directory that hangs holds up nobody but this process.

A message: the time (seconds of CLOCK_BOOTTIME), then a line `VALUE UP DOWN PATH` for each file. VALUE `keep`: what a
writer before this one has left there. A file that is not named any more gets its `down`. What goes wrong is told to
the agent, `ERROR ...` or `INFO ...`.

It needs the standard library and nothing of this package: so it is there in milliseconds, and small.
"""

import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

BEAT_SECONDS = 0.5  # how often the files are looked at, and tried again
HANDOVER_SECONDS = 0.1  # the same without an agent: the next one's writer comes soon
# Without an agent, for what cannot be written and says `up`: for long, and less often than a next one's writer tries,
# so that it is the latter that finds the file writable again.
RETRY_SECONDS, GIVE_UP_SECONDS = 2.0, 3600.0
QUIET_SECONDS = 60.0  # between two lines about a file that somebody else writes too
CHANNEL, MESSAGE_LIMIT = 0, 1 << 18
KEEP = b"keep"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
NEVER = float("inf")


class ToldError(Exception):
    """One of SIGNALS has come."""


class File:
    """One track file: what it shall hold (`wanted`), and what was left there."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.wanted = self.up = self.down = b""
        self.named = True  # in the newest message
        self.failed = False
        self._written: bytes | None = None  # None: nothing yet, the file may be another writer's
        self._left: tuple[int, int, int] | None = None
        self._trouble = ""
        self._told_at = -NEVER

    def settle(self) -> None:
        """Makes it hold what it shall hold, whoever has changed or removed it."""
        found = self._read()
        if self.wanted == KEEP:
            self.wanted = found if found in (self.up, self.down) else self.down
        touched = self._written is not None and found != self._written
        if touched or self.wanted != self._written:
            try:
                self._write()
            except OSError as error:
                self.failed, self._left = True, self._left or _identity(self.path)
                self._complain(f"cannot be written: {error.strerror}")
                return
        if self.failed:
            tell("INFO", self.path, f"holds {self.wanted.decode()} again")
            self.failed, self._trouble = False, ""
        elif touched and now() - self._told_at >= QUIET_SECONDS:
            tell("ERROR", self.path, "was changed or removed by somebody else; it is written again")
            self._told_at = now()

    def release(self) -> None:
        """`down`, unless another writer has taken the file over."""
        if not self.taken():
            self.wanted = self.down
            self.settle()

    def lingers(self) -> bool:
        """Something else than `down` is there, as far as one knows, and it is still ours."""
        up = self.wanted != self.down or (self.failed and _identity(self.path) is not None)
        return up and not self.taken()

    def taken(self) -> bool:
        """Another file is there than the one that was left: a writer replaces the file, whatever its value."""
        found = _identity(self.path)
        return self._left is not None and found is not None and found != self._left

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            tell("ERROR", self.path, f"{trouble}; tried again every {BEAT_SECONDS:g} s")
        self._trouble = trouble

    def _read(self) -> bytes | None:
        """What it holds; None: no file, or nothing that could be read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return os.read(descriptor, 64).strip()
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _write(self) -> None:
        """By rename: keepalived may read at any moment, and takes an empty file for 0.

        Where the filesystem is full in place: so few bytes go where the old ones are.
        """
        directory, name = os.path.split(self.path)
        temporary = os.path.join(directory, b".%s.%d" % (name, os.getpid()))  # noqa: PTH118
        try:
            left = _put(temporary, self.wanted, os.O_CREAT | os.O_NOFOLLOW)
            os.rename(temporary, self.path)  # noqa: PTH104
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            left = _put(self.path, self.wanted, 0)
        self._written, self._left = self.wanted, left


def _put(path: bytes, value: bytes, flags: int) -> tuple[int, int, int]:
    """The identity of what it has written, as it is before anybody can put another file in its place."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        if flags:
            os.fchmod(descriptor, 0o644)  # whatever our umask says: keepalived may be another user
        os.ftruncate(descriptor, os.pwrite(descriptor, value + b"\n", 0))
        return _told_apart(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _identity(path: bytes) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return _told_apart(found)


def _told_apart(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns


def now() -> float:
    """As healthagent.clock: a machine that was suspended has grown old too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def tell(level: str, path: bytes, says: str) -> None:
    """To the agent, if there is one and it listens."""
    with contextlib.suppress(OSError):
        os.write(CHANNEL, f"{level} {os.fsdecode(path)}: {says}".encode(errors="replace"))


def receive() -> tuple[bytes | None, bool]:
    """The newest message, None without one; and whether the agent has gone."""
    message = None
    while True:
        try:
            received = os.read(CHANNEL, MESSAGE_LIMIT)
        except BlockingIOError:
            return message, False
        except OSError:
            return message, True
        if not received:
            return message, True
        message = received


def take(files: dict[bytes, File], message: bytes) -> float:
    """The files as the message names them; until when that may stand."""
    until, *lines = message.split(b"\n")
    for file in files.values():
        file.named = False
    for line in lines:
        wanted, up, down, path = line.split(b" ", 3)
        file = files.setdefault(path, File(path))
        file.wanted, file.up, file.down, file.named = wanted, up, down, True
    return float(until)


def settle(files: dict[bytes, File], *, gone: bool) -> None:
    """Every file as it shall be; one that is not named any more is forgotten when it is.

    Where the agent has gone, the next one may have come while we hung or were frozen: what it has taken is not ours.
    """
    for file in list(files.values()):
        if gone and file.taken():
            continue
        if file.named:
            file.settle()
            continue
        file.release()
        if not file.lingers():
            del files[file.path]


def follow(files: dict[bytes, File]) -> float:
    """Does what the agent says, until it has gone; until when its last word may stand."""
    until, gone = NEVER, False
    while not gone:
        left = until - now()
        select.select([CHANNEL], [], [], min(BEAT_SECONDS, left) if left > 0 else BEAT_SECONDS)
        message, gone = receive()
        if message is not None:
            until = take(files, message)
        if now() >= until:
            for file in files.values():
                file.wanted = file.down
        settle(files, gone=gone)
    return until


def outlive(files: Iterable[File], until: float) -> None:
    """Without an agent: `down` when its last word is too old, into what nobody has taken over."""
    while held := [file for file in files if file.lingers()]:
        left = until - now()
        if left > 0:
            time.sleep(min(HANDOVER_SECONDS, left))
            continue
        for file in held:
            file.release()
        if left <= -GIVE_UP_SECONDS:
            return
        if any(file.failed for file in held):
            time.sleep(RETRY_SECONDS)


def _told(number: int, frame: object) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise ToldError


def main() -> int:
    files: dict[bytes, File] = {}
    os.set_blocking(CHANNEL, False)
    for number in SIGNALS:
        signal.signal(number, _told)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the agent starts us with these blocked
        outlive(files.values(), follow(files))
    except ToldError:
        message, _ = receive()  # as it starts nothing has been read yet, and no file is known
        if message is not None:
            take(files, message)
        for file in files.values():
            file.release()
    except Exception as error:
        tell("ERROR", b"track files", f"their writer ends: {error!r}")
        for file in files.values():
            file.release()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
