"""The role table as data: who is asked what, in which order, and with which of its settings. docs/gates.md is made
from it. What may stand here: names and their order, no rule.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from healthagent import gates_galera, gates_replication, gates_server
from healthagent.model import Finding
from healthagent.policy import Base, FlowControl, Role
from healthagent.reasons import Gate

__all__ = ["ASYNC", "CONNECTION", "GALERA", "Question", "Questions"]


class Question(NamedTuple):
    """`settings`: names of the role's settings that the gate goes by; `when`: only roles of which this is true."""

    gate: Gate
    ask: Callable[..., Finding]
    settings: tuple[str, ...] = ()
    when: Callable[[Role], Any] | None = None


Questions = tuple[Question, ...]

# Asked of every sample, of one without facts too.
CONNECTION: Questions = (
    Question(Gate.FRESH, gates_server.fresh),
    Question(Gate.REACHABLE, gates_server.reachable),
    Question(Gate.ANSWERING, gates_server.answering),
    Question(Gate.LOGIN, gates_server.login),
    Question(Gate.ROOM, gates_server.room),
)
_PORT = Question(Gate.CLIENT_PORT, gates_server.client_port)
_TAGS = Question(Gate.TAGS, gates_server.tags, ("tags",), lambda role: role.tags)
_WARM_UP = Question(Gate.WARM_UP, gates_server.warm_up, (), lambda role: role.buffer_pool_load)
_MEMBER: Questions = (
    _PORT,
    Question(Gate.WSREP_ON, gates_galera.wsrep_on),
    Question(Gate.PRIMARY_COMPONENT, gates_galera.primary_component),
    Question(Gate.READY, gates_galera.ready),
    Question(Gate.SAME_CLUSTER, gates_galera.same_cluster),
    Question(Gate.MIN_SIZE, gates_galera.min_size, ("min_size",), lambda role: role.min_size),
    Question(Gate.ACCEPTING, gates_galera.accepting),
    Question(Gate.THAW, gates_galera.thaw),
)
_STATE: Questions = (
    Question(Gate.STATE, gates_galera.state),
    Question(Gate.DONOR, gates_galera.donor, ("donor",)),
    Question(Gate.DESYNC, gates_galera.desync, ("desync", "reads_only")),
)
_FLOW = Question(Gate.FLOW, gates_galera.flow, ("flow",), lambda role: role.flow is not FlowControl.OFF)
_QUEUE = Question(Gate.QUEUE, gates_galera.queue, ("max_queue", "asked_queue"))
_WATCHED: Questions = (
    Question(Gate.DISK, gates_server.disk, ("min_disk_free",), lambda role: role.min_disk_free),
    Question(Gate.WRITE_PROBE, gates_server.write_probe, (), lambda role: role.write_probe),
    Question(Gate.RESTARTS, gates_server.restarts, ("max_restarts",), lambda role: role.max_restarts),
)
_WRITABLE = Question(Gate.WRITABLE, gates_replication.writable)
_EXCLUDE = Question(Gate.EXCLUDE_WRITER, gates_replication.exclude_writer, (), lambda role: role.exclude_writer)
_REPLICA: Questions = (
    Question(
        Gate.REPLICA_THREADS,
        gates_replication.replica_threads,
        ("connections", "grace_seconds", "require_replication", "primary_lost", "replication_required"),
    ),
    Question(Gate.LAG, gates_replication.lag, ("connections", "max_lag_seconds", "subtract_delay", "primary_lost")),
    Question(Gate.LINK, gates_replication.link, ("connections", "primary_lost")),
    Question(Gate.REPLICA_ERROR, gates_replication.replica_error, ("connections", "grace_seconds")),
)
_REQUIRED = tuple(question._replace(when=lambda role: role.replication_required) for question in _REPLICA)
_SERVING: Questions = (*_MEMBER, *_STATE)
_WRITING: Questions = (
    *_SERVING,
    _FLOW,
    _WRITABLE,
    *_WATCHED,
    Question(Gate.PROGRESS, gates_galera.progress),
    Question(Gate.MEMBERSHIP, gates_galera.membership, ("paranoid",)),
    _WARM_UP,
    _TAGS,
)
_ANSWERS = Question(Gate.STATE, gates_galera.answers_at_all)
_WHOLE = Question(Gate.STATE, gates_galera.whole)
GALERA: dict[Base, Questions] = {
    Base.ANY: (*_SERVING, _TAGS),
    Base.SYNCED: (*_MEMBER, Question(Gate.STATE, gates_galera.synced), _TAGS),
    Base.READER: (*_SERVING, _QUEUE, _FLOW, *_REQUIRED, _EXCLUDE, _WARM_UP, _TAGS),
    Base.CANDIDATE: _WRITING,
    Base.WRITER: _WRITING,
    Base.STALE_OK: (_PORT, Question(Gate.ACCEPTING, gates_galera.accepting), _ANSWERS, _TAGS),
}
_PRIMARY: Questions = (
    _PORT,
    _WHOLE,
    _WRITABLE,
    Question(Gate.ASYNC_WRITER, gates_replication.async_writer, ("ring",)),
    *_WATCHED,
    _WARM_UP,
    _TAGS,
)
ASYNC: dict[Base, Questions] = {
    # up where candidate or reader is up: a candidate has no source (but for a ring) and is writable, so it passes
    Base.ANY: (_PORT, _WHOLE, *_REPLICA, _TAGS),
    Base.SYNCED: (Question(Gate.STATE, gates_galera.not_galera),),
    Base.READER: (_PORT, _WHOLE, *_REPLICA, _EXCLUDE, _WARM_UP, _TAGS),
    Base.CANDIDATE: _PRIMARY,
    Base.WRITER: _PRIMARY,
    Base.STALE_OK: (_PORT, _ANSWERS, _TAGS),
}
