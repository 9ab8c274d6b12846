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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from healthagent.record import GAP, START, TURN, Entry, Header, RecordError, Recording, Sample, Scribe, read

__all__ = ["BYTES_PER_SAMPLE", "LEAST_BYTES", "DamagedError", "RecordFile", "most_bytes", "older", "read_record"]

# A file is full, too, when it has more of them for each sample that it may hold. Measured: docs/record-and-replay.md
BYTES_PER_SAMPLE = 128
LEAST_BYTES = 1 << 18
MOST_AT_ONCE = 64  # entries of a member
MOST_IN_LINE = 1 << 24  # characters; a sample has some 40,000
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

    def append(self, entries: Sequence[Entry]) -> int:
        """Writes them; how many samples have been lost before. OSError: these are lost too, or some of them."""
        written = 0
        try:
            descriptor = self._open()
            try:
                while written < len(entries):
                    descriptor = self._write(descriptor, entries[written : written + MOST_AT_ONCE])
                    written += MOST_AT_ONCE
            finally:
                os.close(descriptor)
        except OSError:
            self.lose(_samples(entries[written:]))
            for entry in entries[written:]:
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
                if not self._size and not _is_left_over(descriptor):
                    raise OSError(errno.EINVAL, "is there and is no record of this program; move it away")
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


def _is_left_over(descriptor: int) -> bool:
    """Nothing, the beginning of a member, or zeros: what a crash may leave of a file that was just begun."""
    found = os.pread(descriptor, LEAST_BYTES, 0)
    return HEAD.startswith(found[: len(HEAD)]) or not any(found)


def _survey(descriptor: int) -> tuple[int, int]:
    """Bytes and samples of all members that are there as a whole, from the beginning.

    Of the last ones a crash may have left the length, and zeros for what is in them.
    """
    members = list(_members(descriptor))
    while members and not _is_whole(descriptor, *members[-1][:2]):
        members.pop()
    at, size, _ = members[-1] if members else (0, 0, 0)
    return at + size, sum(samples for _, _, samples in members)


def _members(descriptor: int) -> Iterator[tuple[int, int, int]]:
    """Where each begins, its length and its samples, as far as they follow each other."""
    end, at = os.fstat(descriptor).st_size, 0
    while True:
        head = os.pread(descriptor, len(HEAD) + SIZES.size, at)
        if len(head) < len(HEAD) + SIZES.size or not head.startswith(HEAD):
            return
        size, samples = SIZES.unpack_from(head, len(HEAD))
        if not size or at + size > end:
            return
        yield at, size, samples
        at += size


def _is_whole(descriptor: int, at: int, size: int) -> bool:
    """What is in it has its check sum."""
    try:
        return bool(gzip.decompress(os.pread(descriptor, size, at)))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False


def read_record(path: Path) -> Iterator[Entry]:
    """All that is there, from FILE.1 to the end of FILE. OSError, and DamagedError for all but what a crash has left.

    While somebody records there, too. A file that was unpacked (`zcat`) is read as well.
    """
    with contextlib.ExitStack() as stack:
        newest, previous = _both(path, stack)
        begun = False
        for name, file in ((older(path), previous), (path, newest)):
            if file is not None:
                for entry in _entries(name, file, last=file is newest or newest is None):
                    begun = True
                    yield entry
    if not begun:
        raise DamagedError(f"{path}: there is no record in it")


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


class _Lines:
    """Lines of text, counted. RecordError for one that has no end."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MOST_IN_LINE):
            self.number += 1
            if len(line) == MOST_IN_LINE:
                raise RecordError(self.number, "is no entry of a record: it is too long")
            yield line.decode("utf-8", "replace")
