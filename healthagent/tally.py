"""What has happened since the start, in plain numbers: checks, transitions, probes, reloads.

Kept over reloads, and whatever has been counted once stays: a role or a listener that is gone keeps its numbers.
"""

from bisect import bisect_left

from healthagent.decide import own, turned
from healthagent.facts import FailureKind, Snapshot
from healthagent.model import Publication, Status
from healthagent.reasons import State

__all__ = ["BUCKETS", "CONTROL", "Cell", "Tally"]

# of probe durations, in seconds: at rest a probe takes 1 or 2 ms, the default timeouts end one after 1.44 s
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
CONTROL = "control"  # the listener that is the control socket; others go by their addresses
Cell = list[int]  # one number: whoever counts keeps the cell and adds to it, without looking for it again


class Tally:
    """`checks`: by listener, role (empty where none was asked) and code. `transitions`: by role and what it became.

    `durations`: the probes by BUCKETS, the last number of those beyond; `loaded_wall`: when the configuration in use
    was loaded, None before.
    """

    def __init__(self) -> None:
        self.checks: dict[tuple[str, str, str], Cell] = {}
        self.transitions: dict[tuple[str, Status], int] = {}
        self.states = dict.fromkeys(State, 0)
        self.failures = dict.fromkeys(FailureKind, 0)
        self.durations = [0] * (len(BUCKETS) + 1)
        self.duration_seconds = 0.0
        self.reload_failed = False
        self.loaded_wall: float | None = None
        self._told: Publication | None = None
        self._sample: Snapshot | None = None

    def cell(self, listener: str, role: str, code: str) -> Cell:
        """Where the checks of this kind are counted."""
        return self.checks.setdefault((listener, role, code), [0])

    def loaded(self, wall: float) -> None:
        """A configuration is in use from now on."""
        self.reload_failed, self.loaded_wall = False, wall

    def follow(self, publication: Publication) -> None:
        """Counts what has changed since the publication before. To be called with each, and as often as one likes."""
        before, self._told = self._told, publication
        if publication.snapshot is not None and publication.snapshot is not self._sample:
            self._sampled(publication.snapshot)
        for name in own(publication):
            for status in Status:
                self.transitions.setdefault((name, status), 0)
        if before is None:
            return
        for name in turned(before, publication):
            if name in before.verdicts:  # else it is new, and has become nothing else
                self.transitions[name, publication.verdicts[name].status] += 1
        if before.state is not publication.state:
            self.states[publication.state] += 1

    def _sampled(self, snapshot: Snapshot) -> None:
        self._sample = snapshot
        self.durations[bisect_left(BUCKETS, snapshot.duration_seconds)] += 1
        self.duration_seconds += snapshot.duration_seconds
        if snapshot.failure is not None:
            self.failures[snapshot.failure.kind] += 1
