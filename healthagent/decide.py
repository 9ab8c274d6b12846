"""The role table as data, and gates -> verdict."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from healthagent import gates_galera, gates_replication, gates_server
from healthagent.assess import reason_of
from healthagent.damping import Pulse
from healthagent.model import Base, Finding, Gate, GateReport, Outcome, Publication, Role, Status, Verdict
from healthagent.reasons import Reason, State
from healthagent.view import View

__all__ = ["CONNECTION", "decide", "examine", "expire"]

FULL_WEIGHT, CAPPED_WEIGHT = 100, 1
Questions = tuple[tuple[Gate, Callable[[View], Finding]], ...]

# Asked of every sample, of one without facts too.
CONNECTION: Questions = (
    (Gate.FRESH, gates_server.fresh),
    (Gate.REACHABLE, gates_server.reachable),
    (Gate.ANSWERING, gates_server.answering),
    (Gate.LOGIN, gates_server.login),
    (Gate.ROOM, gates_server.room),
)
_MEMBER: Questions = (
    (Gate.WSREP_ON, gates_galera.wsrep_on),
    (Gate.PRIMARY_COMPONENT, gates_galera.primary_component),
    (Gate.READY, gates_galera.ready),
    (Gate.ACCEPTING, gates_galera.accepting),
    (Gate.THAW, gates_galera.thaw),
)
_SERVING: Questions = (
    *_MEMBER,
    (Gate.STATE, gates_galera.state),
    (Gate.DONOR, gates_galera.donor),
    (Gate.DESYNC, gates_galera.desync),
)
_WRITING: Questions = (*_SERVING, (Gate.WRITABLE, gates_replication.writable))
GALERA: dict[Base, Questions] = {
    Base.ANY: _SERVING,
    Base.SYNCED: (*_MEMBER, (Gate.STATE, gates_galera.synced)),
    Base.READER: (*_SERVING, (Gate.EXCLUDE_WRITER, gates_replication.exclude_writer)),
    Base.CANDIDATE: _WRITING,
    Base.WRITER: _WRITING,
}
_REPLICA: Questions = (
    (Gate.REPLICA_THREADS, gates_replication.replica_threads),
    (Gate.LAG, gates_replication.lag),
    (Gate.REPLICA_ERROR, gates_replication.replica_error),
)
_PRIMARY: Questions = (
    (Gate.WRITABLE, gates_replication.writable),
    (Gate.ASYNC_WRITER, gates_replication.async_writer),
)
ASYNC: dict[Base, Questions] = {
    # up where candidate or reader is up; a candidate has no source and is writable, so it passes these as well
    Base.ANY: _REPLICA,
    Base.SYNCED: ((Gate.STATE, gates_galera.not_galera),),
    Base.READER: (*_REPLICA, (Gate.EXCLUDE_WRITER, gates_replication.exclude_writer)),
    Base.CANDIDATE: _PRIMARY,
    Base.WRITER: _PRIMARY,
}


def examine(view: View) -> tuple[Finding, ...]:
    """What every gate of the view's role finds; without facts only the connection's gates are asked."""
    found = tuple(question(view) for _, question in CONNECTION)
    table = GALERA if view.trail.galera else ASYNC
    about_facts = table[view.role.base]
    if view.snapshot.server is None:
        return found + tuple(Finding(gate=gate, outcome=Outcome.UNSEEN) for gate, _ in about_facts)
    return found + tuple(question(view) for _, question in about_facts)


def decide(role: Role, asked: Iterable[Gate], pulses: Mapping[Gate, Pulse], state: State) -> Verdict:
    """Up if every gate that is asked has been seen and none is down.

    An `up` carries the reasons of what caps it and of what is only being held.
    """
    fatal = [pulse for pulse in pulses.values() if pulse.effect is Outcome.FAIL]
    if fatal or any(gate not in pulses for gate in asked):
        held = [pulse for pulse in pulses.values() if pulse.finding.bad]
        reasons = _in_order(fatal or held, state) or (reason_of(state),)
        return Verdict(role=role.name, status=Status.DOWN, weight=0, state=state, reasons=reasons)
    capped = [pulse for pulse in pulses.values() if pulse.effect is Outcome.CAP]
    held = [pulse for pulse in pulses.values() if pulse.finding.bad and pulse.effect is Outcome.PASS]
    return Verdict(
        role=role.name,
        status=Status.UP,
        weight=CAPPED_WEIGHT if capped else FULL_WEIGHT,
        state=state,
        reasons=_in_order(capped + held, state),
    )


def _in_order(pulses: list[Pulse], state: State) -> tuple[Reason, ...]:
    """In the gates' order, each once, the one that names the state first: a balancer shows only the first."""
    names_state = {reason_of(state)} | ({Reason.FATAL_BINLOG_ERROR} if state is State.REPLICA_ERROR else set())
    reasons = dict.fromkeys(pulse.cause.reason or Reason.UNKNOWN for pulse in pulses)
    return tuple(sorted(reasons, key=lambda reason: reason not in names_state))


def expire(publication: Publication, max_age_seconds: float, now: float) -> Publication:
    """The publication as it may be told at `now`: facts older than max_age never serve.

    `stale` means that no probe at all has ended for so long; where probes end but bring nothing, the verdict falls
    with the reasons that it was holding.
    """
    snapshot = publication.snapshot
    if snapshot is None or now <= valid_until(publication, max_age_seconds):
        return publication
    stale = now - snapshot.ended_at > max_age_seconds
    fell_at = valid_until(publication, max_age_seconds) + publication.wall_offset
    verdicts = publication.verdicts.items()
    state = State.STALE if stale else publication.state
    seen = publication.gates.items()
    gates = {name: tuple(_not_fresh(report, state, fell_at) for report in reports) for name, reports in seen}
    publication = replace(publication, gates=gates)
    if not stale:
        return replace(publication, verdicts={name: _outlived(verdict, fell_at) for name, verdict in verdicts})
    told = {name: replace(_outlived(v, fell_at), state=state, reasons=(Reason.STALE,)) for name, v in verdicts}
    stale_since = snapshot.ended_at + max_age_seconds + publication.wall_offset
    return replace(publication, state=state, state_since_wall=stale_since, verdicts=told)


def valid_until(publication: Publication, max_age_seconds: float) -> float:
    """Until when the publication may be told as it is."""
    snapshot, facts = publication.snapshot, publication.facts
    if snapshot is None:
        return float("inf")
    serving = any(verdict.status is not Status.DOWN for verdict in publication.verdicts.values())
    oldest = facts.started_at if serving and facts is not None else snapshot.ended_at
    return oldest + max_age_seconds


def _not_fresh(report: GateReport, state: State, fell_at_wall: float) -> GateReport:
    """The report of `fresh` as it is when the facts have become too old; the others as they were seen last."""
    if report.finding.gate is not Gate.FRESH or not report.passed:
        return report
    finding = replace(report.finding, outcome=Outcome.FAIL, reason=reason_of(state))
    return replace(report, finding=finding, passed=False, since_wall=fell_at_wall)


def _outlived(verdict: Verdict, fell_at_wall: float) -> Verdict:
    """A verdict whose facts are too old: down with the reasons that it was holding."""
    if verdict.status is Status.DOWN:
        return verdict
    reasons = verdict.reasons or (reason_of(verdict.state),)
    return replace(verdict, status=Status.DOWN, weight=0, reasons=reasons, since_wall=fell_at_wall)
