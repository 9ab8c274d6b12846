"""Verdicts -> what balancers and people read. Takes values, returns values; no socket, no clock."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from healthagent.balancers import Heard
from healthagent.decide import own
from healthagent.facts import Position, Replication, Snapshot
from healthagent.model import Factors, GateReport, Publication, Status, Verdict
from healthagent.reasons import STATE_TEXT, Reason

__all__ = [
    "Answer",
    "agent_line",
    "refusal",
    "role_answers",
    "state_document",
    "text_line",
    "track_value",
    "why_document",
]

JSON_TYPE, TEXT_TYPE = "application/json", "text/plain"
OK, UNAVAILABLE = 200, 503


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: `phrase` is the reason phrase, which HAProxy shows on its stats page."""

    code: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


def role_answers(verdict: Verdict, *, drain_code: int = UNAVAILABLE) -> dict[str, Answer]:
    """Media type -> the answer for a role. Text and JSON carry the same facts. `drain_code`: 503 or 404."""
    code = {Status.UP: OK, Status.DRAIN: drain_code, Status.DOWN: UNAVAILABLE}[verdict.status]
    phrase = "OK" if code == OK else verdict.reasons[0].word
    headers = {
        "Cache-Control": "no-store",
        "X-Healthagent-State": verdict.state.word,
        "X-Healthagent-Role": verdict.role,
        "X-Healthagent-Verdict": verdict.status.value,
        "X-Healthagent-Weight": str(verdict.weight),
        "X-Healthagent-Reasons": _reasons(verdict),
        "X-Load-Balancing-Endpoint-Weight": str(verdict.weight),  # Google Cloud's name for it, 0 to 1000
    }
    bodies = {TEXT_TYPE: text_line(verdict) + "\n", JSON_TYPE: _json(verdict_document(verdict))}
    return {
        media: Answer(code, phrase, headers | {"Content-Type": _content_type(media)}, body.encode())
        for media, body in bodies.items()
    }


def text_line(verdict: Verdict) -> str:
    """`OK writer weight=100 state=synced` or `FAIL writer weight=0 state=donor reasons=donor_blocking`."""
    word = "OK" if verdict.status is Status.UP else "FAIL"
    reasons = f" reasons={_reasons(verdict)}" if verdict.reasons else ""
    return f"{word} {verdict.role} weight={verdict.weight} state={verdict.state.word}{reasons}"


def agent_line(verdict: Verdict, *, admin_words: bool) -> str:
    """`up 75%`, `up 0%` or `down #donor_blocking`, for HAProxy's agent-check.

    Always a health word, since only `up` ends a `down`; and a blank before the text, or HAProxy takes no notice of the
    whole line. ready, drain and maint also overwrite what an operator has set on the balancer: only with `admin_words`.
    """
    ready = " ready" if admin_words else ""
    if verdict.status is Status.UP:
        return f"up{ready} {verdict.weight}%"
    if verdict.status is Status.DRAIN:
        return "up drain" if admin_words else "up 0%"
    return f"down{ready} #{verdict.reasons[0].word}"


def track_value(verdict: Verdict | None, *, up: int, down: int) -> int:
    """What keepalived reads: `up` of an up verdict alone, since an address is here or elsewhere and cannot drain."""
    return up if verdict is not None and verdict.status is Status.UP else down


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """`{role, verdict, weight, reasons, since, state}`."""
    return {"role": verdict.role, **_about(verdict), "state": verdict.state.word}


def refusal(phrase: str, says: str, media: str) -> Answer:
    """A 400: `says` names what was wrong and what would be right."""
    body = _json({"error": says}) if media == JSON_TYPE else f"{says}\n"
    return Answer(400, phrase, {"Cache-Control": "no-store", "Content-Type": _content_type(media)}, body.encode())


def document_answer(document: Any) -> Answer:
    """A 200 with a JSON document."""
    headers = {"Cache-Control": "no-store", "Content-Type": _content_type(JSON_TYPE)}
    return Answer(200, "OK", headers, _json(document).encode())


def state_document(
    publication: Publication,
    *,
    now: float,
    version: str,
    config: Mapping[str, Any],
    balancers: Iterable[Heard] = (),
) -> dict[str, Any]:
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
            "facts_age_seconds": round(now - facts.started_at, 3) if facts is not None else None,
            "failure": _failure(snapshot),
        },
        "roles": {
            name: {
                **_about(publication.verdicts[name]),
                "dry_run": publication.verdicts[name].dry_run,
                "factors": factors_document(publication.factors.get(name)),
            }
            for name in own(publication)
        },
        "galera": _galera(publication, facts),
        "replication": _replications(publication),
        "server": _server(publication),
        "process": _process(snapshot, publication.wall_offset),
        "latched": _latched(publication),
        "admin": {"draining": False, "maintenance": False},
        "writer": None,
        "peers": [],
        "balancers": [_balancer(heard, now) for heard in balancers],
        "config": dict(config),
    }


