"""What a gate may look at, and the answers of those gates that hold nothing back."""

from dataclasses import dataclass

from healthagent.facts import Galera, Server, Snapshot
from healthagent.model import NOW, Damping, Finding, Outcome, Shown
from healthagent.policy import Policy
from healthagent.reasons import Reason, State
from healthagent.trail import Trail

__all__ = ["View", "judged"]

NO_SERVER, NO_GALERA = Server(), Galera()


@dataclass(frozen=True, slots=True)
class View:
    """One sample and what went before it. A role's settings come to a gate as arguments, so that roles which agree in
    them share its answer.
    """

    snapshot: Snapshot
    trail: Trail
    policy: Policy
    state: State
    server: Server
    galera: Galera
    now: float

    @classmethod
    def of(cls, snapshot: Snapshot, trail: Trail, policy: Policy, state: State) -> "View":
        server, galera = snapshot.server or NO_SERVER, snapshot.galera or NO_GALERA
        return cls(snapshot, trail, policy, state, server, galera, snapshot.ended_at)


def judged(passed: bool, reason: Reason, value: Shown = None, limit: Shown = None, damping: Damping = NOW) -> Finding:
    """PASS, or FAIL with the reason."""
    if passed:
        return Finding(Outcome.PASS, None, value, limit, damping)
    return Finding(Outcome.FAIL, reason, value, limit, damping)
