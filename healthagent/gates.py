"""The gates: each a pure function of a View that answers with a Finding.

All gates of a role are asked, so that `why` can show them. docs/gates.md lists them with their damping.
"""

from dataclasses import dataclass

from healthagent.assess import (
    DESYNCED,
    JOINED,
    NO_EVIDENCE_SECONDS,
    SYNCED,
    copies_block,
    desync_explains,
    donating,
    io_error,
    node_state,
    reason_of,
    rejecting,
    shut_state,
    stopped,
)
from healthagent.model import (
    Base,
    FailureKind,
    Finding,
    Galera,
    Gate,
    Outcome,
    Policy,
    ProcessState,
    Role,
    Server,
    Snapshot,
    Topology,
)
from healthagent.reasons import Reason, State
from healthagent.trail import Trail, provider_loaded

DAMPED_SECONDS = 1.0
DONOR_MAX_QUEUE = 100
FATAL_BINLOG_ERRNO = 1236
# how long state 2 may last: wsrep_desync and IST; what hangs writes (FTWRL, RSU, a backup's end); the same for reads
HOLD_DESYNC, HOLD_WRITES, HOLD_READS = 5.0, 2.0, 5.0


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


# --- gates about the connection ---------------------------------------------------------------------------------


def fresh(view: View) -> Finding:
    """Facts must not be older than max_age, even where every other gate would still hold its breath."""
    age = None if view.trail.facts_at is None else round(view.snapshot.ended_at - view.trail.facts_at, 3)
    old = age is None or age > view.policy.max_age_seconds
    return Finding(
        gate=Gate.FRESH,
        outcome=Outcome.FAIL if old else Outcome.PASS,
        reason=reason_of(node_state(view.snapshot, view.trail, view.policy)) if old else None,
        value=age,
        limit=view.policy.max_age_seconds,
    )


def reachable(view: View) -> Finding:
    failure = view.snapshot.failure
    if failure is None or failure.kind not in (FailureKind.REFUSED, FailureKind.LOST):
        return Finding(gate=Gate.REACHABLE)
    reason = reason_of(shut_state(view.snapshot))
    return Finding(gate=Gate.REACHABLE, outcome=Outcome.FAIL, reason=reason, value=failure.message)


def answering(view: View) -> Finding:
    """Two timeouts in a row, or one when /proc shows that the process cannot answer."""
    failure = view.snapshot.failure
    if failure is None or failure.kind not in (FailureKind.TIMEOUT, FailureKind.QUERY):
        return Finding(gate=Gate.ANSWERING)
    proven = failure.silent_after_eof or view.snapshot.evidence.process in (
        ProcessState.STOPPED,
        ProcessState.EXITING,
        ProcessState.GONE,
    )
    query = failure.kind is FailureKind.QUERY
    return Finding(
        gate=Gate.ANSWERING,
        outcome=Outcome.FAIL,
        reason=Reason.UNKNOWN if query else Reason.HUNG,
        hold_samples=1 if proven or query else 2,
        value=failure.message,
    )


def login(view: View) -> Finding:
    """Held up to max_age (the gate `fresh` ends that): a password rotation must not take a node out."""
    failure = view.snapshot.failure
    if failure is None or failure.kind is not FailureKind.LOGIN:
        return Finding(gate=Gate.LOGIN, outcome=Outcome.PASS if failure is None else Outcome.UNSEEN)
    return Finding(
        gate=Gate.LOGIN,
        outcome=Outcome.FAIL,
        reason=Reason.AUTH_ERROR,
        hold_seconds=view.policy.max_age_seconds,
        hold_samples=2,
        value=failure.message,
    )


def room(view: View) -> Finding:
    """A full server serves the sessions it has: with facts, weight 1; without, held up to max_age."""
    failure = view.snapshot.failure
    if failure is not None and failure.kind is FailureKind.LIMIT:
        return Finding(
            gate=Gate.ROOM,
            outcome=Outcome.FAIL,
            reason=Reason.CONNECTION_LIMIT,
            hold_seconds=view.policy.max_age_seconds,
            hold_samples=2,
            value=failure.message,
        )
    if failure is not None:
        return Finding(gate=Gate.ROOM, outcome=Outcome.UNSEEN)
    used, limit = view.server.threads_connected, view.server.max_connections
    full = used is not None and limit is not None and used >= limit
    return Finding(
        gate=Gate.ROOM,
        outcome=Outcome.CAP if full else Outcome.PASS,
        reason=Reason.CONNECTION_LIMIT if full else None,
        value=used,
        limit=limit,
    )


# --- Galera gates -----------------------------------------------------------------------------------------------


