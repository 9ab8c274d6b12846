"""Counters over time: who pauses the cluster, and whether transactions still get through."""

from dataclasses import dataclass
from typing import NamedTuple

from healthagent.facts import Galera, Snapshot

__all__ = ["MOVING", "NO_FLOW", "Flow", "Standstill", "follow_flow", "follow_standstill"]

WINDOW_SECONDS = 10.0
DDL_SECONDS = 600.0
STEP_SECONDS = 1.0


class Counters(NamedTuple):
    """wsrep_flow_control_sent and wsrep_flow_control_paused_ns at one moment."""

    at: float
    sent: int
    paused_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """`paused`: the part of the last ten seconds in which flow control stood still (0 to 1, None: not known yet).

    All members count the same pauses; `own`: this one has asked for one of them.
    """

    window: tuple[Counters, ...] = ()
    paused: float | None = None
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """`since`: when wsrep_last_committed stopped although something waits; None: it moves, or nothing waits.

    `ddl_before`: the DDL statements before it stopped. If more have begun, one of them may be what everybody waits for.
    """

    last_committed: int | None = None
    ddl_before: int | None = None
    ddl_statements: int | None = None
    ddl_at: float = 0.0
    paused_ns: int | None = None
    since: float | None = None

    def ddl(self, now: float) -> bool:
        """One may be running: every write waits for it, and that is nobody's fault. Not for ever: it may hang too."""
        return self.ddl_statements != self.ddl_before and now - self.ddl_at <= DDL_SECONDS


def follow_flow(flow: Flow, galera: Galera | None, now: float) -> Flow:
    """Counters that fall (a restart, FLUSH STATUS) begin anew."""
    if galera is None or galera.flow_control_sent is None or galera.flow_control_paused_ns is None:
        return NO_FLOW
    latest = Counters(now, galera.flow_control_sent, galera.flow_control_paused_ns)
    window = flow.window
    if window and (latest.sent < window[-1].sent or latest.paused_ns < window[-1].paused_ns):
        window = ()
    while len(window) > 1 and now - window[1].at >= WINDOW_SECONDS:
        window = window[1:]
    first = window[0] if window else latest
    if not window or now - window[-1].at >= STEP_SECONDS:
        window = (*window, latest)
    if now - first.at < STEP_SECONDS / 2:
        return Flow(window=window)
    paused = min(1.0, (latest.paused_ns - first.paused_ns) / 1e9 / (now - first.at))
    return Flow(window=window, paused=round(paused, 3), own=latest.sent > first.sent)


def follow_standstill(before: Standstill, snapshot: Snapshot) -> Standstill:
    """Measured: a DDL statement is counted when it begins, on the members that apply it too, and
    wsrep_last_committed moves when it ends.
    """
    galera, server = snapshot.galera, snapshot.server
    if galera is None or server is None or galera.last_committed is None:
        return MOVING
    running = server.threads_running is None or server.threads_running > 1  # one of them is ours
    waits = bool(galera.recv_queue) or (bool(galera.open_transactions) and running)
    moved = galera.last_committed != before.last_committed
    paused = galera.flow_control_paused_ns != before.paused_ns
    first = before.last_committed is None
    ddl_before = server.ddl_statements if first else before.ddl_statements if moved else before.ddl_before
    since = before.since if before.since is not None and not moved and not paused else snapshot.ended_at
    return Standstill(
        last_committed=galera.last_committed,
        ddl_before=ddl_before,
        ddl_statements=server.ddl_statements,
        ddl_at=before.ddl_at if server.ddl_statements == before.ddl_statements else snapshot.ended_at,
        paused_ns=galera.flow_control_paused_ns,
        since=since if waits else None,
    )


NO_FLOW = Flow()
MOVING = Standstill()
