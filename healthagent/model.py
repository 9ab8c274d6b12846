"""The values that travel from facts to a balancer: Snapshot -> Findings -> Verdict -> Publication.

All are immutable. `None` always means "not known", and unknown never serves. Times named `_at` or `_since` are seconds
of healthagent.clock unless the name says `wall`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from healthagent.facts import Snapshot
from healthagent.reasons import Gate, Reason, State
from healthagent.trail import Trail

__all__ = [
    "DAMPED",
    "NOW",
    "PASSED",
    "UNSEEN",
    "Check",
    "Damping",
    "Factors",
    "Finding",
    "GateReport",
    "Outcome",
    "Publication",
    "Pulse",
    "Shown",
    "Status",
    "Turn",
    "Verdict",
]

Shown = str | int | float | bool | None


class Outcome(Enum):
    PASS = "pass"
    NOTE = "note"  # passes, and the verdict carries the reason
    CAP = "cap"  # serves on, with weight 1
    FAIL = "fail"
    BETWEEN = "between"  # neither beyond the limit nor back at where it is good again: the gate stays as it is
    UNSEEN = "unseen"  # the probe brought nothing about it: what was known last stands


class Damping(NamedTuple):
    """A gate falls when it has been bad for `hold_seconds` over `hold_samples` samples; it comes back when it has been
    good for `rise_seconds` over two. The first sample of all decides at once.
    """

    hold_seconds: float = 0.0
    hold_samples: int = 1
    rise_seconds: float = 0.5


NOW = Damping()
DAMPED = Damping(1.0, 2, 1.0)


class Finding(NamedTuple):
    """What one gate says about one snapshot. `value` and `limit` are for people."""

    outcome: Outcome
    reason: Reason | None = None
    value: Shown = None
    limit: Shown = None
    damping: Damping = NOW

    @property
    def bad(self) -> bool:
        return self.outcome is Outcome.FAIL or self.outcome is Outcome.CAP


PASSED, UNSEEN = Finding(Outcome.PASS), Finding(Outcome.UNSEEN)


class Turn(NamedTuple):
    """Since when, and in how many samples, the findings have contradicted the gate."""

    at: float
    samples: int
    falling: bool


class Pulse(NamedTuple):
    """One gate over time. `effect` (PASS, CAP or FAIL) is what counts, `cause` the reason of the last bad finding,
    `falls` when it fell within the last ten minutes.
    """

    effect: Outcome
    changed_at: float
    cause: Reason | None = None
    turn: Turn | None = None
    falls: tuple[float, ...] = ()

    @property
    def pending(self) -> bool:
        """The samples say otherwise already, and the gate waits for its hold or rise to end."""
        return self.turn is not None


class Check(NamedTuple):
    """One question with the settings it goes by. Roles that agree in them share the check."""

    gate: Gate
    ask: Callable[..., Finding]
    settings: tuple[Any, ...] = ()


class Factors(NamedTuple):
    """What a weight is multiplied from; each from 0 to 1."""

    lag: float = 1.0
    queue: float = 1.0
    flow: float = 1.0
    connections: float = 1.0
    donor: float = 1.0
    warm_up: float = 1.0


class Status(StrEnum):
    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to one role; everything a balancer sees of the role is rendered from this one value. Of a `dry_run`
    a balancer sees nothing.
    """

    role: str
    status: Status = Status.DOWN
    weight: int = 0
    state: State = State.UNKNOWN
    reasons: tuple[Reason, ...] = (Reason.STARTING,)
    since_wall: float = 0.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """One line of `why`: what the gate found last, and what damping made of it."""

    gate: Gate
    finding: Finding
    passed: bool
    pending: bool
    reason: Reason | None
    since_wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the agent says now. Before the first sample: no snapshot and every role down, `starting`.

    `facts` is the last snapshot that brought any; `wall_offset` turns our clock's seconds into wall clock ones;
    `checks`, `findings` and `pulses` go side by side, and `asked` says which of them a role asks. `expired_wall`: since
    when the facts have been too old; `expired_age`: how old they were when that was told, in seconds.
    """

    snapshot: Snapshot | None = None
    facts: Snapshot | None = None
    trail: Trail = field(default_factory=Trail)
    wall_offset: float = 0.0
    state: State = State.UNKNOWN
    state_since_wall: float = 0.0
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    factors: Mapping[str, Factors] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    pulses: tuple[Pulse | None, ...] = ()
    asked: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    expired_wall: float | None = None
    expired_age: float | None = None
