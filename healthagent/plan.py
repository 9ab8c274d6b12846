"""The role table laid out for one policy: every check once, however many roles ask it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from healthagent.model import Check
from healthagent.policy import Base, Policy, Role
from healthagent.reasons import Gate
from healthagent.table import ASYNC, CONNECTION, GALERA, Question, Questions

__all__ = ["CONNECTION_CHECKS", "Plan", "Seat", "Table"]

CONNECTION_CHECKS = len(CONNECTION)
# reasons are told in the order of the gates, whatever the order in the table
ORDER = {gate: place for place, gate in enumerate(Gate)}


@dataclass(frozen=True, slots=True)
class Seat:
    """A role and where its checks stand. `key` is its name, or for a request with parameters the whole question."""

    key: str
    role: Role
    checks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The first CONNECTION_CHECKS checks are those of the connection, and asked by every seat."""

    checks: tuple[Check, ...]
    seats: tuple[Seat, ...]
    asked: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, roles: Mapping[str, Role], questions: Mapping[Base, Questions]) -> "Table":
        checks: dict[Check, int] = {}
        seats = []
        for key, role in roles.items():
            # the connection's come first, and nobody can leave them out: without them nothing ends stale facts
            own = [question for question in questions[role.base] if _asks(role, question)]
            own.sort(key=lambda question: ORDER[question.gate])
            asked = [_check(question, role) for question in (*CONNECTION, *own)]
            if key != role.name and role.name in roles:
                # stricter than its role for ever: that one may have fallen more often, and be longer in coming back
                its = roles[role.name]
                asked += [_check(question, its) for question in questions[its.base] if _asks(its, question)]
            seats.append(
                Seat(key, role, tuple(checks.setdefault(check, len(checks)) for check in dict.fromkeys(asked)))
            )
        return cls(tuple(checks), tuple(seats), {seat.key: seat.checks for seat in seats})


@dataclass(frozen=True)
class Plan:
    """`extra`: key -> role, for questions that are asked with parameters; they stand behind the policy's own roles."""

    policy: Policy
    extra: tuple[tuple[str, Role], ...] = ()

    @cached_property
    def roles(self) -> dict[str, Role]:
        return {role.name: role for role in self.policy.roles} | dict(self.extra)

    @cached_property
    def galera(self) -> Table:
        return Table.of(self.roles, GALERA)

    @cached_property
    def plain(self) -> Table:
        return Table.of(self.roles, ASYNC)

    def table(self, galera: bool | None) -> Table:
        """The table of a Galera node, or of any other server."""
        return self.galera if galera else self.plain


def _asks(role: Role, question: Question) -> bool:
    if question.gate in role.ignore:
        return False
    return question.when is None or bool(question.when(role))


def _check(question: Question, role: Role) -> Check:
    return Check(question.gate, question.ask, tuple(getattr(role, name) for name in question.settings))