def wsrep_on(view: View) -> Finding:
    loaded, on = provider_loaded(view.snapshot.galera), view.galera.on
    reason = Reason.WSREP_OFF if not loaded or on is False else Reason.UNKNOWN
    return _now(Gate.WSREP_ON, loaded and on is True, reason, value=on if loaded else view.galera.provider, limit=True)


def primary_component(view: View) -> Finding:
    status = view.galera.cluster_status
    disconnected = status == "Disconnected" or view.galera.connected is False
    reason = Reason.DISCONNECTED if disconnected else Reason.UNKNOWN if status is None else Reason.NON_PRIMARY
    return _now(Gate.PRIMARY_COMPONENT, status == "Primary", reason, value=status, limit="Primary")


def ready(view: View) -> Finding:
    ready, connected = view.galera.ready, view.galera.connected
    reason = Reason.DISCONNECTED if connected is False else Reason.NOT_READY if ready is False else Reason.UNKNOWN
    return _now(Gate.READY, ready is True and connected is True, reason, value=ready, limit=True)


def accepting(view: View) -> Finding:
    galera = view.galera
    reason = Reason.UNKNOWN if galera.reject_queries is None else Reason.REJECTING
    passed = galera.reject_queries == "NONE" and not rejecting(galera)
    return _now(Gate.ACCEPTING, passed, reason, value=galera.reject_queries, limit="NONE")


def state(view: View) -> Finding:
    """Synced, or an episode of state 2, which `donor` and `desync` judge."""
    state = view.galera.local_state
    passed = state in (SYNCED, DESYNCED) or (state == JOINED and view.trail.desynced)
    return local_state(view, passed)


def synced(view: View) -> Finding:
    """`state` for a role that asks for wsrep_local_state 4 at this instant."""
    return local_state(view, view.galera.local_state == SYNCED)


def not_galera(view: View) -> Finding:
    return _now(Gate.STATE, False, Reason.NOT_GALERA, value=None, limit=SYNCED)


def local_state(view: View, passed: bool) -> Finding:
    state = node_state(view.snapshot, view.trail, view.policy)
    reason = Reason.NOT_READY if state is State.SYNCED else reason_of(state)
    return _now(Gate.STATE, passed, reason, value=view.galera.local_state, limit=SYNCED)


def donor(view: View) -> Finding:
    """A state transfer from here, until the node is synced again.

    One that blocks is never allowed: its writes hang for the whole copy.
    """
    copies = [transfer for transfer in donating(view.snapshot) or () if not transfer.bypass]
    if not view.trail.desynced or not (copies or view.trail.copied):
        return Finding(gate=Gate.DONOR)
    blocking = bool(copies) and copies_block(copies, view.galera)
    queue = view.galera.recv_queue
    allowed = view.role.donor and not blocking and queue is not None and queue <= DONOR_MAX_QUEUE
    method = ",".join(sorted({transfer.method for transfer in copies})) or "catching up"
    reason = Reason.DONOR_BLOCKING if blocking else Reason.DONOR
    return _now(Gate.DONOR, allowed, reason, value=method, limit=DONOR_MAX_QUEUE if view.role.donor else None)


def desync(view: View) -> Finding:
    """State 2 without a copy from here: how long it may last depends on what it is and on who asks."""
    transfers = donating(view.snapshot)
    if not view.trail.desynced or view.trail.copied:
        return _now(Gate.DESYNC, True, Reason.DESYNCED, value=view.galera.local_state, limit=SYNCED)
    reason, hold = Reason.DESYNCED, HOLD_READS if view.role.base is Base.READER else HOLD_WRITES
    if desync_explains(view.galera) or transfers:  # wsrep_desync, or an IST (--bypass)
        hold = HOLD_DESYNC
    elif transfers is None:
        reason, hold = Reason.DONOR_BLOCKING, NO_EVIDENCE_SECONDS
    return Finding(
        gate=Gate.DESYNC,
        outcome=Outcome.PASS if view.role.desync and reason is Reason.DESYNCED else Outcome.FAIL,
        reason=reason,
        hold_seconds=hold,
        hold_samples=2,
        value="wsrep_desync" if view.galera.desync else "ist" if transfers else view.galera.local_state,
        limit=SYNCED,
    )


# --- gates of writers and replicas ------------------------------------------------------------------------------


def writable(view: View) -> Finding:
    server = view.server
    known = server.read_only is not None and server.innodb_read_only is not None
    locked = bool(server.read_only or server.innodb_read_only)
    reason = Reason.READ_ONLY if locked else Reason.UNKNOWN
    return _now(Gate.WRITABLE, known and not locked, reason, value=server.read_only, limit=False)


