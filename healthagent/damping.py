"""Rise, fall and hold: what a gate's findings make of the gate. A reducer with the clock as a parameter.

Falling takes the finding's own hold; coming back takes its rise_seconds over at least two samples, and twice as long
for every fall beyond five in ten minutes, up to a minute. So a flapping input cannot make the output flap faster.
"""

from healthagent.model import Damping, Finding, Outcome, Pulse, Turn

__all__ = ["advance", "rest", "rise_seconds", "turn_at"]

RISE_SAMPLES = 2
FALLS_FREE = 5
FALLS_WINDOW_SECONDS = 600.0
RISE_MAX_SECONDS = 60.0
SEVERITY = {Outcome.PASS: 0, Outcome.NOTE: 0, Outcome.CAP: 1, Outcome.FAIL: 2}
EFFECTS = {Outcome.PASS: Outcome.PASS, Outcome.NOTE: Outcome.PASS, Outcome.CAP: Outcome.CAP, Outcome.FAIL: Outcome.FAIL}


def advance(pulse: Pulse | None, finding: Finding, now: float) -> Pulse | None:
    """The gate after one more finding; a gate that was never seen decides at its first one."""
    if finding.outcome is Outcome.UNSEEN:
        return pulse
    if pulse is None:
        return Pulse(EFFECTS.get(finding.outcome, Outcome.PASS), now, finding.reason)
    effect = EFFECTS.get(finding.outcome, pulse.effect)
    cause = finding.reason if finding.bad else pulse.cause
    if effect is pulse.effect:
        # the usual case, and most of the cost: the very same pulse
        return pulse if pulse.turn is None and cause is pulse.cause else pulse._replace(cause=cause, turn=None)
    falling = SEVERITY[effect] > SEVERITY[pulse.effect]
    turn = pulse.turn if pulse.turn is not None and pulse.turn.falling == falling else Turn(now, 0, falling)
    turn = turn._replace(samples=turn.samples + 1)
    falls = tuple(at for at in pulse.falls if now - at < FALLS_WINDOW_SECONDS)
    damping = finding.damping
    seconds = damping.hold_seconds if falling else rise_seconds(damping, len(falls))
    if now - turn.at < seconds or turn.samples < (damping.hold_samples if falling else RISE_SAMPLES):
        return pulse._replace(cause=cause, turn=turn, falls=falls)
    return Pulse(effect, now, cause, None, (*falls, now) if falling else falls)


def rest(pulse: Pulse | None) -> Pulse | None:
    """The gate after a sample that could not tell: a turn that has begun must begin anew."""
    return pulse._replace(turn=None) if pulse is not None and pulse.turn is not None else pulse


def turn_at(pulse: Pulse, finding: Finding) -> float:
    """When the turn that has begun will have lasted long enough, if the findings stay as the last one."""
    if pulse.turn is None:
        return float("inf")
    damping = finding.damping
    return pulse.turn.at + (damping.hold_seconds if pulse.turn.falling else rise_seconds(damping, len(pulse.falls)))


def rise_seconds(damping: Damping, falls: int) -> float:
    """How long the gate must be good before it counts as good; `falls` in the last ten minutes."""
    doublings = max(0, min(falls, 64) - FALLS_FREE)
    return min(damping.rise_seconds * 2.0**doublings, max(RISE_MAX_SECONDS, damping.rise_seconds))
