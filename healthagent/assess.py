"""Facts -> the node's state: `node_state`, and the questions about facts that it shares with the gates.

What a fact means was measured on real servers; docs/how-it-decides.md keeps the table.
"""

from collections.abc import Sequence

from healthagent.facts import (
    Failure,
    FailureKind,
    Galera,
    LocalState,
    ProcessState,
    Replication,
    Server,
    Snapshot,
    Transfer,
)
from healthagent.links import link_limit_seconds
from healthagent.policy import Policy, Topology
from healthagent.reasons import Reason, State
from healthagent.trail import Episode, Trail, provider_loaded

__all__ = [
    "FATAL_BINLOG_ERRNO",
    "PROGRESS_SECONDS",
    "desync_explains",
    "episode_state",
    "io_error",
    "is_in_view",
    "node_state",
    "reason_of",
    "reconnecting",
    "rejecting",
    "shut_state",
    "stale",
    "stalled",
    "stopped",
    "write_pending_seconds",
]

# an IO thread that reconnects says one of these; anything else is an error that time does not heal
TRANSIENT_IO_ERRNO = (0, 2002, 2003, 2013)
# ER_MASTER_FATAL_ERROR_READING_BINLOG: the source has purged what this replica needs, or cannot read it
FATAL_BINLOG_ERRNO = 1236
# state 2 while the processes of the server cannot be seen: after this long it is taken for a blocking donor
NO_EVIDENCE_SECONDS = 2.0
# transactions wait and nothing is committed for so long: no longer a large transaction of somebody
PROGRESS_SECONDS = 15.0


def node_state(snapshot: Snapshot, trail: Trail, policy: Policy) -> State:
    """The first matching state, in the order that docs/states.md lists."""
    if snapshot.failure is not None:
        return _failure_state(snapshot.failure, snapshot)
    if snapshot.server is None:
        return State.UNKNOWN
    if trail.galera:
        return _galera_state(snapshot, trail)
    return _async_state(snapshot, trail, policy)


def _failure_state(failure: Failure, snapshot: Snapshot) -> State:
    match failure.kind:
        case FailureKind.LOGIN:
            return State.AUTH_ERROR
        case FailureKind.LIMIT:
            return State.CONNECTION_LIMIT
        case FailureKind.TIMEOUT:
            return State.HUNG
        case FailureKind.QUERY | FailureKind.LOCAL:
            return State.UNKNOWN
        case FailureKind.UNREACHABLE:
            return State.DOWN
        case FailureKind.REFUSED | FailureKind.LOST:
            return shut_state(snapshot)


def shut_state(snapshot: Snapshot) -> State:
    """Nobody listens: a joiner during its SST, a server that is not up yet, or none at all."""
    if any(transfer.joiner for transfer in snapshot.evidence.transfers or ()):
        return State.SST_JOINER
    # a process that has served before and has shut its port is on its way down
    return State.SERVER_STARTING if snapshot.evidence.process is ProcessState.NEW else State.DOWN


def _galera_state(snapshot: Snapshot, trail: Trail) -> State:
    galera = snapshot.galera or Galera()
    if not provider_loaded(galera) or galera.on is False:
        return State.WSREP_OFF
    if trail.pins.inconsistent:
        return State.INCONSISTENT
    if galera.cluster_status == "Disconnected" or galera.connected is False:
        return State.DISCONNECTED
    if galera.local_state == LocalState.JOINING:
        return State.JOINING
    if galera.cluster_status is not None and galera.cluster_status != "Primary":
        return State.NON_PRIMARY
    if galera.local_state == LocalState.JOINED and trail.desync is None:
        return State.JOINED
    if rejecting(galera):
        return State.REJECTING
    return _member_state(galera, snapshot, trail)


def _member_state(galera: Galera, snapshot: Snapshot, trail: Trail) -> State:
    """Of a node that is not known to be in trouble: so what is not known counts."""
    known = (galera.on, galera.cluster_status, galera.connected, galera.ready, galera.local_state)
    if None in known or not is_in_view(galera):
        return State.UNKNOWN
    if not galera.ready:
        return State.NOT_READY
    if trail.pins.thaw is not None:
        return State.THAWED
    if trail.desync is not None:
        return episode_state(trail.desync, galera, snapshot.ended_at)
    if galera.local_state != LocalState.SYNCED:
        return State.NOT_READY
    return State.STALLED if stalled(snapshot, trail) else State.SYNCED