def replica_threads(view: View) -> Finding:
    rows = view.snapshot.replications
    if rows is None:
        return no_rows(view, Gate.REPLICA_THREADS)
    if not rows:
        idle = bool(view.server.read_only) and view.role.require_replication
        return _now(Gate.REPLICA_THREADS, not idle, Reason.NOT_REPLICATING, value="no rows", limit="Yes/Yes")
    value = ",".join(f"{row.io_running}/{row.sql_running}" for row in rows)
    if any(stopped(row) for row in rows):
        return _now(Gate.REPLICA_THREADS, False, Reason.REPLICA_STOPPED, value=value, limit="Yes/Yes")
    return Finding(
        gate=Gate.REPLICA_THREADS,
        outcome=Outcome.FAIL if any(row.io_running != "Yes" for row in rows) else Outcome.PASS,
        reason=Reason.REPLICA_STALE_LINK,
        hold_seconds=view.policy.replica_grace_seconds,
        hold_samples=2,
        value=value,
        limit="Yes/Yes",
    )


def lag(view: View) -> Finding:
    """The worst connection's lag; once fallen it must come back to half the limit."""
    rows, now = view.snapshot.replications or (), view.snapshot.ended_at
    lags = [view.trail.lag_seconds(row, now) for row in rows]
    worst = max((lag for lag in lags if lag is not None), default=None)
    # NULL is normal while the IO thread reconnects, and impossible with both threads running
    unknown = any(
        lag is None and row.io_running == "Yes" == row.sql_running for lag, row in zip(lags, rows, strict=True)
    )
    limit = view.role.max_lag_seconds
    bound = limit / 2 if Gate.LAG in view.fallen else limit
    return Finding(
        gate=Gate.LAG,
        outcome=Outcome.FAIL if unknown or (worst is not None and worst > bound) else Outcome.PASS,
        reason=Reason.REPLICATION_UNKNOWN if unknown else Reason.REPLICA_LAGGING,
        hold_seconds=DAMPED_SECONDS,
        hold_samples=2,
        rise_seconds=DAMPED_SECONDS,
        value=None if worst is None else round(worst, 3),
        limit=limit,
    )


def replica_error(view: View) -> Finding:
    rows, now = view.snapshot.replications or (), view.snapshot.ended_at
    for row in rows:
        error = row.sql_error if row.sql_errno else row.io_error
        if row.sql_errno or io_error(row, view.trail, now, view.policy):
            fatal = not row.sql_errno and row.io_errno == FATAL_BINLOG_ERRNO
            reason = Reason.FATAL_BINLOG_ERROR if fatal else Reason.REPLICA_ERROR
            return _now(Gate.REPLICA_ERROR, False, reason, value=f"{row.sql_errno or row.io_errno}: {error}", limit=0)
    return _now(Gate.REPLICA_ERROR, True, Reason.REPLICA_ERROR, value=0, limit=0)


def async_writer(view: View) -> Finding:
    """Any row makes a replica, whatever its threads do; rows that cannot be read are no permission."""
    rows = view.snapshot.replications
    if rows is None and view.policy.topology is not Topology.STANDALONE:
        return _now(Gate.ASYNC_WRITER, False, Reason.REPLICATION_UNKNOWN, value="not readable", limit=0)
    return _now(Gate.ASYNC_WRITER, not rows, Reason.IS_REPLICA, value=len(rows or ()), limit=0)


def exclude_writer(view: View) -> Finding:
    """Outside Galera the primary is the server without a source. Without an election Galera has no such node."""
    excluded = view.role.exclude_writer and not view.trail.galera and not view.snapshot.replications
    return _now(Gate.EXCLUDE_WRITER, not excluded, Reason.IS_PRIMARY, value=view.role.exclude_writer, limit=None)


# --- what several of them ask -----------------------------------------------------------------------------------


def _now(gate: Gate, passed: bool, reason: Reason, *, value: object, limit: object) -> Finding:
    """A finding without a hold."""
    return Finding(
        gate=gate,
        outcome=Outcome.PASS if passed else Outcome.FAIL,
        reason=None if passed else reason,
        value=value if isinstance(value, str | int | float) else None,
        limit=limit if isinstance(limit, str | int | float) else None,
    )


def no_rows(view: View, gate: Gate) -> Finding:
    """Damped: SHOW ALL SLAVES STATUS may wait behind a STOP SLAVE for a moment."""
    standalone = view.policy.topology is Topology.STANDALONE
    return Finding(
        gate=gate,
        outcome=Outcome.PASS if standalone else Outcome.FAIL,
        reason=Reason.REPLICATION_UNKNOWN,
        hold_seconds=DAMPED_SECONDS,
        hold_samples=2,
        value="not readable",
    )
