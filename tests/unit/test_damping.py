"""The reducer by itself: hold, rise, samples."""

from healthagent.damping import advance
from healthagent.model import Damping, Finding, Outcome, Pulse
from healthagent.reasons import Reason

GOOD = Finding(Outcome.PASS)
BAD = Finding(Outcome.FAIL, Reason.REPLICA_LAGGING, damping=Damping(1.0, 2))
CAP = Finding(Outcome.CAP, Reason.CONNECTION_LIMIT)
UNSEEN = Finding(Outcome.UNSEEN)


def after(*steps: tuple[float, Finding]) -> Pulse:
    pulse: Pulse | None = None
    for now, finding in steps:
        pulse = advance(pulse, finding, now)
    assert pulse is not None
    return pulse


def test_the_first_finding_decides() -> None:
    assert after((10, BAD)).effect is Outcome.FAIL
    assert after((10, GOOD)).effect is Outcome.PASS
    assert after((10, CAP)).effect is Outcome.CAP


def test_nothing_seen_is_nothing() -> None:
    assert advance(None, UNSEEN, 10) is None


def test_nothing_seen_changes_nothing() -> None:
    pulse = after((10, GOOD), (11, BAD))

    assert advance(pulse, UNSEEN, 100) is pulse


def test_a_hold_takes_its_seconds() -> None:
    assert after((10, GOOD), (11, BAD), (11.9, BAD)).effect is Outcome.PASS
    assert after((10, GOOD), (11, BAD), (12, BAD)).effect is Outcome.FAIL


def test_a_hold_takes_its_samples() -> None:
    patient = BAD._replace(damping=Damping(0.0, 3))

    assert after((10, GOOD), (11, patient), (99, patient)).effect is Outcome.PASS
    assert after((10, GOOD), (11, patient), (11.1, patient), (11.2, patient)).effect is Outcome.FAIL


def test_a_good_sample_ends_a_hold() -> None:
    assert after((10, GOOD), (11, BAD), (11.5, GOOD), (12, BAD), (12.9, BAD)).effect is Outcome.PASS


def test_a_hold_that_is_cut_short_by_a_graver_finding() -> None:
    at_once = BAD._replace(damping=Damping())

    assert after((10, GOOD), (11, BAD), (11.1, at_once)).effect is Outcome.FAIL


def test_pending_while_the_samples_say_otherwise() -> None:
    assert not after((10, GOOD)).pending
    assert after((10, GOOD), (11, BAD)).pending
    assert not after((10, GOOD), (11, BAD), (12, BAD)).pending
    assert after((10, BAD), (11, GOOD)).pending


def test_the_reason_stays_while_the_gate_rises() -> None:
    assert after((10, BAD), (11, GOOD)).cause is Reason.REPLICA_LAGGING


def test_from_cap_to_fail_takes_the_hold_and_from_fail_to_cap_the_rise() -> None:
    assert after((10, CAP), (11, BAD)).effect is Outcome.CAP
    assert after((10, CAP), (11, BAD), (12, BAD)).effect is Outcome.FAIL
    assert after((10, BAD), (11, CAP), (11.4, CAP)).effect is Outcome.FAIL
    assert after((10, BAD), (11, CAP), (11.5, CAP)).effect is Outcome.CAP


def test_a_turn_the_other_way_starts_anew() -> None:
    """Capped, then failing within its hold, then good: the half second counts from the good sample on."""
    assert after((10, CAP), (11, BAD), (11.5, GOOD), (11.9, GOOD)).effect is Outcome.CAP
    assert after((10, CAP), (11, BAD), (11.5, GOOD), (12.0, GOOD)).effect is Outcome.PASS


def test_changed_at_is_when_the_effect_changed() -> None:
    assert after((10, GOOD), (11, BAD)).changed_at == 10
    assert after((10, GOOD), (11, BAD), (12, BAD), (13, BAD)).changed_at == 12
