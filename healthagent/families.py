"""Every metric of /metrics with its type, labels and meaning, as data: docs/metrics.md is held against it.

The names are a promise to monitoring: one, once released, never changes its meaning.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["FAMILIES", "Family", "Kind", "Samples"]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    UNTYPED = "untyped"


class Family(NamedTuple):
    """`name` as it stands in the text format: that of a counter ends in `_total`."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


# label values, in the order of the family's labels, and the number
Samples = list[tuple[tuple[str, ...], float]]


def _gauge(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"healthagent_{name}", Kind.GAUGE, meaning, labels)


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"healthagent_{name}_total", Kind.COUNTER, meaning, labels)


UP = _gauge("up", "1: the newest ended probe has read the server, and not too long ago; else 0.")
BUILD_INFO = _gauge("build_info", "Always 1; the version of the agent.", "version")
STATE = _gauge("state", "1 for the state of the node, 0 for every other one.", "state")
STATE_CODE = _gauge("state_code", "The state as its number, which never changes.")
ELECTION_ENABLED = _gauge("election_enabled", "1 if one writer is elected; this version has no election: 0.")
ADMIN_STATE = _gauge("admin_state", "1 while an administrator has taken the node out by a command; not yet: 0.", "kind")
ROLE_UP = _gauge("role_up", "1 if the role is up: its path answers 200.", "role")
ROLE_DRAINING = _gauge("role_draining", "1 if the role would be up and is draining.", "role")
ROLE_DRY_RUN = _gauge("role_dry_run", "1 for a role that is a dry run; absent for all others.", "role")
ROLE_WEIGHT = _gauge("role_weight", "Weight of the role, from 1 to 100; 0 if it is not up.", "role")
ROLE_REASON = _gauge(
    "role_reason", "1 for each reason that the role gives now; absent for all others.", "role", "reason"
)
GATE_PASSED = _gauge("gate_passed", "1 if the role passes the gate, holds included, else 0.", "role", "gate")
TRANSITIONS = _counter("transitions", "How often the role became up, drain or down.", "role", "to")
STATE_TRANSITIONS = _counter("state_transitions", "How often the node came into the state.", "to")
PROBE_DURATION = Family(
    "healthagent_probe_duration_seconds", Kind.HISTOGRAM, "How long probes took, failed ones included."
)
PROBE_FAILURES = _counter("probe_failures", "Probes that brought nothing, by what went wrong.", "kind")
SAMPLE_AGE = _gauge("sample_age_seconds", "Time since the newest probe ended, whatever it brought.")
CHECKS = _counter(
    "checks",
    "Answers by listener, role (empty where none was asked) and code: the HTTP status, or up, drain, down.",
    *("listener", "role", "code"),
)
LAG = _gauge(
    "replication_lag_seconds", "How old the data of the connection are, and where that is read.", "connection", "source"
)
LINK_AGE = _gauge(
    "replication_link_age_seconds",
    "Time since anything came through the connection, at the newest probe.",
    "connection",
)
THREAD_RUNNING = _gauge(
    "replication_thread_running",
    "1 if the thread says Yes; 0 for No, Connecting and Preparing.",
    "connection",
    "thread",
)
REPLICATION_ERROR = _gauge(
    "replication_error", "Last_IO_Errno and Last_SQL_Errno of the connection; 0: none.", "connection", "thread"
)
CLUSTER_SIZE = _gauge("galera_cluster_size", "Members of the component, wsrep_cluster_size.")
LOCAL_STATE = _gauge("galera_local_state", "wsrep_local_state: 4 is Synced.")
GALERA_PRIMARY = _gauge("galera_primary", "1 if wsrep_cluster_status is Primary.")
GALERA_READY = _gauge("galera_ready", "1 if wsrep_ready is ON.")
GALERA_CONNECTED = _gauge("galera_connected", "1 if wsrep_connected is ON.")
RECV_QUEUE = _gauge("galera_recv_queue", "Write sets that wait to be applied, wsrep_local_recv_queue.")
FLOW_PAUSED = _gauge(
    "galera_flow_control_paused_ratio", "Part of the last 10 s in which flow control stood still, whoever asked for it."
)
FLOW_SENT = _counter(
    "galera_flow_control_sent", "Pauses that this node has asked for, wsrep_flow_control_sent; the server may reset it."
)
DESYNCS = _gauge("galera_desyncs", "What desyncs the node now, wsrep_desync_count.")
CONNECTIONS_USED = _gauge("connections_used_ratio", "Threads_connected as a part of max_connections.")
DATADIR_FREE = _gauge("datadir_free_ratio", "Free part of the filesystem of the datadir.")
RELOAD_SUCCESS = _gauge("config_last_reload_success", "0 if the configuration file was refused at the last reload.")
RELOAD_TIME = _gauge(
    "config_last_reload_timestamp_seconds", "When the configuration in use was loaded, seconds since 1970."
)

FAMILIES: tuple[Family, ...] = (
    *(UP, BUILD_INFO, STATE, STATE_CODE, ELECTION_ENABLED, ADMIN_STATE),
    *(ROLE_UP, ROLE_DRAINING, ROLE_DRY_RUN, ROLE_WEIGHT, ROLE_REASON, GATE_PASSED, TRANSITIONS, STATE_TRANSITIONS),
    *(PROBE_DURATION, PROBE_FAILURES, SAMPLE_AGE, CHECKS),
    *(LAG, LINK_AGE, THREAD_RUNNING, REPLICATION_ERROR),
    *(CLUSTER_SIZE, LOCAL_STATE, GALERA_PRIMARY, GALERA_READY, GALERA_CONNECTED, RECV_QUEUE),
    *(FLOW_PAUSED, FLOW_SENT, DESYNCS),
    *(CONNECTIONS_USED, DATADIR_FREE, RELOAD_SUCCESS, RELOAD_TIME),
)
