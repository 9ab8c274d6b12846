"""Rise, fall and hold: what a gate's findings make of the gate. A reducer with the clock as a parameter.

Falling takes the finding's own hold; coming back takes its rise_seconds over at least two samples, and twice as long
for every fall beyond five in ten minutes, up to a minute. So a flapping input cannot make the output flap faster.
"""

from dataclasses import dataclass, replace

from healthagent.model import Finding, Outcome

__all__ = ["Pulse", "advance", "rest"]

RISE_SAMPLES = 2
FALLS_FREE = 5
FALLS_WINDOW_SECONDS = 600.0
RISE_MAX_SECONDS = 60.0
SEVERITY = {Outcome.PASS: 0, Outcome.CAP: 1, Outcome.FAIL: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One gate of one role. `effect` is what counts; `finding` what the last sample said.

    `cause`: the last finding that was bad, whose reason is told while the gate is down; `turn_at`: since when the
    samples have contradicted the effect; `falls`: when the gate fell, within the last ten minutes.
    """

    effect: Outcome
    changed_at: float
    finding: Finding
    cause: Finding
    turn_at: float | None = None
    turn_samples: int = 0
    falls: tuple[float, ...] = ()

    @property
    def pending(self) -> bool:
        """The samples say otherwise already, and the gate waits for its hold or rise to end."""
        return self.turn_at is not None


def advance(pulse: Pulse | None, finding: Finding, now: float) -> Pulse | None:
    """The gate after one more finding; a gate that was never seen decides at its first one."""
    if finding.outcome is Outcome.UNSEEN:
        return pulse
    if pulse is None:
        return Pulse(effect=finding.outcome, changed_at=now, finding=finding, cause=finding)
    cause = finding if finding.bad else pulse.cause
    steady = replace(pulse, finding=finding, cause=cause, turn_at=None, turn_samples=0)
    if finding.outcome is pulse.effect:
        return steady
    falling = SEVERITY[finding.outcome] > SEVERITY[pulse.effect]
    same_turn = pulse.turn_at is not None and falling == (SEVERITY[pulse.finding.outcome] > SEVERITY[pulse.effect])
    turn_at = pulse.turn_at if same_turn and pulse.turn_at is not None else now
    samples = pulse.turn_samples + 1 if same_turn else 1
    falls = tuple(at for at in pulse.falls if now - at < FALLS_WINDOW_SECONDS)
    seconds = finding.hold_seconds if falling else rise_seconds(finding, len(falls))
    if now - turn_at < seconds or samples < (finding.hold_samples if falling else RISE_SAMPLES):
        return replace(steady, turn_at=turn_at, turn_samples=samples)
    return replace(steady, effect=finding.outcome, changed_at=now, falls=(*falls, now) if falling else falls)


def rest(pulse: Pulse) -> Pulse:
    """The gate after a sample that could not tell: a turn that has begun must begin anew."""
    return replace(pulse, turn_at=None, turn_samples=0)


def rise_seconds(finding: Finding, falls: int) -> float:
    """How long the gate must be good before it counts as good; `falls` in the last ten minutes."""
    doublings = max(0, min(falls, 64) - FALLS_FREE)
    return min(finding.rise_seconds * 2.0**doublings, max(RISE_MAX_SECONDS, finding.rise_seconds))
