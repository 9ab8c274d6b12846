"""The gates of writers, and of replicas outside Galera. docs/gates.md has them as a table."""

from healthagent.assess import FATAL_BINLOG_ERRNO, io_error, stopped
from healthagent.model import Finding, Gate, Outcome, Topology
from healthagent.reasons import Reason
from healthagent.view import View, at_once

DAMPED_SECONDS = 1.0


def writable(view: View) -> Finding:
    server = view.server
    known = server.read_only is not None and server.innodb_read_only is not None
    locked = bool(server.read_only or server.innodb_read_only)
    reason = Reason.READ_ONLY if locked else Reason.UNKNOWN
    return at_once(Gate.WRITABLE, known and not locked, reason, value=server.read_only, limit=False)


def replica_threads(view: View) -> Finding:
    rows = view.snapshot.replications
    if rows is None and view.policy.topology is not Topology.STANDALONE:
        # damped: SHOW ALL SLAVES STATUS may wait behind a STOP SLAVE for a moment
        return Finding(
            gate=Gate.REPLICA_THREADS,
            outcome=Outcome.FAIL,
            reason=Reason.REPLICATION_UNKNOWN,
            hold_seconds=DAMPED_SECONDS,
            hold_samples=2,
            value="not readable",
        )
    if not rows:
        passed = view.server.read_only is False or not view.role.require_replication
        reason = Reason.UNKNOWN if view.server.read_only is None else Reason.NOT_REPLICATING
        return at_once(Gate.REPLICA_THREADS, passed, reason, value="no rows", limit="Yes/Yes")
    value = ",".join(f"{row.io_running}/{row.sql_running}" for row in rows)
    if any(stopped(row) for row in rows):
        return at_once(Gate.REPLICA_THREADS, False, Reason.REPLICA_STOPPED, value=value, limit="Yes/Yes")
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
            return at_once(
                Gate.REPLICA_ERROR, False, reason, value=f"{row.sql_errno or row.io_errno}: {error}", limit=0
            )
    return at_once(Gate.REPLICA_ERROR, True, Reason.REPLICA_ERROR, value=0, limit=0)


def async_writer(view: View) -> Finding:
    """Any row makes a replica, whatever its threads do; rows that cannot be read are no permission."""
    rows = view.snapshot.replications
    if rows is None and view.policy.topology is not Topology.STANDALONE:
        return at_once(Gate.ASYNC_WRITER, False, Reason.REPLICATION_UNKNOWN, value="not readable", limit=0)
    if not rows and view.server.log_bin is None:
        return at_once(Gate.ASYNC_WRITER, False, Reason.UNKNOWN, value="log_bin is not known", limit=0)
    return at_once(Gate.ASYNC_WRITER, not rows, Reason.IS_REPLICA, value=len(rows or ()), limit=0)


def exclude_writer(view: View) -> Finding:
    """Outside Galera the primary is the server without a source. Without an election Galera has no such node."""
    excluded = view.role.exclude_writer and not view.trail.galera and not view.snapshot.replications
    return at_once(Gate.EXCLUDE_WRITER, not excluded, Reason.IS_PRIMARY, value=view.role.exclude_writer, limit=None)
