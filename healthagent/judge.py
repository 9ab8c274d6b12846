"""One sample through the pure core: Snapshot -> Publication, with what must be remembered between samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from healthagent.assess import node_state
from healthagent.damping import Pulse, advance, rest
from healthagent.decide import CONNECTION, decide, examine
from healthagent.model import Finding, Gate, GateReport, Outcome, Policy, Publication, Role, Snapshot, Verdict
from healthagent.reasons import Reason
from healthagent.trail import Trail, follow
from healthagent.view import View

__all__ = ["Memory", "adapt", "judge", "starting"]

Pulses = Mapping[Gate, Pulse]
_CONNECTION_GATES = frozenset(gate for gate, _ in CONNECTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All that outlives a sample: the trail, every role's gates, and what was published last."""

    trail: Trail = field(default_factory=Trail)
    pulses: Mapping[str, Pulses] = field(default_factory=dict)
    publication: Publication = field(default_factory=Publication)

    @property
    def pending(self) -> bool:
        """Some gate is about to turn: probing faster brings the answer sooner."""
        return any(pulse.pending for pulses in self.pulses.values() for pulse in pulses.values())


def starting(policy: Policy, wall: float) -> Memory:
    """Before the first sample: every role down, `starting`."""
    verdicts = {role.name: Verdict(role=role.name, since_wall=wall) for role in policy.roles}
    return Memory(publication=Publication(verdicts=verdicts, state_since_wall=wall))


def judge(memory: Memory, snapshot: Snapshot, policy: Policy, wall: float) -> Memory:
    """The memory after `snapshot`; its `publication` is what to tell. `wall` is the wall clock, for people only."""
    trail = follow(memory.trail, snapshot, policy)
    state = node_state(snapshot, trail, policy)
    before = memory.publication
    pulses: dict[str, Pulses] = {}
    verdicts: dict[str, Verdict] = {}
    for role in policy.roles:
        known = memory.pulses.get(role.name, {})
        if trail.overslept:
            known = _stale(known, snapshot.started_at)
        findings = examine(_view(known, role, snapshot, trail, policy))
        pulses[role.name] = _advance(known, findings, snapshot)
        verdict = decide(role, (finding.gate for finding in findings), pulses[role.name], state)
        verdicts[role.name] = replace(verdict, since_wall=_since(before.verdicts.get(role.name), verdict, wall))
    publication = Publication(
        snapshot=snapshot,
        wall_offset=wall - snapshot.ended_at,
        facts=snapshot if snapshot.server is not None else before.facts,
        state=state,
        state_since_wall=before.state_since_wall if state is before.state else wall,
        verdicts=verdicts,
        gates={name: _reports(gates, wall - snapshot.ended_at) for name, gates in pulses.items()},
        galera=trail.galera,
    )
    return Memory(trail=trail, pulses=pulses, publication=publication)


def adapt(memory: Memory, before: Policy, after: Policy, wall: float) -> Memory:
    """The memory under a new policy: roles that are new or different are judged anew by the last facts.

    What was found about the connection goes on: a reload in the middle of a hold is no reason to fall.
    """
    facts, publication = memory.publication.facts, memory.publication
    pulses, verdicts = dict(memory.pulses), dict(publication.verdicts)
    connection = _connection_only(next(iter(memory.pulses.values()), {}))
    lost = any(pulse.effect is Outcome.FAIL for pulse in connection.values())
    for role in after.roles:
        if role in before.roles:
            continue
        if facts is None:
            verdicts[role.name] = Verdict(role=role.name, state=publication.state, since_wall=wall)
            continue
        findings = examine(_view({}, role, facts, memory.trail, after))
        pulses[role.name] = connection if lost else {**_advance({}, findings, facts), **connection}
        verdict = decide(role, (finding.gate for finding in findings), pulses[role.name], publication.state)
        since = _since(publication.verdicts.get(role.name), verdict, wall)
        verdicts[role.name] = replace(verdict, since_wall=since)
    names = {role.name for role in after.roles}
    return replace(
        memory,
        pulses={name: gates for name, gates in pulses.items() if name in names},
        publication=replace(publication, verdicts={role.name: verdicts[role.name] for role in after.roles}),
    )


def _view(pulses: Pulses, role: Role, snapshot: Snapshot, trail: Trail, policy: Policy) -> View:
    fallen = frozenset(gate for gate, pulse in pulses.items() if pulse.effect is Outcome.FAIL)
    return View(snapshot=snapshot, trail=trail, policy=policy, role=role, fallen=fallen)


def _stale(pulses: Pulses, now: float) -> Pulses:
    """After a time without samples the server may have changed unseen: `fresh` comes back as every gate does."""
    missed = Finding(gate=Gate.FRESH, outcome=Outcome.FAIL, reason=Reason.STALE)
    fallen = advance(pulses.get(Gate.FRESH), missed, now)
    return {**pulses, Gate.FRESH: fallen} if fallen is not None else pulses


def _advance(pulses: Pulses, findings: tuple[Finding, ...], snapshot: Snapshot) -> Pulses:
    after: dict[Gate, Pulse] = {}
    for finding in findings:
        pulse = advance(pulses.get(finding.gate), finding, snapshot.ended_at)
        if pulse is not None:
            unasked = finding.outcome is Outcome.UNSEEN and finding.gate in _CONNECTION_GATES
            after[finding.gate] = rest(pulse) if unasked else pulse
    lost = any(gate in _CONNECTION_GATES and pulse.effect is Outcome.FAIL for gate, pulse in after.items())
    if lost and snapshot.server is None:
        # What a server said before it was lost must not count when it is back: its first facts decide at once.
        return _connection_only(after)
    return after


def _connection_only(pulses: Pulses) -> Pulses:
    return {gate: pulse for gate, pulse in pulses.items() if gate in _CONNECTION_GATES}


def _since(before: Verdict | None, verdict: Verdict, wall: float) -> float:
    unchanged = before is not None and before.status is verdict.status and before.reasons != (Reason.STARTING,)
    return before.since_wall if before is not None and unchanged else wall


def _reports(pulses: Pulses, wall_offset: float) -> tuple[GateReport, ...]:
    return tuple(
        GateReport(
            finding=pulse.finding if pulse.finding.bad else replace(pulse.finding, reason=_told(pulse)),
            passed=pulse.effect is not Outcome.FAIL,
            pending=pulse.pending,
            since_wall=pulse.changed_at + wall_offset,
        )
        for pulse in pulses.values()
    )


def _told(pulse: Pulse) -> Reason | None:
    """A gate that is down although the samples are good again still has its reason."""
    return pulse.cause.reason if pulse.effect is not Outcome.PASS else None
