"""The gates about the server itself. The first five are asked of every sample, of one without facts too."""

from healthagent.assess import reason_of, shut_state, write_pending_seconds
from healthagent.facts import FailureKind, ProcessState
from healthagent.model import DAMPED, NOW, PASSED, UNSEEN, Damping, Finding, Outcome
from healthagent.policy import Amount
from healthagent.reasons import Reason
from healthagent.view import View, judged

TOO_MANY_CONNECTIONS = 1040
# no right, no database, no table, another table than ours: that is for the administrator, and no news of the disk
OUR_CODES = (1049, 1054, 1142, 1143, 1146)
CANNOT_ANSWER = (ProcessState.STOPPED, ProcessState.EXITING, ProcessState.GONE)
TWO_TIMEOUTS = Damping(0.0, 2, 0.5)


def fresh(view: View) -> Finding:
    """Facts must not be older than max_age, even where every other gate would still hold its breath."""
    age = None if view.trail.facts_at is None else round(view.now - view.trail.facts_at, 3)
    limit = view.policy.max_age_seconds
    if age is not None and age <= limit:
        return Finding(Outcome.PASS, None, age, limit)
    return Finding(Outcome.FAIL, reason_of(view.state), age, limit)


def reachable(view: View) -> Finding:
    failure = view.snapshot.failure
    if failure is None or failure.kind not in (FailureKind.REFUSED, FailureKind.LOST, FailureKind.UNREACHABLE):
        return PASSED
    reason = Reason.DOWN if failure.kind is FailureKind.UNREACHABLE else reason_of(shut_state(view.snapshot))
    return Finding(Outcome.FAIL, reason, failure.message)


def answering(view: View) -> Finding:
    """Two timeouts in a row, or one when /proc shows that the process cannot answer."""
    failure = view.snapshot.failure
    if failure is None or failure.kind not in (FailureKind.TIMEOUT, FailureKind.QUERY, FailureKind.LOCAL):
        return PASSED
    if failure.kind is not FailureKind.TIMEOUT:
        # what we lack ourselves says nothing of the server: `fresh` ends that
        hold = Damping(view.policy.max_age_seconds, 2, 0.5) if failure.kind is FailureKind.LOCAL else NOW
        return Finding(Outcome.FAIL, Reason.UNKNOWN, failure.message, None, hold)
    proven = failure.silent_after_eof or view.snapshot.evidence.process in CANNOT_ANSWER
    return Finding(Outcome.FAIL, Reason.HUNG, failure.message, None, NOW if proven else TWO_TIMEOUTS)


def login(view: View) -> Finding:
    """Held up to max_age (the gate `fresh` ends that): a password rotation must not take a node out."""
    failure = view.snapshot.failure
    if failure is None:
        return PASSED
    if failure.kind is not FailureKind.LOGIN:
        return UNSEEN
    hold = Damping(view.policy.max_age_seconds, 2, 0.5)
    return Finding(Outcome.FAIL, Reason.AUTH_ERROR, failure.message, None, hold)


def room(view: View) -> Finding:
    """A full server serves the sessions it has: with facts, weight 1; without, held up to max_age."""
    failure = view.snapshot.failure
    if failure is not None and failure.kind is FailureKind.LIMIT:
        hold = Damping(view.policy.max_age_seconds, 2, 0.5)
        return Finding(Outcome.FAIL, Reason.CONNECTION_LIMIT, failure.message, None, hold)
    if failure is not None:
        return UNSEEN
    used, limit = view.server.threads_connected, view.server.max_connections
    if used is None or limit is None:
        return Finding(Outcome.CAP, Reason.UNKNOWN, used, limit)
    port = view.snapshot.beside.client_port
    turned_away = port is not None and port.code == TOO_MANY_CONNECTIONS
    return Finding(Outcome.CAP if used >= limit or turned_away else Outcome.PASS, Reason.CONNECTION_LIMIT, used, limit)


def client_port(view: View) -> Finding:
    """Whether clients get in the way they come: over TCP. Where that cannot be seen it proves nothing."""
    port = view.snapshot.beside.client_port
    if port is None or port.code == TOO_MANY_CONNECTIONS:  # nobody looks; or a full server: see `room`
        return Finding(Outcome.PASS, damping=DAMPED)
    if port.open is None:
        return Finding(Outcome.BETWEEN, damping=DAMPED)
    return judged(port.open, Reason.CLIENT_PORT, port.message or f"{port.address} ({port.how})", None, DAMPED)


def restarts(view: View, limit: int) -> Finding:
    """A server that crashes again and again is no place for writes, whatever it says in between."""
    starts = len(view.trail.starts)
    return judged(starts < limit, Reason.RESTARTS, starts, limit, DAMPED)


def warm_up(view: View) -> Finding:
    """The buffer pool, where a role waits for it. What the server does not tell is nothing to wait for."""
    return judged(view.server.buffer_pool_loaded is not False, Reason.WARMING_UP, view.server.buffer_pool_loaded, True)


def disk(view: View, least: Amount) -> Finding:
    space = view.snapshot.beside.disk
    if space is None:
        return Finding(Outcome.FAIL, Reason.UNKNOWN, None, None, DAMPED)
    if least.bytes:
        return judged(space.free_bytes >= least.bytes, Reason.DISK_SPACE, space.free_bytes, least.bytes, DAMPED)
    return judged(space.free_ratio >= least.ratio, Reason.DISK_SPACE, round(space.free_ratio, 4), least.ratio, DAMPED)


def write_probe(view: View) -> Finding:
    """The only way to see that the disk stands still: reads, logins and SHOW all work then.

    Every write of a cluster waits for a DDL statement, and for flow control: that is only told. So is a row of our own
    that cannot be written for another reason than the server's (no right, no table, no room for our session).
    """
    probe, trail = view.snapshot.beside.write_probe, view.trail
    waiting = write_pending_seconds(view.snapshot)
    if probe is None or (not waiting and probe.error is None):
        return Finding(Outcome.PASS, damping=DAMPED)
    if waiting:
        others = trail.standstill.ddl(view.now) or ((trail.flow.paused or 0.0) > 0 and not trail.flow.own)
        return Finding(Outcome.NOTE if others else Outcome.FAIL, Reason.STALLED, round(waiting, 3), 0, DAMPED)
    broken = probe.code is not None and probe.code not in OUR_CODES
    return Finding(
        Outcome.FAIL if broken else Outcome.NOTE, Reason.STALLED if broken else Reason.UNKNOWN, probe.error, 0, DAMPED
    )


def tags(view: View, wanted: tuple[tuple[str, str], ...]) -> Finding:
    own = dict(view.policy.tags)
    wrong = [name for name, value in wanted if own.get(name) != value]
    value = ",".join(f"{name}={own.get(name)}" for name in wrong) or None
    return judged(not wrong, Reason.TAG_MISMATCH, value, ",".join(f"{name}={value}" for name, value in wanted))
