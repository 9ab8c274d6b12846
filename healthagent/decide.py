"""Gates -> verdicts, the reports behind them, and what becomes of them when the facts grow old."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from healthagent.assess import reason_of
from healthagent.model import Finding, GateReport, Outcome, Publication, Pulse, Status, Verdict
from healthagent.reasons import Gate, Reason, State

__all__ = ["decide", "due_at", "expire", "own", "passing", "reports", "speaks", "turned", "valid_until"]

Reasons = tuple[Reason, ...]


def speaks(pulse: Pulse | None, finding: Finding) -> bool:
    """Whether a check has anything to say: it is down, caps, is being held, carries a note, or was never seen."""
    quiet = finding.outcome is Outcome.PASS or finding.outcome is Outcome.BETWEEN or finding.outcome is Outcome.UNSEEN
    return pulse is None or pulse.effect is not Outcome.PASS or not quiet


def decide(
    speaking: Iterable[int],
    pulses: Sequence[Pulse | None],
    findings: Sequence[Finding],
    state: State,
    *,
    drain: bool,
) -> tuple[Status, bool, Reasons]:
    """(status, capped, reasons) of a role, by those of its checks that have anything to say.

    Up if every check has been seen and none is down. An `up` carries the reasons of what caps it, of what is only
    being held, and the notes. `drain` turns an up into a drain, and lifts no down.
    """
    fatal: list[Reason] = []
    others: list[Reason] = []
    unseen = capped = False
    for index in speaking:
        pulse, finding = pulses[index], findings[index]
        if pulse is None:
            unseen = True
            continue
        if pulse.effect is Outcome.FAIL:
            fatal.append(pulse.cause or Reason.UNKNOWN)
        elif pulse.effect is Outcome.CAP:
            capped = True
            others.insert(0, pulse.cause or Reason.UNKNOWN)
        else:
            others.append(_reason(pulse, finding) or Reason.UNKNOWN)
    if fatal or unseen:
        return Status.DOWN, False, _in_order(fatal or others, state) or (reason_of(state),)
    if drain:
        return Status.DRAIN, capped, (Reason.DRAINING, *_in_order(others, state))
    return Status.UP, capped, _in_order(others, state)


def _reason(pulse: Pulse, finding: Finding) -> Reason | None:
    """What was found last, or why the gate is still down though it was good."""
    return finding.reason if finding.outcome is not Outcome.PASS else pulse.cause


def _in_order(reasons: list[Reason], state: State) -> Reasons:
    """Each once, the one that names the state first: a balancer shows only the first."""
    if len(reasons) < 2:
        return tuple(reasons)
    names_state = {reason_of(state)} | ({Reason.FATAL_BINLOG_ERROR} if state is State.REPLICA_ERROR else set())
    return tuple(sorted(dict.fromkeys(reasons), key=lambda reason: reason not in names_state))


def reports(publication: Publication, role: str) -> tuple[GateReport, ...]:
    """Every gate that the role asks, as it was seen last; `fresh` as it is now."""
    found = []
    for index in publication.asked.get(role, ()):
        pulse, finding, gate = publication.pulses[index], publication.findings[index], publication.checks[index].gate
        if pulse is None:
            continue
        passed, since_wall = pulse.effect is not Outcome.FAIL, pulse.changed_at + publication.wall_offset
        reason = _reason(pulse, finding) if speaks(pulse, finding) else None
        if gate is Gate.FRESH and passed and publication.expired_wall is not None:
            passed, since_wall, reason = False, publication.expired_wall, reason_of(publication.state)
            finding = finding._replace(value=publication.expired_age)
        report = GateReport(
            gate=gate,
            finding=finding,
            passed=passed,
            pending=pulse.pending,
            reason=reason,
            since_wall=since_wall,
        )
        found.append(report)
    return tuple(found)


def passing(publication: Publication, role: str) -> dict[Gate, bool]:
    """Whether each gate that the role asks is passed; nothing of those not seen yet.

    Of facts that are too old, `fresh` alone: what the other gates saw last is not known to hold any more.
    """
    found: dict[Gate, bool] = {}
    for index in publication.asked.get(role, ()):
        pulse, gate = publication.pulses[index], publication.checks[index].gate
        if pulse is not None:
            found[gate] = found.get(gate, True) and pulse.effect is not Outcome.FAIL
    if publication.expired_wall is not None:
        return {Gate.FRESH: False} if Gate.FRESH in found else {}
    return found


def turned(before: Publication, after: Publication) -> tuple[str, ...]:
    """The roles that are up, drain or down now and were not."""
    old, new = before.verdicts, after.verdicts
    return tuple(name for name in own(after) if name not in old or old[name].status is not new[name].status)


def own(publication: Publication) -> tuple[str, ...]:
    """The names of the roles; not somebody's questions with parameters."""
    return tuple(name for name, verdict in publication.verdicts.items() if name == verdict.role)


def expire(publication: Publication, max_age_seconds: float, now: float) -> Publication:
    """The publication as it may be told at `now`: facts older than max_age never serve.

    `stale` means that no probe at all has ended for so long; where probes end but bring nothing, the verdict falls
    with the reasons that it was holding.
    """
    snapshot, until = publication.snapshot, valid_until(publication, max_age_seconds)
    if snapshot is None or now <= until:
        return publication
    fell_at = until + publication.wall_offset
    expired = {name: _outlived(verdict, fell_at) for name, verdict in publication.verdicts.items()}
    facts_at = publication.facts.started_at if publication.facts is not None else snapshot.ended_at
    publication = replace(publication, verdicts=expired, expired_wall=fell_at, expired_age=round(now - facts_at, 3))
    if now - snapshot.ended_at <= max_age_seconds:
        return publication
    told = {name: replace(verdict, state=State.STALE, reasons=(Reason.STALE,)) for name, verdict in expired.items()}
    stale_since = snapshot.ended_at + max_age_seconds + publication.wall_offset
    return replace(publication, state=State.STALE, state_since_wall=stale_since, verdicts=told)


def valid_until(publication: Publication, max_age_seconds: float) -> float:
    """Until when the publication may be told as it is."""
    snapshot, facts = publication.snapshot, publication.facts
    if snapshot is None:
        return float("inf")
    serving = any(verdict.status is not Status.DOWN for verdict in publication.verdicts.values())
    oldest = facts.started_at if serving and facts is not None else snapshot.ended_at
    return oldest + max_age_seconds


def due_at(publication: Publication, max_age_seconds: float) -> float:
    """When the end of valid_until() is to be told, though nobody asks.

    Where the newest probe has brought the facts, they are too old some ms (as long as it took) before there is the
    reason, `stale`: then that is told, at once with it. What somebody asks meanwhile is answered as it is.
    """
    snapshot, until = publication.snapshot, valid_until(publication, max_age_seconds)
    return until if snapshot is not publication.facts or snapshot is None else snapshot.ended_at + max_age_seconds


def _outlived(verdict: Verdict, fell_at_wall: float) -> Verdict:
    """A verdict whose facts are too old: down with the reasons that it was holding."""
    if verdict.status is Status.DOWN:
        return verdict
    held = tuple(reason for reason in verdict.reasons if reason is not Reason.DRAINING)
    reasons = held or (reason_of(verdict.state),)
    return replace(verdict, status=Status.DOWN, weight=0, reasons=reasons, since_wall=fell_at_wall)
