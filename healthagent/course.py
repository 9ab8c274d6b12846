"""What was told over time: turns of roles and states; how long what stood, and where two courses differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from healthagent.model import Shown, Status
from healthagent.reasons import Reason

__all__ = ["Course", "Difference", "Event", "Facing", "StateTurn", "Tally", "Turn", "differences", "tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facing:
    """A gate that speaks against a role, or is being held: what it found, and its limit."""

    gate: str
    value: Shown
    limit: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A role from one status to another; None: nothing is told, or nothing was recorded. `at`: seconds since the
    record begins. `aged`: no sample said so, the facts grew too old.
    """

    at: float
    wall: float
    role: str
    before: Status | None
    after: Status | None
    weight: int = 0
    reasons: tuple[Reason, ...] = ()
    facing: tuple[Facing, ...] = ()
    aged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTurn:
    """The node's state, by its words; `message` of the failure, where there is one."""

    at: float
    wall: float
    before: str
    after: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to the agent: it `started`, `reloaded`, `stopped`, or `ended` without a word; it `lost samples`,
    and is `recording` (again) while it runs; somebody has `acknowledged` something.
    """

    at: float
    wall: float
    word: str


@dataclass(slots=True)
class Course:
    """All that was told, in the order in which it was, until `seconds` (and `wall`)."""

    turns: list[Turn] = field(default_factory=list)
    states: list[StateTurn] = field(default_factory=list)
    seconds: float = 0.0
    wall: float = 0.0

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(turn.role for turn in self.turns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A role over the whole record, in seconds; `away`: nothing was told or recorded. `falls`: how often it was up no
    more.
    """

    up: float
    drain: float
    down: float
    away: float
    falls: int
    longest_down: float


def tally(course: Course, role: str) -> Tally:
    """How long the role was what."""
    spans = list(_spans(course, role))
    sums = {status: sum(end - turn.at for turn, end, _ in spans if turn.after is status) for status in (*Status, None)}
    return Tally(
        up=sums[Status.UP],
        drain=sums[Status.DRAIN],
        down=sums[Status.DOWN],
        away=sums[None] + (spans[0][0].at if spans else course.seconds),
        falls=sum(turn.before is Status.UP and turn.after is not None for turn, _, _ in spans),
        longest_down=max((end - turn.at for turn, end, _ in spans if turn.after is Status.DOWN), default=0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """For so long two courses tell different things of a role: the turns that they differ by."""

    role: str
    at: float
    seconds: float
    wall: float
    until_wall: float
    one: Turn
    other: Turn


def differences(one: Course, other: Course) -> tuple[Difference, ...]:
    """In the order in which they begin, of the roles that both have."""
    found = [difference for role in one.roles if role in other.roles for difference in _differ(one, other, role)]
    return tuple(sorted(found, key=lambda difference: difference.at))


def _differ(one: Course, other: Course, role: str) -> Iterator[Difference]:
    ours, theirs = list(_spans(one, role)), list(_spans(other, role))
    mine = its = 0
    while mine < len(ours) and its < len(theirs):
        (turn, end, end_wall), (its_turn, its_end, its_end_wall) = ours[mine], theirs[its]
        at, until = max(turn.at, its_turn.at), min(end, its_end)
        if None not in (turn.after, its_turn.after) and turn.after is not its_turn.after and until > at:
            yield Difference(
                role=role,
                at=at,
                seconds=until - at,
                wall=turn.wall if turn.at >= its_turn.at else its_turn.wall,
                until_wall=end_wall if end <= its_end else its_end_wall,
                one=turn,
                other=its_turn,
            )
        mine, its = mine + (end <= its_end), its + (its_end <= end)


def _spans(course: Course, role: str) -> Iterator[tuple[Turn, float, float]]:
    """Each turn of the role, and until when (seconds, wall) it stood."""
    turns = [turn for turn in course.turns if turn.role == role]
    for turn, after in pairwise([*turns, None]):
        if turn is not None:
            yield turn, *((course.seconds, course.wall) if after is None else (after.at, after.wall))
