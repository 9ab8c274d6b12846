"""A record on disk: two files, each of gzip members, so that `zcat` shows it.

New samples go to FILE. When it is full it becomes FILE.1, in the place of the one before: nothing is ever written anew,
and what is oldest goes at once. A member holds the samples of some seconds, and says in its header (RFC 1952, "extra
field") how long it is: so what a crash has left behind the last whole one is found without reading all before it.

Everything here blocks for as long as the disk does.
"""

import contextlib
import errno
import gzip
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from healthagent.record import GAP, START, TURN, Entry, Header, RecordError, Recording, Sample, Scribe, read

__all__ = ["BYTES_PER_SAMPLE", "LEAST_BYTES", "DamagedError", "RecordFile", "most_bytes", "older", "read_record"]

# A file is full, too, when it has more of them for each sample that it may hold. Measured: docs/record-and-replay.md
BYTES_PER_SAMPLE = 128
LEAST_BYTES = 1 << 18
MOST_AT_ONCE = 64  # entries of a member
MODE = 0o640
MAGIC = b"\x1f\x8b"
# deflate, FEXTRA; no time; nothing special; Unix; 12 bytes extra: one subfield of 8
HEAD = MAGIC + b"\x08\x04" + b"\0\0\0\0" + b"\0\x03" + struct.pack("<H2sH", 12, b"HA", 8)
SIZES = struct.Struct("<II")  # the member's own length, and how many samples are in it
TAIL = struct.Struct("<II")  # CRC-32 and length of the text


class DamagedError(Exception):
    """A record that cannot be read: which file, where, and what is wrong."""


def older(path: Path) -> Path:
    """FILE -> FILE.1"""
    return path.with_name(f"{path.name}.1")


def most_bytes(samples: int) -> int:
    """What a file of so many samples never exceeds."""
    return max(LEAST_BYTES, samples * BYTES_PER_SAMPLE)


class RecordFile:
    """Where entries go. Not to be used by two threads at once."""

    def __init__(self, recording: Recording) -> None:
        self._path = recording.path
        self.resize(recording)
        self._size = self._count = -1  # of FILE as it was left; -1: not known
        self._scribe = Scribe()
        self._missing: str | None = TURN  # the header that must come before the next entry
        self._header: Header | None = None
        self._lost = 0

    def trouble(self) -> str:
        """What is in the way of recording here; nothing: ""."""
        directory, previous = self._path.parent, older(self._path)
        try:
            if not directory.is_dir():
                return f"there is no directory {directory}; make it, or name a file in state_dir"
            for path in (self._path, previous):
                if path.exists() and not path.is_file():
                    return f"{path} is there and is no file; name another one"
            if self._path.exists() and not _is_record(self._path):
                return "is there and is no record of this program; name another file, or move it away"
            writable = os.access(directory, os.W_OK | os.X_OK) and (
                not self._path.exists() or os.access(self._path, os.W_OK)
            )
        except OSError as error:
            return str(error.strerror)
        return (
            "" if writable else f"this user may not write there; name a file in a directory of its own, not {directory}"
        )

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes them; how many samples have been lost before. OSError: these are lost too, or some of them."""
        try:
            descriptor = self._open()
            try:
                for first in range(0, len(entries), MOST_AT_ONCE):
                    descriptor = self._write(descriptor, entries[first : first + MOST_AT_ONCE])
            finally:
                os.close(descriptor)
        except OSError:
            self.lose(_samples(entries))
            for entry in entries:
                self._remember(entry)
            raise
        lost, self._lost = self._lost, 0
        return lost

    def lose(self, samples: int) -> None:
        """Samples that do not come here: what follows must not look as if it came right behind."""
        self._lost += samples
        self._size, self._missing = -1, GAP

    def resize(self, recording: Recording) -> None:
        """The same file for another number of samples, from the next append() on."""
        self._most, self._bytes = recording.samples, most_bytes(recording.samples)

    def _write(self, descriptor: int, entries: Sequence[Entry]) -> int:
        """The descriptor of FILE, which may be a new one."""
        samples = _samples(entries)
        if self._count + samples > self._most:
            descriptor = self._turn(descriptor)
        member = self._member(entries, samples)
        if self._size and self._size + len(member) > self._bytes:
            descriptor = self._turn(descriptor)
            member = self._member(entries, samples)
        if len(member) > self._bytes:
            raise OSError(errno.EFBIG, f"{len(member)} bytes for {samples} samples")
        try:
            if os.write(descriptor, member) < len(member):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        self._size += len(member)
        self._count += samples
        return descriptor

    def _member(self, entries: Sequence[Entry], samples: int) -> bytes:
        lines = [self._scribe.line(entry) for entry in self._with_header(entries)]
        text = "".join([f"{line}\n" for line in lines]).encode("ascii")
        deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(text) + deflate.flush()
        size = len(HEAD) + SIZES.size + len(body) + TAIL.size
        return HEAD + SIZES.pack(size, samples) + body + TAIL.pack(zlib.crc32(text), len(text))

    def _with_header(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        for entry in entries:
            missing = self._missing
            if missing is not None and isinstance(entry, Header):
                entry = entry if entry.why == START or missing != GAP else replace(entry, why=GAP)
            elif missing is not None and self._header is not None:
                # what was pinned in a gap is not known: by now it is what the sample says
                pins = entry.pins if missing == GAP and isinstance(entry, Sample) else self._header.pins
                at = entry.snapshot.started_at if isinstance(entry, Sample) else entry.at
                yield replace(self._header, why=missing, at=at, wall=entry.wall, pins=pins)
            self._missing = None
            self._remember(entry)
            yield entry

    def _remember(self, entry: Entry) -> None:
        """For the header of the next file."""
        if isinstance(entry, Header):
            self._header = entry
        elif isinstance(entry, Sample) and self._header is not None and self._header.pins is not entry.pins:
            self._header = replace(self._header, pins=entry.pins)

    def _open(self) -> int:
        """FILE, as it was left: where somebody has taken it away or changed it, what is written begins anew."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, MODE)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "is no file")
            if found.st_size != self._size:
                self._size, self._count = _survey(descriptor)
                if found.st_size and not self._size:
                    raise OSError(errno.EINVAL, "is no record of this program")
                os.ftruncate(descriptor, self._size)
                self._missing = self._missing or TURN
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _turn(self, descriptor: int) -> int:
        self._path.replace(older(self._path))
        self._size, self._count = 0, 0
        self._missing = self._missing or TURN
        new = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, MODE)
        os.close(descriptor)
        return new


