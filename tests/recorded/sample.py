"""One recorded sample, and rows.json: the samples of a condition in the order in which a real server gave them.

A file holds of a sample only what differs from the last one that had rows, so that it shows what a condition changes:

    {"samples": [{"lasts_seconds": 3.0, "rows": {every name}, "slaves": {"": {every column}}},
                 {"lasts_seconds": 15.0, "rows": {what changed}, "gone": [names that are absent now]},
                 {"lasts_seconds": 15.0, "failure": {"kind": "refused", "code": 2, ...}, "process": "gone"}]}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from healthagent import parse
from healthagent.facts import Evidence, Failure, FailureKind, ProcessState, Snapshot, Transfer

__all__ = ["RECORDED", "Row", "Sample", "dump", "load"]

RECORDED = Path(__file__).parent

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one probe brought; `rows` None: no connection, and `failure` says why.

    `slaves`: the rows of SHOW ALL SLAVES STATUS by Connection_name. `lasts_seconds`: until the next sample, or how long
    the server would go on saying this.
    """

    lasts_seconds: float
    rows: Row | None = None
    slaves: Mapping[str, Row] | None = None
    failure: Failure | None = None
    process: str | None = None
    transfers: tuple[Transfer, ...] | None = None

    def says(self, name: str) -> Any:
        """The value of a status or a variable; None without rows, too."""
        return None if self.rows is None else self.rows.get(name)

    def slave(self, column: str, connection: str = "") -> Any:
        """The same of a column of a replication connection."""
        return (self.slaves or {}).get(connection, {}).get(column)

    @property
    def snapshot(self) -> Snapshot:
        """As the agent makes one of these rows."""
        process = ProcessState(self.process) if self.process is not None else None
        evidence = Evidence(process=process, transfers=self.transfers)
        if self.rows is None:
            return Snapshot(sequence=1, ended_at=0.0, failure=self.failure, evidence=evidence)
        return Snapshot(
            sequence=1,
            ended_at=0.0,
            server=parse.server(self.rows),
            galera=parse.galera(self.rows),
            replications=parse.replications(list((self.slaves or {}).values())),
            evidence=evidence,
        )


def dump(samples: Sequence[Sample]) -> str:
    """The text of rows.json."""
    rows: Row = {}
    slaves: dict[str, Row] = {}
    written = []
    for sample in samples:
        item = _outside(sample)
        if sample.rows is not None:
            item["rows"] = _changes(rows, sample.rows)
            item["gone"] = sorted(rows.keys() - sample.rows.keys())
            item["slaves"] = {name: _changes(slaves.get(name, {}), row) for name, row in (sample.slaves or {}).items()}
            rows, slaves = sample.rows, {**slaves, **(sample.slaves or {})}
        written.append({name: value for name, value in item.items() if _told(name, value)})
    return json.dumps({"samples": written}, indent=1, default=_moment) + "\n"


def load(text: str) -> list[Sample]:
    """What `dump` wrote."""
    rows: Row = {}
    slaves: dict[str, Row] = {}
    samples = []
    for item in json.loads(text, object_hook=_as_read)["samples"]:
        found: dict[str, Row] = {name: {**slaves.get(name, {}), **row} for name, row in item.get("slaves", {}).items()}
        if "rows" in item:
            rows = {name: value for name, value in {**rows, **item["rows"]}.items() if name not in item.get("gone", ())}
            slaves = {**slaves, **found}
        failure, transfers = item.get("failure"), item.get("transfers")
        samples.append(
            Sample(
                lasts_seconds=item["lasts_seconds"],
                rows=rows if "rows" in item else None,
                slaves=found if "rows" in item else None,
                failure=Failure(**{**failure, "kind": FailureKind(failure["kind"])}) if failure else None,
                process=item.get("process"),
                transfers=None if transfers is None else tuple(Transfer(**each) for each in transfers),
            )
        )
    return samples


def _moment(value: object) -> dict[str, str]:
    """A DATETIME (11.8 has two in SHOW ALL SLAVES STATUS): the driver gives an object, and so must the replay."""
    if isinstance(value, datetime):
        return {"datetime": value.isoformat(" ")}
    raise TypeError(f"{value!r} of {type(value)} cannot be recorded")


def _as_read(item: dict[str, Any]) -> Any:
    return datetime.fromisoformat(item["datetime"]) if set(item) == {"datetime"} else item


def _outside(sample: Sample) -> dict[str, Any]:
    """The part that is no rows. `transfers` None: nobody has looked for them, which is not the same as none."""
    failure, transfers = sample.failure, sample.transfers
    return {
        "lasts_seconds": sample.lasts_seconds,
        "failure": failure
        and {
            "kind": failure.kind.value,
            "code": failure.code,
            "message": failure.message,
            "silent_after_eof": failure.silent_after_eof,
        },
        "process": sample.process,
        "transfers": None
        if transfers is None
        else [{"joiner": each.joiner, "method": each.method, "bypass": each.bypass} for each in transfers],
    }


def _told(name: str, value: Any) -> bool:
    """Rows that say the same as before are a fact, and so are no transfers where one has looked."""
    return bool(value) or (value is not None and name in ("rows", "transfers"))


def _changes(before: Row, after: Row) -> Row:
    return {name: value for name, value in sorted(after.items()) if name not in before or before[name] != value}
