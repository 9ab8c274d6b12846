"""When the next look comes, and whether it is a whole probe: nine glances need no more than two probes a second."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from healthagent.facts import Evidence, Failure, FailureKind, Snapshot
from healthagent.rhythm import Rhythm
from tests.build import DOWN, HUNG, RSYNC, SYNCED, desynced

INTERVAL, FAST = 0.5, 0.1


def at(snapshot: Snapshot, moment: float) -> Snapshot:
    return replace(snapshot, ended_at=moment, duration_seconds=0.0)


class Look(NamedTuple):
    """When the next look comes, and whether it is a whole probe."""

    at: float
    whole: bool


def sampled(rhythm: Rhythm, snapshot: Snapshot, moment: float, due_at: float | None = None) -> Look:
    until = rhythm.sampled(at(snapshot, moment), due_at, interval=INTERVAL, fast=FAST)
    return Look(until, rhythm.whole(until))


def glanced(rhythm: Rhythm, moment: float) -> Look:
    until = rhythm.glanced(moment, fast=FAST)
    return Look(until, rhythm.whole(until))


def approx(moment: float, *, whole: bool) -> Any:
    return (pytest.approx(moment), whole)


def test_four_glances_between_two_probes() -> None:
    rhythm = Rhythm()
    looks = [sampled(rhythm, SYNCED, 100.0)]
    while not looks[-1].whole:
        looks.append(glanced(rhythm, looks[-1].at))
    assert looks == [*(approx(100.0 + n / 10, whole=False) for n in (1, 2, 3, 4)), approx(100.5, whole=True)]


def test_a_pace_as_fast_as_the_probes_has_no_glances() -> None:
    rhythm = Rhythm()
    until = rhythm.sampled(at(SYNCED, 100.0), None, interval=0.1, fast=0.1)
    assert (until, rhythm.whole(until)) == approx(100.1, whole=True)


def test_the_first_look_and_one_that_comes_late_are_whole() -> None:
    """However long this program was paused: what is told then must not be compared with what was before."""
    rhythm = Rhythm()
    assert rhythm.whole(100.0)
    assert not sampled(rhythm, SYNCED, 100.0).whole
    assert [rhythm.whole(moment) for moment in (100.1, 100.4, 100.5, 107.0)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("due_in", "look"),
    [
        (-5.0, approx(100.1, whole=True)),  # as soon as possible
        (0.04, approx(100.1, whole=True)),
        (0.12, approx(100.12, whole=True)),
        (0.4, approx(100.1, whole=False)),
        (0.52, approx(100.1, whole=False)),
        (9.0, approx(100.1, whole=False)),
    ],
)
def test_a_gate_that_is_about_to_turn_is_probed_then(due_in: float, look: Any) -> None:
    assert sampled(Rhythm(), SYNCED, 100.0, 100.0 + due_in) == look


@pytest.mark.parametrize(("fast", "least"), [(0.5, 0.1), (0.1, 0.1), (0.02, 0.02)])
def test_without_glances_too(fast: float, least: float) -> None:
    assert Rhythm().sampled(at(SYNCED, 100.0), 0.0, interval=INTERVAL, fast=fast) == pytest.approx(100.0 + least)


def test_a_hair_more_than_the_interval_rather_than_once_more() -> None:
    rhythm = Rhythm()
    sampled(rhythm, SYNCED, 100.0, 100.52)
    assert glanced(rhythm, 100.4) == approx(100.52, whole=True)


def test_a_refused_connection_is_tried_again_soon_and_then_less_often() -> None:
    rhythm, moment, waits = Rhythm(), 100.0, []
    dying = replace(DOWN, failure=Failure(kind=FailureKind.LOST, message="reset"))
    for shut in (dying, DOWN, DOWN, dying, DOWN, DOWN):
        look = sampled(rhythm, shut, moment)
        waits.append(round(look.at - moment, 3))
        assert look.whole
        moment = look.at
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


@pytest.mark.parametrize("other", [SYNCED, HUNG, replace(DOWN, failure=Failure(kind=FailureKind.LOGIN, message=""))])
def test_any_other_outcome_ends_the_backing_off(other: Snapshot) -> None:
    rhythm = Rhythm()
    for moment in (100.0, 100.1, 100.2):
        sampled(rhythm, DOWN, moment)
    assert sampled(rhythm, other, 101.0).whole is (other is not SYNCED)
    assert sampled(rhythm, DOWN, 102.0) == approx(102.05, whole=True)


def test_without_facts_there_is_nothing_to_glance_at() -> None:
    assert sampled(Rhythm(), HUNG, 100.0) == approx(100.5, whole=True)


def test_a_donor_whose_script_is_not_there_yet_is_looked_at_again_for_a_while() -> None:
    rhythm = Rhythm()
    nothing = replace(desynced(), evidence=Evidence(transfers=()))
    looks = [sampled(rhythm, nothing, 100.0 + n / 100).whole for n in range(0, 80, 3)]
    assert looks == [n < 50 for n in range(0, 80, 3)]
    sampled(rhythm, SYNCED, 101.0)
    assert sampled(rhythm, nothing, 102.0) == approx(102.03, whole=True)


@pytest.mark.parametrize("transfers", [(RSYNC,), None], ids=["there it is", "it cannot be seen"])
def test_a_donor_that_need_not_be_looked_at_again(transfers: tuple[object, ...] | None) -> None:
    donor = replace(desynced(), evidence=Evidence(transfers=transfers))  # type: ignore[arg-type]
    assert sampled(Rhythm(), donor, 100.0) == approx(100.1, whole=False)
