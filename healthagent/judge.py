"""One sample through the pure core: Snapshot -> Publication, with what must be remembered between samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from healthagent.assess import node_state
from healthagent.damping import advance, rest, turn_at
from healthagent.decide import decide, speaks
from healthagent.facts import Snapshot
from healthagent.model import UNSEEN, Check, Factors, Finding, Outcome, Publication, Pulse, Status, Verdict
from healthagent.plan import CONNECTION_CHECKS, Plan, Seat, Table
from healthagent.policy import Policy, Role, Topology
from healthagent.reasons import Reason, State
from healthagent.trail import Pins, Trail, follow
from healthagent.view import View
from healthagent.weights import LEAST, Pace, factors, follow_pace, weight

__all__ = ["Memory", "acknowledge", "adapt", "judge", "repinned", "starting"]

Pulses = tuple[Pulse | None, ...]
Findings = tuple[Finding, ...]
MISSED = Finding(Outcome.FAIL, Reason.STALE)
EVS_CHANGING = ("GATHER", "INSTALL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All that outlives a sample: the plan, the trail, what was published last, and each role's pace."""

    plan: Plan
    publication: Publication = field(default_factory=Publication)
    paces: Mapping[str, Pace] = field(default_factory=dict)

    @property
    def trail(self) -> Trail:
        return self.publication.trail

    @property
    def due_at(self) -> float | None:
        """When the next sample should come, if before its time: a gate may turn then, or the members are finding out
        who is still there. In the past: as soon as possible.
        """
        latest = self.publication.snapshot  # of a server that is away nothing is about to change
        if latest is not None and latest.galera is not None and latest.galera.evs_state in EVS_CHANGING:
            return latest.ended_at
        turns = zip(self.publication.pulses, self.publication.findings, strict=True)
        due = (turn_at(pulse, finding) for pulse, finding in turns if pulse is not None and pulse.pending)
        return min(due, default=None)


def starting(policy: Policy, wall: float, pins: Pins | None = None) -> Memory:
    """Before the first sample: every role down, `starting`. `pins`: what an earlier process has left."""
    verdicts = {role.name: Verdict(role=role.name, since_wall=wall, dry_run=role.dry_run) for role in policy.roles}
    trail = Trail(pins=pins or Pins())
    return Memory(plan=Plan(policy), publication=Publication(verdicts=verdicts, trail=trail, state_since_wall=wall))


def judge(memory: Memory, snapshot: Snapshot, wall: float) -> Memory:
    """The memory after `snapshot`; its `publication` is what to tell. `wall` is the wall clock, for people only."""
    plan, before = memory.plan, memory.publication
    trail = follow(before.trail, snapshot, plan.policy)
    state = node_state(snapshot, trail, plan.policy)
    table = plan.table(trail.galera)
    view = View.of(snapshot, trail, plan.policy, state)
    known, findings = _carried(before, table)
    if trail.overslept:
        # after a time without samples the server may have changed unseen: `fresh` comes back as every gate does
        known = (advance(known[0], MISSED, snapshot.started_at) if known[0] else None, *known[1:])
    seen = _examine(view, table.checks)
    pulses = _advance(known, seen, snapshot)
    findings = tuple(old if new.outcome is Outcome.UNSEEN else new for old, new in zip(findings, seen, strict=True))
    publication = replace(
        before,
        snapshot=snapshot,
        facts=snapshot if snapshot.server is not None else before.facts,
        trail=trail,
        wall_offset=wall - snapshot.ended_at,
        state=state,
        state_since_wall=before.state_since_wall if state is before.state else wall,
        checks=table.checks,
        findings=findings,
        pulses=pulses,
        asked=table.asked,
    )
    return _conclude(memory, publication, view, table.seats, wall)


def adapt(memory: Memory, plan: Plan, wall: float) -> Memory:
    """The memory under a new plan: checks that are new or different are judged anew by the last facts.

    What was found about the connection goes on: a reload in the middle of a hold is no reason to fall.
    """
    before, facts = memory.publication, memory.publication.facts
    verdicts = {seat: _kept(before.verdicts.get(seat), role, before.state, wall) for seat, role in plan.roles.items()}
    publication = replace(before, verdicts=verdicts)
    if facts is None:
        return replace(memory, plan=plan, publication=publication)
    table = plan.table(before.trail.galera)
    known, findings = _carried(before, table)
    view = View.of(facts, before.trail, plan.policy, before.state)
    lost = any(pulse is not None and pulse.effect is Outcome.FAIL for pulse in known[:CONNECTION_CHECKS])
    asked = [pulse is None and not lost and index >= CONNECTION_CHECKS for index, pulse in enumerate(known)]
    found = tuple(
        check.ask(view, *check.settings) if new else finding
        for new, check, finding in zip(asked, table.checks, findings, strict=True)
    )
    pulses = tuple(
        advance(None, finding, facts.ended_at) if new else pulse
        for new, pulse, finding in zip(asked, known, found, strict=True)
    )
    publication = replace(publication, checks=table.checks, findings=found, pulses=pulses, asked=table.asked)
    return _conclude(replace(memory, plan=plan), publication, view, table.seats, wall)


def repinned(memory: Memory, pins: Pins) -> Memory:
    """The memory with other pins: the next sample is judged by them."""
    publication = replace(memory.publication, trail=replace(memory.trail, pins=pins))
    return replace(memory, publication=publication)


