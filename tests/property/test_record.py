"""Whatever a probe brings: what is read from a record is what was written, and files never exceed their bounds."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from healthagent.facts import Failure, FailureKind, Progress, Snapshot
from healthagent.record import START, Ack, End, Entry, Header, Recording, Sample, Scribe, read
from healthagent.recordfile import RecordFile, most_bytes, older, read_record
from healthagent.trail import Pins, Thaw
from tests.build import GALERA_ROWS, SLAVE_ROW, snapshot
from tests.build import START as AT
from tests.property.anything import BESIDE, EVIDENCE, FOREIGN, HEARTBEATS, HUGE, NUMBERS, WORDS

TEXTS = st.one_of(st.none(), st.sampled_from([*WORDS, *NUMBERS, *FOREIGN, *HUGE]), st.text(max_size=8))
NAMES = st.one_of(st.sampled_from(sorted(GALERA_ROWS)), st.text(max_size=4))
ROWS = st.dictionaries(NAMES, TEXTS, max_size=6)
FULL = ROWS.map(lambda some: {**{name: str(value) for name, value in GALERA_ROWS.items()}, **some})
SLAVE = st.dictionaries(st.sampled_from(sorted(SLAVE_ROW)), TEXTS, max_size=5)
SLAVES = st.one_of(st.none(), st.lists(SLAVE, max_size=3))
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    message=st.one_of(st.text(), st.just("\udcff is no UTF-8\n")),
    code=st.one_of(st.none(), st.integers(0, 9999)),
    silent_after_eof=st.booleans(),
)
NUMBER = st.floats(0.0, 1e9)
PROGRESS = st.one_of(
    st.none(), st.builds(Progress, source=st.text(max_size=5), done_bytes=st.integers(), started_at=NUMBER)
)
PINS = st.builds(
    Pins,
    galera=st.booleans(),
    cluster_uuid=st.one_of(st.none(), st.text(max_size=8)),
    thaw=st.one_of(st.none(), st.builds(Thaw, at=NUMBER, conf_id=st.one_of(st.none(), st.integers(0, 2**64)))),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    if draw(st.booleans()):
        found = snapshot(draw(st.one_of(ROWS, FULL)), draw(SLAVES))
    else:
        found = Snapshot(sequence=1, ended_at=0.0, failure=draw(FAILURES))
    evidence = replace(draw(EVIDENCE), progress=draw(PROGRESS))
    found = replace(
        found,
        sequence=draw(st.integers(1, 2**31)),
        ended_at=draw(NUMBER),
        duration_seconds=draw(NUMBER),
        glanced_at=draw(st.one_of(st.none(), NUMBER)),
        evidence=evidence,
        beside=draw(BESIDE),
        heartbeats=draw(HEARTBEATS),
    )
    return Sample(snapshot=found, wall=draw(NUMBER), pins=draw(PINS))


HEADER = Header(
    why=START, at=AT, wall=1.76e9, run=1.0, version="0.1.0", server="/run/s", config={"probe": {"max_age": "3s"}}
)
OTHERS = st.one_of(
    st.builds(Ack, cluster=st.booleans(), at=NUMBER, wall=NUMBER),
    st.builds(End, at=NUMBER, wall=NUMBER),
    st.just(HEADER),
    PINS.map(lambda pins: replace(HEADER, pins=pins, why="reload")),
)
ENTRIES = st.lists(st.one_of(samples(), samples(), OTHERS), max_size=8).map(lambda some: [HEADER, *some])


def said(entries: Sequence[Entry]) -> list[str]:
    """Two NaN are not equal, and read alike; the rows are left out of it, and compared by themselves."""
    return [repr(entry) for entry in entries]


@given(entries=ENTRIES)
def test_what_is_read_is_what_was_written(entries: list[Entry]) -> None:
    scribe = Scribe()
    lines = [f"{scribe.line(entry)}\n" for entry in entries]
    found = list(read(lines))

    assert all(line.isascii() for line in lines)
    assert said(found) == said(entries)
    before, after = ([entry.snapshot.rows for entry in some if isinstance(entry, Sample)] for some in (entries, found))
    assert after == before


@given(entries=ENTRIES, cut=st.integers(1, 200))
def test_a_torn_last_line_costs_no_other(entries: list[Entry], cut: int) -> None:
    scribe = Scribe()
    *whole, last = [f"{scribe.line(entry)}\n" for entry in entries]
    assert said(list(read([*whole, last[: max(0, len(last) - cut)]]))) == said(entries[:-1])


@settings(max_examples=5)
@given(
    parts=st.lists(st.lists(samples(), max_size=100), max_size=12),
    many=st.lists(samples(), min_size=1, max_size=3),
)
def test_files_never_exceed_their_bounds(parts: list[list[Sample]], many: list[Sample]) -> None:
    """With a record as small as can be configured, and samples by the thousand."""
    with tempfile.TemporaryDirectory() as directory:
        recording = Recording(path=Path(directory) / "record", samples=1000)
        file = RecordFile(recording)
        written: list[Sample] = []
        file.append([HEADER])
        for part in [*parts, *[(many * 30)[:60]] * 30]:
            file.append(part)
            written += part
            for path in (recording.path, older(recording.path)):
                assert not path.exists() or path.stat().st_size <= most_bytes(1000)
        found = [entry for entry in read_record(recording.path) if isinstance(entry, Sample)]

        assert len(found) <= 2000
        assert said(found) == said(written[-len(found) :])
        assert len(found) >= 1000 or len(found) == len(written) or recording.path.stat().st_size > most_bytes(1000) / 2
