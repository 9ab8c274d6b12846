"""Facts -> the node's state: `node_state`, and the questions about facts that it shares with the gates.

What a fact means was measured on real servers; docs/how-it-decides.md keeps the table.
"""

from collections.abc import Sequence

from healthagent.model import (
    Failure,
    FailureKind,
    Galera,
    LocalState,
    Policy,
    ProcessState,
    Replication,
    Server,
    Snapshot,
    Topology,
    Transfer,
)
from healthagent.reasons import Reason, State
from healthagent.trail import Episode, Trail, provider_loaded

__all__ = [
    "FATAL_BINLOG_ERRNO",
    "desync_explains",
    "episode_state",
    "io_error",
    "node_state",
    "reason_of",
    "rejecting",
    "shut_state",
    "stopped",
]

# an IO thread that reconnects says one of these; anything else is an error that time does not heal
TRANSIENT_IO_ERRNO = (0, 2002, 2003, 2013)
# ER_MASTER_FATAL_ERROR_READING_BINLOG: the source has purged what this replica needs, or cannot read it
FATAL_BINLOG_ERRNO = 1236
# state 2 while the processes of the server cannot be seen: after this long it is taken for a blocking donor
NO_EVIDENCE_SECONDS = 2.0


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
        case FailureKind.QUERY:
            return State.UNKNOWN
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
    if galera.local_state == LocalState.INCONSISTENT:
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
    if None in (galera.on, galera.cluster_status, galera.connected, galera.ready, galera.local_state):
        return State.UNKNOWN
    if not galera.ready:
        return State.NOT_READY
    if trail.thaw is not None:
        return State.THAWED
    if trail.desync is not None:
        return episode_state(trail.desync, galera, snapshot.ended_at)
    return State.SYNCED if galera.local_state == LocalState.SYNCED else State.NOT_READY


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
    if rows is None and policy.topology is not Topology.STANDALONE:
        return State.UNKNOWN
    for row in rows or ():
        if row.sql_errno or io_error(row, trail, now, policy):
            return State.REPLICA_ERROR
    if any(stopped(row) for row in rows or ()) or (not rows and server.read_only):
        return State.REPLICA_STOPPED
    if any(row.io_running != "Yes" for row in rows or ()):
        return State.REPLICA_STALE_LINK
    if rows:
        lags = [trail.lag_seconds(row, now) for row in rows]
        worst = max((lag for lag in lags if lag is not None), default=0.0)
        return State.REPLICA_LAGGING if worst > policy.reader_max_lag_seconds else State.REPLICA
    if server.read_only is None or server.log_bin is None:
        return State.UNKNOWN
    return State.PRIMARY if server.log_bin else State.STANDALONE


def reason_of(state: State) -> Reason:
    """The reason of the same name; `unknown` for the states that are no reason."""
    return Reason.__members__.get(state.name, Reason.UNKNOWN)


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


def io_error(row: Replication, trail: Trail, now: float, policy: Policy) -> bool:
    """An IO thread that died of an error, or has been retrying one that time does not heal."""
    if not row.io_errno or row.io_running == "Yes" or row.io_errno in TRANSIENT_IO_ERRNO:
        return False
    return row.io_running == "No" or trail.link_lost_seconds(row, now) > policy.replica_grace_seconds
