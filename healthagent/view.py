"""What a gate may look at, and the answer of those gates that hold nothing back."""

from dataclasses import dataclass

from healthagent.model import Finding, Galera, Gate, Outcome, Policy, Role, Server, Snapshot
from healthagent.reasons import Reason
from healthagent.trail import Trail

__all__ = ["View", "at_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a gate may look at. `fallen`: the gates of this role that are down now, for "back at half" rules."""

    snapshot: Snapshot
    trail: Trail
    policy: Policy
    role: Role
    fallen: frozenset[Gate] = frozenset()

    @property
    def server(self) -> Server:
        return self.snapshot.server or Server()

    @property
    def galera(self) -> Galera:
        return self.snapshot.galera or Galera()


def at_once(gate: Gate, passed: bool, reason: Reason, *, value: object, limit: object) -> Finding:
    """A finding without a hold."""
    return Finding(
        gate=gate,
        outcome=Outcome.PASS if passed else Outcome.FAIL,
        reason=None if passed else reason,
        value=value if isinstance(value, str | int | float) else None,
        limit=limit if isinstance(limit, str | int | float) else None,
    )