def why_document(
    reports: tuple[GateReport, ...], factors: Factors | None, verdict: Verdict | None = None
) -> list[dict[str, Any]]:
    """Every gate of a role: value, limit, passed or not, since; before them what drains it, behind them every factor
    of its weight.
    """
    draining = [_draining(verdict)] if verdict is not None and verdict.status is Status.DRAIN else []
    weighed = factors_document(factors).items()
    weight = [{"gate": "weight", "factor": name, "passed": True, "value": value} for name, value in weighed]
    return draining + [_gate(report) for report in reports] + weight


def factors_document(factors: Factors | None) -> dict[str, float]:
    """What the weight is multiplied from, by name; {} before the first facts."""
    return {} if factors is None else {name: round(value, 3) for name, value in factors._asdict().items()}


def moment(wall: float) -> str:
    """Seconds since the epoch -> ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _about(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.status.value,
        "weight": verdict.weight,
        "reasons": [reason.word for reason in verdict.reasons],
        "since": moment(verdict.since_wall),
    }


def _gate(report: GateReport) -> dict[str, Any]:
    finding = report.finding
    return {
        "gate": report.gate.value,
        "passed": report.passed,
        "pending": report.pending,
        "reason": report.reason.word if report.reason is not None else None,
        "value": finding.value,
        "limit": finding.limit,
        "hold_seconds": finding.damping.hold_seconds,
        "rise_seconds": finding.damping.rise_seconds,
        "since": moment(report.since_wall),
    }


def _draining(verdict: Verdict) -> dict[str, Any]:
    """In the form of a gate, though no fact about the server is behind it."""
    return {
        "gate": "drain",
        "passed": False,
        "pending": False,
        "reason": Reason.DRAINING.word,
        "value": "configuration",
        "limit": None,
        "hold_seconds": 0.0,
        "rise_seconds": 0.0,
        "since": moment(verdict.since_wall),
    }


def _failure(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None or snapshot.failure is None:
        return None
    failure = snapshot.failure
    return {"kind": failure.kind.value, "code": failure.code, "message": failure.message}


def _galera(publication: Publication, facts: Snapshot | None) -> dict[str, Any] | None:
    if facts is None or facts.galera is None or not publication.trail.galera:
        return None
    flow = publication.trail.flow
    return {**asdict(facts.galera), "flow_control_paused_ratio": flow.paused, "flow_control_own": flow.own}


def _replications(publication: Publication) -> list[dict[str, Any]] | None:
    facts = publication.facts
    if facts is None or facts.replications is None:
        return None
    return [_replication(row, publication) for row in facts.replications]


def _replication(row: Replication, publication: Publication) -> dict[str, Any]:
    """The row; `lag` is what the gates go by, `lag_seconds` what Seconds_Behind_Master says."""
    lag, link = publication.trail.lag(row.connection), publication.trail.link(row.connection)
    return {
        **asdict(row),
        "gtid_io_pos": _positions(row.gtid_io_pos),
        "gtid_slave_pos": _positions(row.gtid_slave_pos),
        "lag": {"seconds": lag.seconds, "source": lag.source},
        "link_moved": None if link.moved_at is None else moment(link.moved_at + publication.wall_offset),
    }


def _positions(positions: tuple[Position, ...]) -> dict[str, dict[str, int]]:
    """By domain."""
    return {str(at.domain): {"server_id": at.server_id, "sequence": at.sequence} for at in positions}


def _server(publication: Publication) -> dict[str, Any]:
    facts = publication.facts
    if facts is None or facts.server is None:
        return {}
    beside = facts.beside
    return {
        **asdict(facts.server),
        "gtid_binlog_pos": _positions(facts.server.gtid_binlog_pos),
        "starts": [moment(at + publication.wall_offset) for at in publication.trail.starts],
        "client_port": asdict(beside.client_port) if beside.client_port is not None else None,
        "disk": asdict(beside.disk) if beside.disk is not None else None,
        "write_probe": asdict(beside.write_probe) if beside.write_probe is not None else None,
    }


def _latched(publication: Publication) -> dict[str, Any]:
    """What lasts until `ack`."""
    pins = publication.trail.pins
    return {"inconsistent": pins.inconsistent, "galera": pins.galera, "cluster_uuid": pins.cluster_uuid}


def _process(snapshot: Snapshot | None, wall_offset: float) -> dict[str, Any]:
    if snapshot is None:
        return {"state": None, "transfers": None, "progress": None}
    evidence, progress = snapshot.evidence, snapshot.evidence.progress
    transfers = None if evidence.transfers is None else [asdict(transfer) for transfer in evidence.transfers]
    return {
        "state": evidence.process.value if evidence.process is not None else None,
        "transfers": transfers,
        "progress": None
        if progress is None
        else {
            "from": progress.source,
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "started": None if progress.started_at is None else moment(progress.started_at + wall_offset),
            "estimated_end": None if progress.end_at is None else moment(progress.end_at + wall_offset),
        },
    }


def _balancer(heard: Heard, now: float) -> dict[str, Any]:
    return {
        "address": heard.peer,
        "role": heard.role,
        **asdict(heard.opinion),
        "age_seconds": round(now - heard.at, 3),
    }


def _reasons(verdict: Verdict) -> str:
    return ",".join(reason.word for reason in verdict.reasons)


def _content_type(media: str) -> str:
    return f"{media}; charset=utf-8"


def _json(document: Any) -> str:
    return json.dumps(document, allow_nan=False) + "\n"