def acknowledge(memory: Memory, *, cluster: bool) -> tuple[Pins, tuple[str, ...]]:
    """The pins without what the state says is latched, and its word; `cluster`: the pinned cluster too.

    One at a time: whoever acknowledges that wsrep is off has not seen that the node was voted out.
    """
    pins, state = memory.trail.pins, memory.publication.state
    # a configured topology is not for us to forget
    off = state is State.WSREP_OFF and memory.plan.policy.topology is Topology.AUTO
    voted_out = pins.inconsistent and state is State.INCONSISTENT
    acknowledged = []
    if voted_out:
        acknowledged.append(State.INCONSISTENT.word)
    if off:
        acknowledged.append(State.WSREP_OFF.word)
    if cluster and pins.cluster_uuid is not None:
        acknowledged.append(Reason.OTHER_CLUSTER.word)
    after = replace(
        pins,
        galera=pins.galera and not off,
        cluster_uuid=None if cluster else pins.cluster_uuid,
        inconsistent=pins.inconsistent and not voted_out,
        copying=pins.copying and not voted_out,
        plain=pins.plain or off,
    )
    return after, tuple(acknowledged)


def _carried(before: Publication, table: Table) -> tuple[Pulses, Findings]:
    """Pulses and findings in the table's order; those of checks that were not asked before are unknown."""
    if before.checks is table.checks:
        return before.pulses, before.findings
    known: dict[Check, tuple[Pulse | None, Finding]] = {
        check: (pulse, finding)
        for check, pulse, finding in zip(before.checks, before.pulses, before.findings, strict=True)
    }
    carried = [known.get(check, (None, UNSEEN)) for check in table.checks]
    return tuple(pulse for pulse, _ in carried), tuple(finding for _, finding in carried)


def _examine(view: View, checks: tuple[Check, ...]) -> Findings:
    """What every check finds; without facts only those of the connection are asked."""
    if view.snapshot.server is not None:
        return tuple([check.ask(view, *check.settings) for check in checks])
    found = [check.ask(view) for check in checks[:CONNECTION_CHECKS]]
    return (*found, *[UNSEEN] * (len(checks) - CONNECTION_CHECKS))


def _advance(known: Pulses, findings: Findings, snapshot: Snapshot) -> Pulses:
    now = snapshot.ended_at
    pulses = [advance(pulse, finding, now) for pulse, finding in zip(known, findings, strict=True)]
    if snapshot.server is not None:
        return tuple(_rested(pulses, findings))
    connection = _rested(pulses[:CONNECTION_CHECKS], findings[:CONNECTION_CHECKS])
    if any(pulse is not None and pulse.effect is Outcome.FAIL for pulse in connection):
        # What a server said before it was lost must not count when it is back: its first facts decide at once.
        return (*connection, *[None] * (len(pulses) - CONNECTION_CHECKS))
    return (*connection, *pulses[CONNECTION_CHECKS:])


def _rested(pulses: list[Pulse | None], findings: Findings) -> list[Pulse | None]:
    return [
        rest(pulse) if finding.outcome is Outcome.UNSEEN else pulse
        for pulse, finding in zip(pulses, findings, strict=True)
    ]


def _conclude(memory: Memory, publication: Publication, view: View, seats: tuple[Seat, ...], wall: float) -> Memory:
    """The verdicts; one that has not changed stays the very same object, so that nobody renders it anew."""
    pulses, findings = publication.pulses, publication.findings
    loud = frozenset(index for index, pair in enumerate(zip(pulses, findings, strict=True)) if speaks(*pair))
    verdicts: dict[str, Verdict] = {}
    told: dict[str, Factors] = {}
    paces: dict[str, Pace] = {}
    for seat in seats:
        speaking = [index for index in seat.checks if index in loud] if loud else ()
        status, capped, reasons = decide(speaking, pulses, findings, publication.state, drain=seat.role.drain)
        before, weighed = memory.publication.verdicts.get(seat.key), 0
        told[seat.key] = found = _factors(memory.publication, view, seat)
        if status is Status.UP:
            wanted = LEAST if capped else weight(found)
            went_on = memory.paces.get(seat.key)
            paces[seat.key] = pace = follow_pace(went_on, wanted, view.now, seat.role.weights)
            weighed = pace.weight
            if seat.key != seat.role.name and seat.role.name in verdicts:  # a question never gets more than its role
                weighed = min(weighed, verdicts[seat.role.name].weight)
        verdicts[seat.key] = _verdict(before, seat, status, weighed, publication.state, reasons, wall)
    return Memory(plan=memory.plan, publication=replace(publication, verdicts=verdicts, factors=told), paces=paces)


def _factors(before: Publication, view: View, seat: Seat) -> Factors:
    """Of a sample without facts those of the last ones: what is not known any more must not raise a weight."""
    last = before.factors.get(seat.key) if view.snapshot.server is None else None
    return last or factors(view, seat.role)


def _verdict(
    before: Verdict | None,
    seat: Seat,
    status: Status,
    weight: int,
    state: State,
    reasons: tuple[Reason, ...],
    wall: float,
) -> Verdict:
    since = wall
    if before is not None and before.status is status and before.reasons != (Reason.STARTING,):
        same = before.weight == weight and before.state is state and before.dry_run is seat.role.dry_run
        if same and before.reasons == reasons:
            return before
        since = before.since_wall
    return Verdict(
        role=seat.role.name,
        status=status,
        weight=weight,
        state=state,
        reasons=reasons,
        since_wall=since,
        dry_run=seat.role.dry_run,
    )


def _kept(before: Verdict | None, role: Role, state: State, wall: float) -> Verdict:
    """The verdict as it was, until it is judged anew; that of a new role."""
    if before is None:
        return Verdict(role=role.name, since_wall=wall, state=state, dry_run=role.dry_run)
    return before if before.dry_run is role.dry_run else replace(before, dry_run=role.dry_run)
