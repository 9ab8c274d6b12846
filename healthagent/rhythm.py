"""When the server is looked at next, and whether that is a whole probe or a glance."""

from healthagent.facts import FailureKind, LocalState, Snapshot

__all__ = ["Rhythm"]

# A refused connection costs next to nothing, and a server that has been started again is to be seen soon. One that is
# just dying may still take a connection and reset it.
SHUT = (FailureKind.REFUSED, FailureKind.LOST)
REFUSED_SECONDS = 0.05
# Measured: the script of a state transfer starts up to 10 ms after the node has entered state 2, the same state that
# a backup or a lock brings. What it is must not wait for the next probe; if no script comes, that was it.
SCRIPT_SECONDS, SCRIPT_WITHIN_SECONDS = 0.03, 0.5
# The answer comes as soon as a hold or a rise is over, but not by more than ten probes a second, or one for each
# `fast_interval` where that is shorter. Only a donor's script is looked for more often, for half a second.
PENDING_SECONDS = 0.1
SLACK_SECONDS = 0.001  # a timer may be that early


class Rhythm:
    """Of one server. Times are seconds of healthagent.clock; `interval` and `fast` as configured, in seconds."""

    def __init__(self) -> None:
        self._whole_at = 0.0
        self._refusals = 0
        self._donor_since: float | None = None

    def whole(self, now: float) -> bool:
        """Whether a look that comes now is a probe, and no glance."""
        return now >= self._whole_at - SLACK_SECONDS

    def sampled(self, snapshot: Snapshot, due_at: float | None, *, interval: float, fast: float) -> float:
        """When to look next after a sample. `due_at`: when a gate may turn, as the memory says."""
        refused = snapshot.failure is not None and snapshot.failure.kind in SHUT
        self._refusals = self._refusals + 1 if refused else 0
        wait = interval if due_at is None else _until(due_at - snapshot.started_at, interval, fast)
        if refused:
            wait = min(wait, REFUSED_SECONDS * 2.0 ** min(self._refusals - 1, 16))
        if self._waits_for_a_script(snapshot):
            wait = min(wait, SCRIPT_SECONDS)
        self._whole_at = snapshot.started_at + wait
        if snapshot.failure is not None:  # there is nothing to compare a glance with
            return self._whole_at
        return self.glanced(snapshot.started_at, fast=fast)

    def glanced(self, started: float, *, fast: float) -> float:
        """When to look next after a glance that found nothing new. One right before a whole probe is left out."""
        at = started + fast
        return at if at + fast / 2 < self._whole_at else self._whole_at

    def _waits_for_a_script(self, snapshot: Snapshot) -> bool:
        galera = snapshot.galera
        if galera is None or galera.local_state != LocalState.DONOR_DESYNCED:
            self._donor_since = None
            return False
        if self._donor_since is None:
            self._donor_since = snapshot.ended_at
        young = snapshot.ended_at - self._donor_since < SCRIPT_WITHIN_SECONDS
        return young and snapshot.evidence.transfers == ()


def _until(wanted: float, interval: float, fast: float) -> float:
    if wanted < interval:
        return min(interval, max(min(fast, PENDING_SECONDS), wanted))
    # a hair more than the interval rather than a hair too early, and then once more
    return wanted if wanted < 1.1 * interval else interval