def _samples(entries: Sequence[Entry]) -> int:
    return sum(isinstance(entry, Sample) for entry in entries)


def _is_record(path: Path) -> bool:
    """An empty one is."""
    with path.open("rb") as file:
        found = file.read(len(HEAD))
    return found in (b"", HEAD)


def _survey(descriptor: int) -> tuple[int, int]:
    """Bytes and samples of all members that are there as a whole, from the beginning."""
    end, at, count = os.fstat(descriptor).st_size, 0, 0
    while True:
        head = os.pread(descriptor, len(HEAD) + SIZES.size, at)
        if len(head) < len(HEAD) + SIZES.size or not head.startswith(HEAD):
            return at, count
        size, samples = SIZES.unpack_from(head, len(HEAD))
        if not size or at + size > end:
            return at, count
        at, count = at + size, count + samples


def read_record(path: Path) -> Iterator[Entry]:
    """All that is there, from FILE.1 to the end of FILE. OSError, and DamagedError for all but what a crash has left.

    While somebody records there, too. A file that was unpacked (`zcat`) is read as well.
    """
    with contextlib.ExitStack() as stack:
        newest, previous = _both(path, stack)
        if previous is not None:
            yield from _entries(older(path), previous, last=newest is None)
        if newest is not None:
            yield from _entries(path, newest, last=True)


def _both(path: Path, stack: contextlib.ExitStack) -> tuple[IO[bytes] | None, IO[bytes] | None]:
    """FILE and FILE.1, opened, one of which may be missing; again where the one has become the other meanwhile."""
    while True:
        newest = previous = None
        with contextlib.suppress(FileNotFoundError):
            newest = stack.enter_context(path.open("rb"))
        try:
            previous = stack.enter_context(older(path).open("rb"))
        except FileNotFoundError:
            if newest is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        if newest is None or previous is None or not os.path.sameopenfile(newest.fileno(), previous.fileno()):
            return newest, previous


def _entries(path: Path, file: IO[bytes], *, last: bool) -> Iterator[Entry]:
    packed = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    lines = _Lines(gzip.GzipFile(fileobj=file) if packed else file)
    try:
        yield from read(lines)
    except RecordError as error:
        raise DamagedError(f"{path}: {error}") from error
    except EOFError as error:
        if not last:
            raise DamagedError(f"{path}: it ends behind line {lines.number}, in the middle of a member") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DamagedError(f"{path}: it is damaged behind line {lines.number}: {error}") from error
    if not lines.number:
        raise DamagedError(f"{path}: there is nothing in it")


class _Lines:
    """Lines of text, counted."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.number += 1
            yield line.decode("utf-8", "replace")
