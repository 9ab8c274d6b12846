"""The gates about the server itself, which are asked of every sample, of one without facts too."""

from healthagent.assess import node_state, reason_of, shut_state
from healthagent.model import FailureKind, Finding, Gate, Outcome, ProcessState
from healthagent.reasons import Reason
from healthagent.view import View


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
    known = used is not None and limit is not None
    full = used is None or limit is None or used >= limit
    return Finding(
        gate=Gate.ROOM,
        outcome=Outcome.CAP if full else Outcome.PASS,
        reason=None if not full else Reason.CONNECTION_LIMIT if known else Reason.UNKNOWN,
        value=used,
        limit=limit,
    )
