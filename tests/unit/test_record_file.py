"""The two files of a record: what is kept, what a crash leaves, and what is no record."""

import gzip
import json
import os
import re
import resource
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import recordfile
from healthagent.record import GAP, RELOAD, START, TURN, Entry, Header, Recording, Sample, Scribe
from healthagent.recordfile import HEAD, MOST_AT_ONCE, SIZES, DamagedError, RecordFile, older, read_record
from healthagent.trail import Pins
from tests.build import SYNCED

HEADER = Header(why=START, at=10.0, wall=1000.0, run=1000.0, version="0.1.0", server="/run/s", config={"a": 1})
PINNED = Pins(galera=True)


def sample(number: int) -> Sample:
    snapshot = replace(SYNCED, sequence=number, ended_at=10.0 + number / 2)
    return Sample(snapshot=snapshot, wall=1000.0 + number / 2, pins=PINNED)


def some(first: int, last: int) -> list[Entry]:
    return [sample(number) for number in range(first, last + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def file(path: Path) -> RecordFile:
    found = RecordFile(Recording(path=path, samples=1000))
    found.append([HEADER])
    return found


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.snapshot.sequence for entry in entries if isinstance(entry, Sample)]


def headers(entries: list[Entry]) -> list[str]:
    return [entry.why for entry in entries if isinstance(entry, Header)]


def found(path: Path) -> list[Entry]:
    return list(read_record(path))


def refusal(path: Path) -> str:
    with pytest.raises(DamagedError) as caught:
        found(path)
    return str(caught.value)


def test_zcat_shows_lines_of_json_and_they_can_be_read_too(file: RecordFile, path: Path, tmp_path: Path) -> None:
    file.append(some(1, 3))
    text = subprocess.run(["zcat"], stdin=path.open("rb"), capture_output=True, check=True).stdout
    header, first, second, _ = map(json.loads, text.splitlines())

    assert (header["healthagent"], header["format"], header["config"]) == ("0.1.0", 1, {"a": 1})
    assert first["rows"]["wsrep_cluster_status"] == "Primary"
    assert second == {"at": 11.0, "wall": 1001.0, "took": 0.0, "rows": {}}, "only what has changed"
    plain = tmp_path / "plain"
    plain.write_bytes(text)
    assert repr(found(plain)) == repr(found(path))


def test_others_cannot_read_it(file: RecordFile, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_the_last_so_many_are_kept_and_never_more_than_twice_as_many(file: RecordFile, path: Path) -> None:
    for first in range(1, 3001, 300):
        file.append(some(first, first + 299))
        kept = numbers(found(path))
        assert kept == list(range(kept[0], first + 300))
        assert min(1000, first + 299) <= len(kept) <= 2000
    assert headers(found(path)) == [TURN, TURN]
    pins = [entry.pins for entry in found(path) if isinstance(entry, Header)]
    assert pins == [PINNED, PINNED], "what was pinned by then"


def test_a_new_process_goes_on_behind_the_old_one(file: RecordFile, path: Path) -> None:
    file.append(some(1, 900))
    again = RecordFile(Recording(path=path, samples=1000))
    again.append([replace(HEADER, run=2000.0), *some(1, 90)])
    assert headers(found(path)) == [START, START]
    again.append(some(91, 120))
    assert older(path).exists(), "what the old process has written counts"
    assert numbers(found(path)) == [*range(1, 901), *range(1, 121)]


@pytest.mark.parametrize("cut", [1, 8, 30, 60])
def test_what_a_crash_has_left_is_passed_over_and_cut_away(file: RecordFile, path: Path, cut: int) -> None:
    file.append(some(1, 5))
    file.append(some(6, 9))
    os.truncate(path, path.stat().st_size - cut)
    kept = numbers(found(path))
    assert kept[:5] == [1, 2, 3, 4, 5]

    RecordFile(Recording(path=path, samples=1000)).append([replace(HEADER, run=2.0), *some(1, 2)])
    assert numbers(found(path)) == [1, 2, 3, 4, 5, 1, 2]
    assert gzip.decompress(path.read_bytes())


def test_damage_is_told_with_its_place(file: RecordFile, path: Path) -> None:
    file.append(some(1, 5))
    where = path.stat().st_size
    file.append(some(6, 9))
    file.append(some(10, 12))
    content = bytearray(path.read_bytes())
    content[where + 40] ^= 0xFF
    path.write_bytes(content)

    assert re.match(f"{path}: (it is damaged behind line 6|line 7): ", refusal(path))


DAMAGED = {
    "no date": ('{"at": 1.0, "took": 0, "wall": 1e300}', "line 2: is no entry of a record: ValueError: wall 1e+300"),
    "before 1970": ('{"at": 1, "took": 0, "wall": -1e14}', "line 2: is no entry of a record: ValueError: wall -1e+14"),
    "not a number": ('{"at": 1.0, "took": 0, "wall": NaN}', "line 2: is no entry of a record: ValueError: wall nan"),
    "infinity": ('{"at": Infinity, "took": 0, "wall": 0}', "line 2: is no entry of a record: ValueError: inf seconds"),
    "infinity by digits": (
        '{"at": 1e999, "took": 0, "wall": 0}',
        "line 2: is no entry of a record: ValueError: inf seconds",
    ),
    "a huge integer": ('{"at": 1' + "0" * 400 + "}", "line 2: is no entry of a record: OverflowError"),
    "too deep": ("[" * 100_000, "line 2: is no JSON: "),
    "not json": ("{", "line 2: is no JSON"),
    "no object": ("17", "line 2: is no entry of a record"),
    "half a sample": ('{"at": 1.0}', "line 2: is no entry of a record: KeyError: 'took'"),
    "a bad failure": (
        '{"at": 1.0, "took": 0, "wall": 0, "failure": {"kind": "odd", "message": ""}}',
        "line 2: is no entry of a record: ValueError: 'odd' is not a valid FailureKind",
    ),
    "another format": (
        '{"healthagent": "9.0", "format": 2, "why": "start"}',
        "line 2: was written by healthagent 9.0 in format 2; this one reads format 1",
    ),
}


@pytest.mark.parametrize(("line", "says"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_line_that_is_none_is_told_with_its_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "plain"
    path.write_text(f"{Scribe().line(HEADER)}\n{line}\n")
    assert refusal(path).startswith(f"{path}: {says}")


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordfile, "MOST_IN_LINE", 1000)
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"a" * 2000))
    assert refusal(path) == f"{path}: line 1: is no entry of a record: it is too long"


def test_what_never_was_a_record(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"hello", gzip.compress(b"hello")):
        path.write_bytes(content)
        assert refusal(path) == f"{path}: there is no record in it"
    path.write_text('{"at": 1.0}\n')
    assert refusal(path) == f"{path}: line 1: is no header: a record begins with one"


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    foreign, directory, fifo = tmp_path / "foreign", tmp_path / "directory", tmp_path / "fifo"
    foreign.write_text("mine\n")
    directory.mkdir()
    os.mkfifo(fifo)
    for path, says in (
        (foreign, "is there and is no record of this program; move it away"),
        (directory, "Is a directory"),
        (fifo, "is no file"),
        (tmp_path / "no" / "record", "No such file or directory"),
    ):
        with pytest.raises(OSError, match=says):
            RecordFile(Recording(path=path, samples=1000)).append([HEADER])
    assert foreign.read_text() == "mine\n"


@pytest.mark.parametrize("left", [HEAD[:10], HEAD, bytes(4096), HEAD + b"\xff\xff\0\0"])
def test_what_a_crash_leaves_of_a_file_just_begun_is_no_obstacle(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    RecordFile(Recording(path=path, samples=1000)).append([HEADER, *some(1, 2)])
    assert numbers(found(path)) == [1, 2]


def test_members_of_zeros_at_the_end_are_cut_away(file: RecordFile, path: Path) -> None:
    """A file system may have their lengths on disk, and what is in them not yet."""
    file.append(some(1, 5))
    sound = path.stat().st_size
    file.append(some(6, 9))
    content = bytearray(path.read_bytes())
    content[sound + len(HEAD) + SIZES.size :] = bytes(len(content) - sound - len(HEAD) - SIZES.size)
    path.write_bytes(content)
    file = RecordFile(Recording(path=path, samples=1000))
    file.append([replace(HEADER, run=2.0), *some(1, 2)])
    assert numbers(found(path)) == [1, 2, 3, 4, 5, 1, 2]


@contextmanager
def full(path: Path) -> Iterator[None]:
    """Room for some bytes more, but not for all that come: as on a full disk, a part of them gets there."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_for_a_while(file: RecordFile, path: Path) -> None:
    file.append(some(1, 5))
    size = path.stat().st_size
    with full(path):
        with pytest.raises(OSError, match="No space left on device"):
            file.append(some(6, 9))
        assert path.stat().st_size == size
        with pytest.raises(OSError, match="No space left"):
            file.append([replace(HEADER, why=RELOAD, config={"a": 2}), *some(10, 12)])

    assert file.append(some(13, 14)) == 7, "so many were lost"
    assert file.append(some(15, 15)) == 0
    entries = found(path)
    assert numbers(entries) == [1, 2, 3, 4, 5, 13, 14, 15]
    assert headers(entries) == [START, GAP]
    assert next(entry.config for entry in entries if isinstance(entry, Header) and entry.why == GAP) == {"a": 2}


def test_of_a_batch_only_what_was_not_written_is_lost(file: RecordFile, path: Path) -> None:
    real, tries = file._write, 0

    def fails_once(descriptor: int, entries: Sequence[Entry]) -> int:
        nonlocal tries
        tries += 1
        if tries == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor, entries)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(file, "_write", fails_once)
        with pytest.raises(OSError, match="No space left"):
            file.append(some(1, MOST_AT_ONCE + 10))
    assert file.append(some(MOST_AT_ONCE + 11, MOST_AT_ONCE + 11)) == 10
    assert numbers(found(path)) == [*range(1, MOST_AT_ONCE + 1), MOST_AT_ONCE + 11]


def test_a_file_that_somebody_takes_away_begins_anew(file: RecordFile, path: Path) -> None:
    file.append(some(1, 5))
    path.unlink()
    file.append(some(6, 7))
    assert (headers(found(path)), numbers(found(path))) == ([TURN], [6, 7])


def test_a_directory_that_is_gone_and_back(file: RecordFile, path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        file.append(some(1, 5))
    path.parent.mkdir()
    assert file.append(some(6, 7)) == 5
    assert (headers(found(path)), numbers(found(path))) == ([GAP], [6, 7])


def test_one_of_the_two_files_is_enough(file: RecordFile, path: Path) -> None:
    file.append(some(1, 5))
    path.rename(older(path))
    assert numbers(found(path)) == [1, 2, 3, 4, 5], "a new one could not be begun yet"
    file.append(some(6, 7))
    older(path).unlink()
    assert numbers(found(path)) == [6, 7]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        found(path)


def test_while_a_file_becomes_the_older_one_nothing_is_read_twice(
    file: RecordFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of the one and of the other."""
    file.append(some(1, 5))
    opened = Path.open

    def turning(self: Path, mode: str) -> object:
        if self == older(path) and not older(path).exists():
            path.rename(older(path))
            RecordFile(Recording(path=path, samples=1000)).append([replace(HEADER, why=TURN), *some(6, 7)])
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", turning)
    assert numbers(found(path)) == [1, 2, 3, 4, 5, 6, 7]
