"""What has changed from one publication to the next, as events with the values that made it so."""

from collections.abc import Iterator

from healthagent.decide import own, reports, turned
from healthagent.events import Event, Kind, Level, Value, spoken
from healthagent.facts import Replication, Snapshot
from healthagent.model import GateReport, Publication, Status, Verdict
from healthagent.reasons import Reason, State

__all__ = ["transitions"]

WELL = (State.SYNCED, State.PRIMARY, State.REPLICA, State.STANDALONE)
STARTING = Reason.STARTING.word
# not worth a word in the sentence; the fields have them
USUAL = {"wsrep_on": True, "connected": True, "ready": True, "desync": False, "reject_queries": "NONE"}


def transitions(before: Publication, after: Publication) -> list[Event]:
    """The new state first, then every role with another status: not another weight or reason, nor what a request has
    asked. The first sample is one for each, as there was nothing before.
    """
    events, first = [], before.snapshot is None and after.snapshot is not None
    if first or before.state is not after.state:
        events.append(_of_state(before.state, after))
    for name in own(after) if first else turned(before, after):
        old = before.verdicts.get(name)
        was = "new" if old is None else STARTING if first else old.status.value
        events.append(_of_role(was, after.verdicts[name], after))
    return events


def _of_state(old: State, after: Publication) -> Event:
    state, seen = after.state, {} if after.snapshot is None else dict(_seen(after.snapshot, galera=after.trail.galera))
    told = ((name, spoken(value)) for name, value in seen.items() if USUAL.get(name) != value)
    shown = ", ".join(said if name == "error" else f"{name} {said}" for name, said in told)
    return Event(
        kind=Kind.STATE_CHANGE,
        level=Level.INFO if state in WELL else Level.WARNING,
        says=f"state {old.word} -> {state.word}" + (f": {shown}" if shown else ""),
        fields={"state": state.word, "old": old.word, "new": state.word, **seen},
    )


def _of_role(old: str, verdict: Verdict, after: Publication) -> Event:
    reasons = tuple(reason.word for reason in verdict.reasons)
    causes = _causes(verdict, after)
    said = f"role {verdict.role} {old} -> {verdict.status} weight={verdict.weight} reasons={spoken(reasons) or 'none'}"
    fields: dict[str, Value] = {
        "role": verdict.role,
        "old": old,
        "new": verdict.status.value,
        "state": verdict.state.word,
        "weight": verdict.weight,
        "reasons": reasons,
        "gates": tuple(report.gate.value for report in causes),
    }
    if verdict.dry_run:
        said += " dry_run=yes"
        fields["dry_run"] = True
    if causes:
        said += f": {', '.join(_shown(report) for report in causes)}"
    for report in causes:
        fields[f"gate_{report.gate}"] = report.finding.value
        fields[f"gate_{report.gate}_limit"] = report.finding.limit
    return Event(
        kind=Kind.ROLE_CHANGE,
        level=Level.WARNING if verdict.status is Status.DOWN and not verdict.dry_run else Level.INFO,
        says=said,
        fields=fields,
    )


def _causes(verdict: Verdict, publication: Publication) -> list[GateReport]:
    """The gates that made the verdict: of a down those that failed, else those that cap it or are being held."""
    loud = [report for report in reports(publication, verdict.role) if report.reason is not None]
    return [report for report in loud if not report.passed] or loud


def _shown(report: GateReport) -> str:
    value, limit = report.finding.value, report.finding.limit
    if isinstance(value, bool):  # of `writable` it is that of read_only: "writable yes" would be read wrongly
        return report.gate.value if report.passed else f"{report.gate} failed"
    shown = report.gate.value if value is None else f"{report.gate} {spoken(value)}"
    return shown if limit is None else f"{shown} (limit {spoken(limit)})"


def _seen(snapshot: Snapshot, *, galera: bool | None) -> Iterator[tuple[str, Value]]:
    """What the state was seen by; what is not known is left out. `galera`: what the node is taken for."""
    return ((name, value) for name, value in _carrying(snapshot, galera) if value not in (None, ()))


def _carrying(snapshot: Snapshot, is_galera: bool | None) -> Iterator[tuple[str, Value]]:
    transfers = snapshot.evidence.transfers or ()
    if snapshot.failure is not None:
        yield "failure", snapshot.failure.kind.value
        yield "code", snapshot.failure.code
        yield "error", snapshot.failure.message
    elif is_galera and snapshot.galera is not None:  # every MariaDB that could be a node has these variables
        galera = snapshot.galera
        yield "local_state", galera.local_state
        yield "comment", galera.local_state_comment
        yield "wsrep_on", galera.on
        yield "cluster_status", galera.cluster_status
        yield "cluster_size", galera.cluster_size
        yield "connected", galera.connected
        yield "ready", galera.ready
        yield "desync", galera.desync
        yield "reject_queries", galera.reject_queries
    elif snapshot.server is not None:
        yield "read_only", snapshot.server.read_only
        yield "log_bin", snapshot.server.log_bin
        yield "replication", tuple(_thread(row) for row in snapshot.replications or ())
    yield "transfer", tuple(transfer.method for transfer in transfers)


def _thread(row: Replication) -> str:
    """`east: io Yes, sql No, lag unknown, 1062: Duplicate entry ...`"""
    said = f"io {row.io_running}, sql {row.sql_running}, lag {spoken(row.lag_seconds)}"
    for code, text in ((row.sql_errno, row.sql_error), (row.io_errno, row.io_error)):
        if code:
            said += f", {code}: {text or ''}"
    return f"{row.connection}: {said}" if row.connection else said