def episode_state(episode: Episode, galera: Galera, now: float) -> State:
    """What state 2 is: DESYNCED, DONOR or DONOR_BLOCKING. The gates judge by this, so they cannot contradict it."""
    blind = episode.blind_since is not None and now - episode.blind_since >= NO_EVIDENCE_SECONDS
    if blind and not desync_explains(galera):
        return State.DONOR_BLOCKING
    if episode.copies:
        return State.DONOR_BLOCKING if _copies_block(episode.copies, galera) else State.DONOR
    return State.DONOR if episode.copied else State.DESYNCED


def _async_state(snapshot: Snapshot, trail: Trail, policy: Policy) -> State:
    server, rows, now = snapshot.server or Server(), snapshot.replications, snapshot.ended_at
    if trail.pins.inconsistent:
        return State.INCONSISTENT
    if rows is None and policy.topology is not Topology.STANDALONE:
        return State.UNKNOWN
    for row in rows or ():
        if row.sql_errno or io_error(row, trail, now, policy.reader.grace_seconds):
            return State.REPLICA_ERROR
    if any(stopped(row) for row in rows or ()) or (not rows and server.read_only):
        return State.REPLICA_STOPPED
    if any(row.io_running != "Yes" or stale(row, trail, now) for row in rows or ()):
        return State.REPLICA_STALE_LINK
    if rows:
        worst = max((lag.seconds for lag in trail.lags if lag.seconds is not None), default=0.0)
        return State.REPLICA_LAGGING if worst > policy.reader.max_lag_seconds else State.REPLICA
    if server.read_only is None or server.log_bin is None:
        return State.UNKNOWN
    return State.PRIMARY if server.log_bin else State.STANDALONE


def reason_of(state: State) -> Reason:
    """The reason of the same name; `unknown` for the states that are no reason."""
    return Reason.__members__.get(state.name, Reason.UNKNOWN)


def is_in_view(galera: Galera) -> bool:
    """Whether the component that it says it is in has members and a number; 2^64-1 is that of no member."""
    return bool(galera.cluster_size) and galera.cluster_conf_id is not None


def rejecting(galera: Galera) -> bool:
    maintenance = galera.maintenance_mode not in (None, "DISABLED")
    return galera.reject_queries not in (None, "NONE") or maintenance


def _copies_block(copies: Sequence[Transfer], galera: Galera) -> bool:
    """desync_count 2 is the last second of a mariabackup, in which it blocks commits."""
    last_second = galera.desync_count is None or galera.desync_count - bool(galera.desync) >= 2
    return last_second or any(transfer.blocking for transfer in copies)


def desync_explains(galera: Galera) -> bool:
    """wsrep_desync is the only thing that desyncs the node."""
    return galera.desync is True and galera.desync_count == 1


def stopped(row: Replication) -> bool:
    return row.sql_running != "Yes" or row.io_running in (None, "No")


def io_error(row: Replication, trail: Trail, now: float, grace_seconds: float) -> bool:
    """An IO thread that died of an error, or has been retrying one that time does not heal."""
    if not row.io_errno or row.io_running == "Yes" or row.io_errno in TRANSIENT_IO_ERRNO:
        return False
    return row.io_running == "No" or trail.link_lost_seconds(row, now) > grace_seconds


def reconnecting(row: Replication) -> bool:
    """An IO thread that is on its way back to its source, with no error but the missing source."""
    return row.io_running not in ("Yes", "No", None) and (row.io_errno or 0) in TRANSIENT_IO_ERRNO


def stale(row: Replication, trail: Trail, now: float) -> bool:
    """Both ends say that the link lives, and nothing has come through it: the source hangs, or the network is gone."""
    if "relay log space" in (row.io_state or ""):  # it takes nothing more until the SQL thread has caught up
        return False
    limit, moved_at = link_limit_seconds(row), trail.link(row.connection).moved_at
    return row.io_running == "Yes" and limit is not None and moved_at is not None and now - moved_at > limit


def stalled(snapshot: Snapshot, trail: Trail) -> bool:
    """Writes stand still on a node that says Synced."""
    since, now = trail.standstill.since, snapshot.ended_at
    still = since is not None and now - since >= PROGRESS_SECONDS and not trail.standstill.ddl(now)
    return still or write_pending_seconds(snapshot) > 0


def write_pending_seconds(snapshot: Snapshot) -> float:
    """How long the write of our own has been waiting; 0 where none is."""
    probe = snapshot.beside.write_probe
    return 0.0 if probe is None or probe.pending_since is None else snapshot.ended_at - probe.pending_since
