"""The gates of writers, and of replicas outside Galera. docs/gates.md has them as a table."""

from healthagent.assess import FATAL_BINLOG_ERRNO, io_error, reconnecting, stale, stopped
from healthagent.facts import Replication
from healthagent.links import link_limit_seconds
from healthagent.model import DAMPED, PASSED, UNSEEN, Damping, Finding, Outcome
from healthagent.policy import PrimaryLost, Topology
from healthagent.reasons import Reason
from healthagent.view import View, judged

# with `primary_lost: serve` a reader goes on without its source for so long
PRIMARY_LOST_SECONDS = 600.0
Names = tuple[str, ...] | None
BOTH_RUN = "Yes/Yes"


def writable(view: View) -> Finding:
    server = view.server
    known = server.read_only is not None and server.innodb_read_only is not None
    locked = bool(server.read_only or server.innodb_read_only)
    value = "innodb_read_only" if server.innodb_read_only else server.read_only
    return judged(known and not locked, Reason.READ_ONLY if locked else Reason.UNKNOWN, value, False)


def replica_threads(
    view: View, names: Names, grace_seconds: float, require_replication: bool, lost: PrimaryLost, required: bool
) -> Finding:
    rows = _rows(view, names)
    if rows is None:
        # damped: SHOW ALL SLAVES STATUS may wait behind a STOP SLAVE for a moment
        return Finding(Outcome.FAIL, Reason.REPLICATION_UNKNOWN, "not readable", None, DAMPED)
    missing = [name for name in names or () if all(row.connection != name for row in rows)]
    if missing or not rows:
        # a primary has no rows, and is one as long as it can be written to, unless sources are asked for by name
        primary = not rows and not missing and view.server.read_only is False
        member = required and view.trail.galera is True
        passed = not member and (primary or not require_replication)
        unknown = view.server.read_only is None and not missing
        value = f"no connection {missing[0]!r}" if missing else "no rows"
        return judged(passed, Reason.UNKNOWN if unknown else Reason.NOT_REPLICATING, value, BOTH_RUN)
    value = ",".join(f"{row.io_running}/{row.sql_running}" for row in rows)
    if any(stopped(row) for row in rows):
        return Finding(Outcome.FAIL, Reason.REPLICA_STOPPED, value, BOTH_RUN)
    if all(row.io_running == "Yes" for row in rows):
        return Finding(Outcome.PASS, None, value, BOTH_RUN)
    if _serves_without_source(view, rows, lost):
        return Finding(Outcome.NOTE, Reason.PRIMARY_LOST, value, BOTH_RUN)
    return Finding(Outcome.FAIL, Reason.REPLICA_STALE_LINK, value, BOTH_RUN, Damping(grace_seconds, 2))


def lag(view: View, names: Names, limit: float, subtract_delay: bool, lost: PrimaryLost) -> Finding:
    """The worst connection's lag; once fallen it must come back to half the limit."""
    rows = _rows(view, names)
    if not rows:
        return UNSEEN if rows is None else PASSED
    worst, source = worst_lag(view, names, subtract_delay)
    value = None if worst is None else f"{worst:g}s ({source})"
    unknown = [row for row in rows if view.trail.lag(row.connection).seconds is None]
    if any(row.lag_seconds is None and stopped(row) for row in rows):
        # else an hour's lag would be news when the thread runs again, and be held for a second
        return Finding(Outcome.FAIL, Reason.REPLICA_STOPPED, value, limit, DAMPED)
    if any(not reconnecting(row) for row in unknown):
        return Finding(Outcome.FAIL, Reason.REPLICATION_UNKNOWN, value, limit, DAMPED)
    outcome = _within(worst, limit)
    if outcome is Outcome.FAIL and _serves_without_source(view, rows, lost):
        # the time since the source was lost is forgiven, what was missing before is not
        outcome = _within(max(_lag_at_loss(view, row, subtract_delay) for row in rows), limit)
        if outcome is Outcome.PASS:
            return Finding(Outcome.NOTE, Reason.PRIMARY_LOST, value, limit, DAMPED)
    if unknown and outcome is Outcome.PASS:  # reconnecting ever since it was seen first
        outcome = Outcome.BETWEEN
    return Finding(outcome, Reason.REPLICA_LAGGING if outcome is not Outcome.PASS else None, value, limit, DAMPED)


def worst_lag(view: View, names: Names, subtract_delay: bool) -> tuple[float | None, str | None]:
    """Seconds and where they come from; the delay that the replica is meant to have, taken off where a role asks."""
    worst, source = None, None
    for row in _rows(view, names) or ():
        lag = view.trail.lag(row.connection)
        if lag.seconds is not None:
            seconds = max(0.0, lag.seconds - lag.delay_seconds) if subtract_delay else lag.seconds
            if worst is None or seconds > worst:
                worst, source = round(seconds, 3), lag.source
    return worst, source


