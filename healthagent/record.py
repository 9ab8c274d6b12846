"""The record of what a server answered: samples as lines of text, and back. Not a file yet: see recordfile.

A line is a JSON object. A header says who records, with which configuration, and what was remembered; a sample says
only what differs from the one before it, and everything behind a header, so that a reader can begin there:

    {"healthagent": "0.1.0", "format": 1, "why": "start", "run": ..., "server": ..., "config": {...}, "pins": {...}}
    {"n": 1, "at": 4711.25, "wall": 1760000000.25, "took": 0.002, "rows": {every name}, "slaves": [{every column}]}
    {"at": 4711.75, "wall": 1760000000.75, "took": 0.001, "glanced": 4711.65, "rows": {"Uptime": "812"}}

The rows are the server's own words: they are read by the same `parse` as the daemon's.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from healthagent import parse
from healthagent.facts import (
    Beside,
    ClientPort,
    Disk,
    Evidence,
    Failure,
    FailureKind,
    Heartbeat,
    ProcessState,
    Progress,
    Rows,
    Snapshot,
    Transfer,
    WriteProbe,
)
from healthagent.quantities import seconds, wall_seconds
from healthagent.trail import Pins, Thaw

__all__ = [
    "FORMAT",
    "Ack",
    "End",
    "Entry",
    "Header",
    "RecordError",
    "Recording",
    "Sample",
    "Scribe",
    "read",
]

FORMAT = 1
NO_PINS = Pins()
# why a header stands there: the program has started, has a new configuration, has begun a new file, or has lost samples
START, RELOAD, TURN, GAP = "start", "reload", "turn", "gap"
REASONS = (START, RELOAD, TURN, GAP)
Row = Mapping[str, object]


class RecordError(Exception):
    """A line that is none of ours, or is damaged: its number, and what is wrong with it."""

    def __init__(self, line: int, says: str) -> None:
        super().__init__(f"line {line}: {says}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is configured: `samples` at least are kept, once there were so many; twice as many at most."""

    path: Path
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """`run` is the same for all that one process has recorded; `config` as `config show` gives it."""

    why: str
    at: float
    wall: float
    run: float
    version: str
    server: str
    config: Mapping[str, Any]
    pins: Pins = NO_PINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One ended probe, the wall clock when it was judged, and what was pinned afterwards."""

    snapshot: Snapshot
    wall: float
    pins: Pins = NO_PINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Somebody has acknowledged what was latched."""

    cluster: bool
    at: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The program has stopped, or stopped recording."""

    at: float
    wall: float


Entry = Header | Sample | Ack | End


class Scribe:
    """Entries -> lines. What has been written before a header does not count."""

    def __init__(self) -> None:
        self._last: Sample | None = None
        self._rows: Rows | None = None

    def line(self, entry: Entry) -> str:
        """One line without its line feed, ASCII alone."""
        return json.dumps(self._document(entry), separators=(",", ":"))

    def _document(self, entry: Entry) -> dict[str, Any]:
        match entry:
            case Header():
                self._last = self._rows = None
                said = {"healthagent": entry.version, "format": FORMAT, "why": entry.why, "run": entry.run}
                said |= {"at": entry.at, "wall": entry.wall, "server": entry.server}
                return said | {"config": entry.config, "pins": asdict(entry.pins)}
            case Sample():
                return self._sample(entry)
            case Ack():
                return {"ack": entry.cluster, "at": entry.at, "wall": entry.wall}
            case End():
                return {"end": True, "at": entry.at, "wall": entry.wall}

    def _sample(self, sample: Sample) -> dict[str, Any]:
        new, last = sample.snapshot, self._last
        before = last.snapshot if last is not None else NOTHING
        said: dict[str, Any] = {} if new.sequence == before.sequence + 1 else {"n": new.sequence}
        said |= {"at": new.ended_at, "wall": sample.wall, "took": new.duration_seconds}
        if new.glanced_at is not None:
            said["glanced"] = new.glanced_at
        if new.failure != before.failure:
            said["failure"] = None if new.failure is None else asdict(new.failure)
        if new.evidence != before.evidence:
            said["evidence"] = asdict(new.evidence)
        if new.beside != before.beside:
            said["beside"] = asdict(new.beside)
        if new.heartbeats != before.heartbeats:
            said["beats"] = (
                None if new.heartbeats is None else [[one.server_id, one.age_seconds] for one in new.heartbeats]
            )
        if sample.pins != (last.pins if last is not None else NO_PINS):
            said["pins"] = asdict(sample.pins)
        if new.rows is not None:
            said |= _moved(self._rows or NO_ROWS, new.rows)
            self._rows = new.rows
        self._last = sample
        return said


def _moved(before: Rows, after: Rows) -> dict[str, Any]:
    """`rows`: the names that are new or different, {} too; `gone`: those that are no more. Of the slaves all, or of
    each of them what has moved, in their order.
    """
    said: dict[str, Any] = {"rows": _changes(before.facts, after.facts)}
    gone = [name for name in before.facts if name not in after.facts]
    if gone:
        said["gone"] = gone
    if before.slaves is None or after.slaves is None or _columns(before.slaves) != _columns(after.slaves):
        if before.slaves is not after.slaves:
            said["slaves"] = after.slaves
    elif before.slaves != after.slaves:
        said["moved"] = [_changes(*pair) for pair in zip(before.slaves, after.slaves, strict=True)]
    return said


def _changes(before: Row, after: Row) -> dict[str, object]:
    return {name: value for name, value in after.items() if name not in before or before[name] != value}


def _columns(rows: Iterable[Row]) -> list[list[str]]:
    return [list(row) for row in rows]


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """What was written, entry by entry. RecordError for a line that cannot be; what stood before it has been given.

    A last line without a line feed is what a crash has left: it is passed over.
    """
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            return
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(number, f"is no JSON: {error}") from error
        try:
            yield reader.entry(document)
        except RecordError:
            raise
        except UnreadableError as error:
            raise RecordError(number, str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise RecordError(number, f"is no entry of a record: {type(error).__name__}: {error}") from error


class UnreadableError(Exception):
    """What cannot be read, in words of its own."""


class _Reader:
    def __init__(self) -> None:
        self._begun = False
        self._last: Sample | None = None
        self._rows = NO_ROWS

    def entry(self, said: dict[str, Any]) -> Entry:
        if "healthagent" in said:
            return self._header(said)
        if not self._begun:
            raise UnreadableError("is no header: a record begins with one")
        if "ack" in said:
            return Ack(cluster=bool(said["ack"]), at=seconds(said["at"]), wall=wall_seconds(said["wall"]))
        if "end" in said:
            return End(at=seconds(said["at"]), wall=wall_seconds(said["wall"]))
        self._last = self._sample(said)
        return self._last

    def _header(self, said: dict[str, Any]) -> Header:
        if said["format"] != FORMAT:
            text = f"was written by healthagent {said['healthagent']} in format {said['format']}"
            raise UnreadableError(f"{text}; this one reads format {FORMAT}")
        if said["why"] not in REASONS or not isinstance(said["config"], dict):
            raise ValueError(f"why {said['why']!r}")
        self._begun, self._last, self._rows = True, None, NO_ROWS
        return Header(
            why=said["why"],
            at=seconds(said["at"]),
            wall=wall_seconds(said["wall"]),
            run=wall_seconds(said["run"]),
            version=str(said["healthagent"]),
            server=str(said["server"]),
            config=said["config"],
            pins=_pins(said["pins"]),
        )

    def _sample(self, said: dict[str, Any]) -> Sample:
        last = self._last
        before = last.snapshot if last is not None else NOTHING
        if "rows" in said:
            self._rows = _applied(self._rows, said)
        rows = self._rows if "rows" in said else None
        slaves = rows.slaves if rows is not None else None
        snapshot = Snapshot(
            sequence=int(said.get("n", before.sequence + 1)),
            ended_at=seconds(said["at"]),
            duration_seconds=seconds(said["took"]),
            failure=_failure(said["failure"]) if "failure" in said else before.failure,
            server=parse.server(rows.facts) if rows is not None else None,
            galera=parse.galera(rows.facts) if rows is not None else None,
            replications=parse.replications(slaves) if slaves is not None else None,
            heartbeats=_heartbeats(said["beats"]) if "beats" in said else before.heartbeats,
            evidence=_evidence(said["evidence"]) if "evidence" in said else before.evidence,
            beside=_beside(said["beside"]) if "beside" in said else before.beside,
            glanced_at=seconds(said["glanced"]) if "glanced" in said else None,
            rows=rows,
        )
        pins = _pins(said["pins"]) if "pins" in said else last.pins if last is not None else NO_PINS
        return Sample(snapshot=snapshot, wall=wall_seconds(said["wall"]), pins=pins)


def _applied(before: Rows, said: dict[str, Any]) -> Rows:
    facts = {**before.facts, **said["rows"]}
    for name in said.get("gone", ()):
        del facts[name]
    slaves = before.slaves
    if "slaves" in said:
        slaves = None if said["slaves"] is None else tuple([dict(row) for row in said["slaves"]])
    elif "moved" in said:
        slaves = tuple([{**row, **moved} for row, moved in zip(slaves or (), said["moved"], strict=True)])
    return replace(before, facts=facts, slaves=slaves)


def _failure(said: dict[str, Any] | None) -> Failure | None:
    return None if said is None else Failure(**{**said, "kind": FailureKind(said["kind"])})


def _heartbeats(said: list[list[Any]] | None) -> tuple[Heartbeat, ...] | None:
    return None if said is None else tuple([Heartbeat(server_id=one, age_seconds=age) for one, age in said])


def _evidence(said: dict[str, Any]) -> Evidence:
    process, transfers, progress = said["process"], said["transfers"], said["progress"]
    return Evidence(
        process=None if process is None else ProcessState(process),
        transfers=None if transfers is None else tuple([Transfer(**one) for one in transfers]),
        progress=None if progress is None else Progress(**progress),
    )


def _beside(said: dict[str, Any]) -> Beside:
    port, disk, write = said["client_port"], said["disk"], said["write_probe"]
    return Beside(
        client_port=None if port is None else ClientPort(**port),
        disk=None if disk is None else Disk(**disk),
        write_probe=None if write is None else WriteProbe(**write),
    )


def _pins(said: dict[str, Any]) -> Pins:
    return Pins(**{**said, "thaw": None if said["thaw"] is None else Thaw(**said["thaw"])})


NOTHING, NO_ROWS = Snapshot(sequence=0, ended_at=0.0), Rows(facts={})
