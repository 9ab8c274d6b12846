"""Recorded samples through the pure core, under its clock: what an agent beside that server would have said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.build import ROLES, Agent
from tests.recorded.sample import Sample

__all__ = ["ROLE_NAMES", "Outcome", "replay"]

PROBE_SECONDS = 0.5
ROLE_NAMES = tuple(role.name for role in ROLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What stands at the end, when the condition has lasted. `course`: every state and who was up, as they changed."""

    state: str
    roles: dict[str, str]
    course: tuple[str, ...]

    @property
    def up(self) -> set[str]:
        return {role for role, said in self.roles.items() if said == "up"}

    def as_json(self) -> dict[str, Any]:
        return {"state": self.state, **self.roles, "course": list(self.course)}


def replay(samples: Sequence[Sample]) -> Outcome:
    """An agent that starts with the first sample and probes every half second."""
    agent = Agent()
    course: list[str] = []
    for sample, after in _probes(samples):
        agent.sees(sample.snapshot, after=after)
        said = f"{agent.state}: {' '.join(_up(agent)) or '-'}"
        if not course or course[-1] != said:
            course.append(said)
    roles = {role: "up" if agent.up(role) else agent.says(role) for role in ROLE_NAMES}
    return Outcome(state=agent.state, roles=roles, course=tuple(course))


def _probes(samples: Sequence[Sample]) -> Iterator[tuple[Sample, float]]:
    """Each sample as often as it was true when a probe was due, and how long after the probe before."""
    since = PROBE_SECONDS
    for sample in samples:
        left = sample.lasts_seconds
        yield sample, since
        while left > PROBE_SECONDS:
            left = round(left - PROBE_SECONDS, 3)
            yield sample, PROBE_SECONDS
        since = left


def _up(agent: Agent) -> list[str]:
    return [role for role in ROLE_NAMES if agent.up(role)]