def link(view: View, names: Names, lost: PrimaryLost) -> Finding:
    """A source that hangs, or a network that is gone, shows lag 0 and Yes/Yes for all of slave_net_timeout."""
    rows = _rows(view, names)
    if not rows:
        return UNSEEN if rows is None else PASSED
    dead = [row for row in rows if stale(row, view.trail, view.now)]
    shown = max(dead or rows, key=lambda row: _link_age(view, row))
    value, limit = _link_age(view, shown), link_limit_seconds(shown)
    if not dead:
        return Finding(Outcome.PASS, None, value, limit, DAMPED)
    serves = _serves_without_source(view, rows, lost)
    return Finding(
        Outcome.NOTE if serves else Outcome.FAIL,
        Reason.PRIMARY_LOST if serves else Reason.REPLICA_STALE_LINK,
        value,
        limit,
        DAMPED,
    )


def replica_error(view: View, names: Names, grace_seconds: float) -> Finding:
    rows = _rows(view, names)
    if rows is None:
        return UNSEEN
    for row in rows:
        if row.sql_errno:
            return Finding(Outcome.FAIL, Reason.REPLICA_ERROR, f"{row.sql_errno}: {row.sql_error}", 0)
        if io_error(row, view.trail, view.now, grace_seconds):
            fatal = row.io_errno == FATAL_BINLOG_ERRNO
            reason = Reason.FATAL_BINLOG_ERROR if fatal else Reason.REPLICA_ERROR
            return Finding(Outcome.FAIL, reason, f"{row.io_errno}: {row.io_error}", 0)
    return PASSED


def async_writer(view: View, ring: tuple[str, ...]) -> Finding:
    """Any row makes a replica, whatever its threads do; rows that cannot be read are no permission.

    But for the connections of a ring, in which every server is a primary and a replica.
    """
    rows = _rows(view, None)
    if rows is None:
        return Finding(Outcome.FAIL, Reason.REPLICATION_UNKNOWN, "not readable", 0)
    others = [row.connection for row in rows if row.connection not in ring]
    if not others and view.server.log_bin is None:
        return Finding(Outcome.FAIL, Reason.UNKNOWN, "log_bin is not known", 0)
    return judged(not others, Reason.IS_REPLICA, len(others), 0)


def exclude_writer(view: View) -> Finding:
    """Outside Galera the primary is the server without a source. Without an election Galera has no such node."""
    rows = _rows(view, None)
    if rows is None and not view.trail.galera:
        return UNSEEN
    excluded = not view.trail.galera and not rows
    return judged(not excluded, Reason.IS_PRIMARY, excluded)


def _rows(view: View, names: Names) -> tuple[Replication, ...] | None:
    """The rows that matter to a role; None: not readable, on a server that may have some."""
    rows = view.snapshot.replications
    if rows is None:
        return () if view.policy.topology is Topology.STANDALONE else None
    return rows if names is None else tuple(row for row in rows if row.connection in names)


def _within(worst: float | None, limit: float) -> Outcome:
    """Beyond the limit, or good again at half of it."""
    if worst is None or worst <= limit / 2:
        return Outcome.PASS
    return Outcome.BETWEEN if worst <= limit else Outcome.FAIL


def _lag_at_loss(view: View, row: Replication, subtract_delay: bool) -> float:
    """How far behind a connection was when its source was heard last; how far it is where the source is there."""
    lag = view.trail.lag(row.connection)
    if row.io_running == "Yes" and not stale(row, view.trail, view.now):
        seconds = lag.seconds
    elif lag.source == "heartbeat":
        seconds = None if lag.seconds is None else lag.seconds - _link_age(view, row)
    else:
        seconds = lag.read_seconds
    return max(0.0, (seconds or 0.0) - (lag.delay_seconds if subtract_delay else 0.0))


def _link_age(view: View, row: Replication) -> float:
    moved_at = view.trail.link(row.connection).moved_at
    return 0.0 if moved_at is None else round(view.now - moved_at, 3)


def _serves_without_source(view: View, rows: tuple[Replication, ...], lost: PrimaryLost) -> bool:
    """The missing source is all that is wrong, a role would rather serve what it has, and not for too long."""
    if lost is not PrimaryLost.SERVE:
        return False
    for row in rows:
        gone = reconnecting(row) or stale(row, view.trail, view.now)
        well = row.io_running == "Yes" and not stale(row, view.trail, view.now)
        if row.sql_running != "Yes" or row.sql_errno or not (gone or well):
            return False
        link = view.trail.link(row.connection)
        heard_at = link.moved_at if link_limit_seconds(row) is not None else link.lost_at
        if gone and (link.moved_at is None or heard_at is None or view.now - heard_at > PRIMARY_LOST_SECONDS):
            return False
    return True
