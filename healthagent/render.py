"""Verdicts -> what balancers and people read. Takes values, returns values; no socket, no clock."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from healthagent.model import Finding, GateReport, Publication, Snapshot, Status, Verdict
from healthagent.reasons import STATE_TEXT

__all__ = ["Answer", "refusal", "role_answers", "state_document", "text_line", "why_document"]

JSON_TYPE, TEXT_TYPE = "application/json", "text/plain"
CODES = {Status.UP: 200, Status.DRAIN: 503, Status.DOWN: 503}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: `phrase` is the reason phrase, which HAProxy shows on its stats page."""

    code: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


def role_answers(verdict: Verdict) -> dict[str, Answer]:
    """Media type -> the answer for a role. Text and JSON carry the same facts."""
    code = CODES[verdict.status]
    phrase = "OK" if code == 200 else verdict.reasons[0].word
    headers = {
        "Cache-Control": "no-store",
        "X-Healthagent-State": verdict.state.word,
        "X-Healthagent-Role": verdict.role,
        "X-Healthagent-Weight": str(verdict.weight),
        "X-Healthagent-Reasons": _reasons(verdict),
    }
    bodies = {TEXT_TYPE: text_line(verdict) + "\n", JSON_TYPE: _json(verdict_document(verdict, with_role=True))}
    return {
        media: Answer(code, phrase, headers | {"Content-Type": _content_type(media)}, body.encode())
        for media, body in bodies.items()
    }


def text_line(verdict: Verdict) -> str:
    """`OK writer weight=100 state=synced` or `FAIL writer weight=0 state=donor reasons=donor_blocking`."""
    word = "OK" if verdict.status is Status.UP else "FAIL"
    reasons = f" reasons={_reasons(verdict)}" if verdict.reasons else ""
    return f"{word} {verdict.role} weight={verdict.weight} state={verdict.state.word}{reasons}"


def verdict_document(verdict: Verdict, *, with_role: bool) -> dict[str, Any]:
    """`{role, verdict, weight, state, reasons, since}`; without the role, `factors` instead of what is repeated."""
    common = {
        "verdict": verdict.status.value,
        "weight": verdict.weight,
        "reasons": [reason.word for reason in verdict.reasons],
        "since": moment(verdict.since_wall),
    }
    if with_role:
        return {"role": verdict.role, **common, "state": verdict.state.word}
    return {**common, "factors": {}}


def refusal(phrase: str, says: str, media: str) -> Answer:
    """A 400: `says` names what was wrong and what would be right."""
    body = _json({"error": says}) if media == JSON_TYPE else f"{says}\n"
    return Answer(400, phrase, {"Cache-Control": "no-store", "Content-Type": _content_type(media)}, body.encode())


def document_answer(document: Any) -> Answer:
    """A 200 with a JSON document."""
    headers = {"Cache-Control": "no-store", "Content-Type": _content_type(JSON_TYPE)}
    return Answer(200, "OK", headers, _json(document).encode())


def state_document(publication: Publication, *, now: float, version: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything known. Keys only grow; what is not known is null. `now` is the monotonic clock."""
    snapshot, facts = publication.snapshot, publication.facts
    server = facts.server if facts is not None else None
    return {
        "version": version,
        "node": (server.node_name or server.hostname) if server is not None else None,
        "state": publication.state.word,
        "state_code": publication.state.value,
        "state_text": STATE_TEXT[publication.state],
        "since": moment(publication.state_since_wall),
        "sample": {
            "sequence": snapshot.sequence if snapshot is not None else 0,
            "age_seconds": round(now - snapshot.ended_at, 3) if snapshot is not None else None,
            "duration_seconds": round(snapshot.duration_seconds, 6) if snapshot is not None else None,
            "facts_age_seconds": round(now - facts.ended_at, 3) if facts is not None else None,
            "failure": _failure(snapshot),
        },
        "roles": {name: verdict_document(verdict, with_role=False) for name, verdict in publication.verdicts.items()},
        "galera": _galera(publication, facts),
        "replication": _replication(facts),
        "server": asdict(server) if server is not None else {},
        "process": _process(snapshot),
        "admin": {"draining": False, "maintenance": False},
        "writer": None,
        "peers": [],
        "balancers": [],
        "config": dict(config),
    }


def why_document(reports: tuple[GateReport, ...]) -> list[dict[str, Any]]:
    """Every gate of a role: value, limit, passed or not, since."""
    return [_gate(report) for report in reports]


def moment(wall: float) -> str:
    """Seconds since the epoch -> ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _gate(report: GateReport) -> dict[str, Any]:
    finding: Finding = report.finding
    return {
        "gate": finding.gate.value,
        "passed": report.passed,
        "pending": report.pending,
        "reason": finding.reason.word if finding.reason is not None and _matters(report) else None,
        "value": finding.value,
        "limit": finding.limit,
        "hold_seconds": finding.hold_seconds,
        "rise_seconds": finding.rise_seconds,
        "since": moment(report.since_wall),
    }


def _matters(report: GateReport) -> bool:
    return not report.passed or report.finding.bad


def _failure(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None or snapshot.failure is None:
        return None
    failure = snapshot.failure
    return {"kind": failure.kind.value, "code": failure.code, "message": failure.message}


def _galera(publication: Publication, facts: Snapshot | None) -> dict[str, Any] | None:
    if facts is None or facts.galera is None or not publication.galera:
        return None
    return asdict(facts.galera)


def _replication(facts: Snapshot | None) -> list[dict[str, Any]] | None:
    if facts is None or facts.replications is None:
        return None
    return [asdict(row) for row in facts.replications]


def _process(snapshot: Snapshot | None) -> dict[str, Any]:
    if snapshot is None:
        return {"state": None, "transfers": None}
    evidence = snapshot.evidence
    transfers = None if evidence.transfers is None else [asdict(transfer) for transfer in evidence.transfers]
    return {"state": evidence.process.value if evidence.process is not None else None, "transfers": transfers}


def _reasons(verdict: Verdict) -> str:
    return ",".join(reason.word for reason in verdict.reasons)


def _content_type(media: str) -> str:
    return f"{media}; charset=utf-8"


def _json(document: Any) -> str:
    return json.dumps(document, allow_nan=False) + "\n"
