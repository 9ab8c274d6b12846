"""The closed lists of words that leave this program: states and reasons.

The numbers are a promise to monitoring: a number, once released, never changes its meaning and is never used
again. New words take new numbers.
"""

from enum import IntEnum, StrEnum, unique
from typing import NamedTuple

__all__ = ["GATE_TEXT", "REASON_TEXT", "STATE_TEXT", "Gate", "GateText", "Reason", "State"]


class Word(IntEnum):
    """A member's number is stable; its `word` is what people and balancers see."""

    @property
    def word(self) -> str:
        return self.name.lower()


@unique
class State(Word):
    """One word for the node. Outside Galera the words from PRIMARY on apply."""

    UNKNOWN = 0
    STALE = 1
    DOWN = 2
    SERVER_STARTING = 3
    SST_JOINER = 4
    HUNG = 5
    AUTH_ERROR = 6
    CONNECTION_LIMIT = 7
    INCONSISTENT = 8
    DISCONNECTED = 9
    NON_PRIMARY = 10
    JOINING = 11
    JOINED = 12
    REJECTING = 13
    DONOR_BLOCKING = 14
    DONOR = 15
    DESYNCED = 16
    SYNCED = 17
    NOT_READY = 18
    STALLED = 19
    THAWED = 20
    WSREP_OFF = 21
    PRIMARY = 30
    REPLICA = 31
    REPLICA_LAGGING = 32
    REPLICA_STALE_LINK = 33
    REPLICA_STOPPED = 34
    REPLICA_ERROR = 35
    STANDALONE = 40


@unique
class Reason(Word):
    """Why a role is not up, or, with a role that is up, what is being held back or capped.

    1-39 follow the states of the same name, 40-49 are about the agent, 50-79 about one role, 80 up about replication.
    """

    UNKNOWN = 1
    STALE = 2
    DOWN = 3
    SERVER_STARTING = 4
    SST_JOINER = 5
    HUNG = 6
    AUTH_ERROR = 7
    CONNECTION_LIMIT = 8
    INCONSISTENT = 9
    DISCONNECTED = 10
    NON_PRIMARY = 11
    JOINING = 12
    JOINED = 13
    REJECTING = 14
    DONOR_BLOCKING = 15
    DONOR = 16
    DESYNCED = 17
    NOT_READY = 18
    WSREP_OFF = 19
    THAWED = 20
    STALLED = 21
    STARTING = 40
    DRAINING = 41
    READ_ONLY = 50
    NOT_GALERA = 51
    IS_PRIMARY = 52
    OTHER_CLUSTER = 53
    CLUSTER_TOO_SMALL = 54
    RECV_QUEUE = 55
    FLOW_CONTROL = 56
    DISK_SPACE = 57
    MEMBERSHIP = 58
    WARMING_UP = 59
    RESTARTS = 60
    CLIENT_PORT = 61
    TAG_MISMATCH = 62
    IS_REPLICA = 80
    REPLICA_STOPPED = 81
    REPLICA_ERROR = 82
    REPLICA_STALE_LINK = 83
    REPLICA_LAGGING = 84
    NOT_REPLICATING = 85
    REPLICATION_UNKNOWN = 86
    FATAL_BINLOG_ERROR = 87
    PRIMARY_LOST = 88


class Gate(StrEnum):
    """The gates a node must pass, in the order in which their reasons are told. docs/gates.md says what each asks."""

    FRESH = "fresh"
    REACHABLE = "reachable"
    ANSWERING = "answering"
    LOGIN = "login"
    ROOM = "room"
    CLIENT_PORT = "client_port"
    WSREP_ON = "wsrep_on"
    PRIMARY_COMPONENT = "primary_component"
    READY = "ready"
    SAME_CLUSTER = "same_cluster"
    MIN_SIZE = "min_size"
    ACCEPTING = "accepting"
    THAW = "thaw"
    STATE = "state"
    DONOR = "donor"
    DESYNC = "desync"
    QUEUE = "queue"
    FLOW = "flow"
    WRITABLE = "writable"
    REPLICA_THREADS = "replica_threads"
    LAG = "lag"
    LINK = "link"
    REPLICA_ERROR = "replica_error"
    ASYNC_WRITER = "async_writer"
    EXCLUDE_WRITER = "exclude_writer"
    DISK = "disk"
    PROGRESS = "progress"
    WRITE_PROBE = "write_probe"
    MEMBERSHIP = "membership"
    WARM_UP = "warm_up"
    RESTARTS = "restarts"
    TAGS = "tags"


STATE_TEXT: dict[State, str] = {
    State.UNKNOWN: "nothing is known yet, or a fact that decides is missing",
    State.STALE: "no probe has ended for max_age: the facts are too old to serve",
    State.DOWN: "no server process, no socket, or the connection is refused",
    State.SERVER_STARTING: "the server process lives but does not listen yet, and no state transfer runs",
    State.SST_JOINER: "a state snapshot transfer to this node runs; the SQL port is shut until it ends",
    State.HUNG: "the server accepts connections but does not answer in time",
    State.AUTH_ERROR: "the server refuses the login of the monitoring account",
    State.CONNECTION_LIMIT: "the server refuses connections: its connection limit is reached",
    State.INCONSISTENT: "the node was voted out of the cluster because its data differ",
    State.DISCONNECTED: "the node has left the group and does not try to come back",
    State.NON_PRIMARY: "the node sees no quorum",
    State.JOINING: "the node receives a state transfer",
    State.JOINED: "the node has its state and is catching up",
    State.REJECTING: "wsrep_reject_queries (or pxc_maint_mode) turns clients away",
    State.DONOR_BLOCKING: "the node donates a state transfer that blocks its writes",
    State.DONOR: "the node donates a state transfer that does not block",
    State.DESYNCED: "the node is out of flow control: wsrep_desync, FTWRL, RSU, a backup or an IST",
    State.SYNCED: "the node is a synced member of the Primary component",
    State.NOT_READY: "wsrep_ready is OFF: the node does not take queries yet",
    State.STALLED: "writes stand still: transactions wait and nothing is committed, or a write of our own hangs",
    State.THAWED: "the node was frozen and does not know yet what it has missed: it would serve old rows",
    State.WSREP_OFF: "a Galera node whose replication is switched off: its writes would stay local",
    State.PRIMARY: "outside Galera: no replication source, binary log on",
    State.REPLICA: "outside Galera: replicates from a source, within its limits",
    State.REPLICA_LAGGING: "the replica is further behind than the reader's max_lag",
    State.REPLICA_STALE_LINK: "the link to the source is lost: the replica reconnects, or nothing comes through it",
    State.REPLICA_STOPPED: "a replication thread is stopped, or a read-only server has no replication source",
    State.REPLICA_ERROR: "replication stopped with an error",
    State.STANDALONE: "outside Galera: no replication source, binary log off",
}

REASON_TEXT: dict[Reason, str] = {
    **{Reason[state.name]: text for state, text in STATE_TEXT.items() if state.name in Reason.__members__},
    Reason.STARTING: "the agent has just started: no probe has ended yet",
    Reason.DRAINING: "the role is drained: it would be up, and takes no new work",
    Reason.READ_ONLY: "read_only or innodb_read_only is on: writes would fail",
    Reason.NOT_GALERA: "the role asks for a synced Galera node and this server is none",
    Reason.IS_PRIMARY: "the role leaves the primary out",
    Reason.OTHER_CLUSTER: "the node is a member of another cluster than before: the uuid of its state has changed",
    Reason.CLUSTER_TOO_SMALL: "wsrep_cluster_size is below the role's min_size",
    Reason.RECV_QUEUE: "the receive queue is too long: what is read here is old",
    Reason.FLOW_CONTROL: "flow control pauses the cluster; where the role falls, this node is who asks for it",
    Reason.DISK_SPACE: "too little free space on the filesystem of the datadir",
    Reason.MEMBERSHIP: "wsrep_evs_state has left OPERATIONAL: the members are finding out who is still there",
    Reason.WARMING_UP: "the buffer pool is still being loaded",
    Reason.RESTARTS: "the server has been started too often within ten minutes",
    Reason.CLIENT_PORT: "clients cannot get in: the server's TCP port is shut, or a login through it fails",
    Reason.TAG_MISMATCH: "the node is not tagged as the role, or the request, asks",
    Reason.IS_REPLICA: "the server replicates from another one: writes belong there",
    Reason.NOT_REPLICATING: "a replication source, or one that the role asks for, is not configured: the data grow old",
    Reason.REPLICATION_UNKNOWN: "SHOW ALL SLAVES STATUS, or the heartbeat table, could not be read or makes no sense",
    Reason.FATAL_BINLOG_ERROR: "the source cannot serve the binary log that the replica needs (error 1236)",
    Reason.PRIMARY_LOST: "the source is gone and nothing else is wrong: the role serves what it has",
}


class GateText(NamedTuple):
    """For people: what a gate asks, when it falls, and which setting (of a role, or with its section) it goes by."""

    asks: str
    falls: str = "at once"
    setting: str = ""


HELD = "held while facts are younger than `max_age`"
DAMPED = "after 1 s"
GATE_TEXT: dict[Gate, GateText] = {
    Gate.FRESH: GateText("facts are not older than `max_age`", setting="`probe.max_age`"),
    Gate.REACHABLE: GateText("the server accepts connections"),
    Gate.ANSWERING: GateText(
        "it answers within `timeout`",
        "after 2 timeouts; after 1 when /proc shows the process stopped, exiting or gone, or when a new connection "
        "gets no greeting within 100 ms after the kept one was closed",
        "`probe.timeout`",
    ),
    Gate.LOGIN: GateText("it accepts the login", f"{HELD}: the kept connection outlives a password rotation"),
    Gate.ROOM: GateText(
        "`Threads_connected` < `max_connections`, and no error 1040 at the client port",
        f"caps the weight at 1; if the agent itself cannot get in: {HELD}",
    ),
    Gate.CLIENT_PORT: GateText(
        "clients get in: a login over TCP where the account may, else the port is in LISTEN",
        DAMPED,
        "`probe.client_port`",
    ),
    Gate.WSREP_ON: GateText("a provider is loaded and `wsrep_on` is ON"),
    Gate.PRIMARY_COMPONENT: GateText("`wsrep_cluster_status` is Primary, in a view with members and a number"),
    Gate.READY: GateText("`wsrep_ready` and `wsrep_connected` are ON"),
    Gate.SAME_CLUSTER: GateText(
        "`wsrep_cluster_state_uuid` is that of the cluster this node was synced in first, until `ack --cluster`",
        setting="`mysql.cluster_uuid`",
    ),
    Gate.MIN_SIZE: GateText("`wsrep_cluster_size` is at least that", DAMPED, "`min_size`"),
    Gate.ACCEPTING: GateText("`wsrep_reject_queries` is NONE, and `pxc_maint_mode`, where there is one, DISABLED"),
    Gate.THAW: GateText(
        "the node was not frozen, or knows by now what it has missed",
        "at once, when it answers again after 0.8 x `evs.suspect_timeout` of silence (after any silence at the agent's "
        "own start); until its view has changed and "
        "it is synced, or `evs.suspect_timeout` + 3 s have passed with `wsrep_evs_state` OPERATIONAL",
    ),
    Gate.STATE: GateText(
        "`wsrep_local_state` is 4, or 2 and left to the next two; not voted out before (until `ack`), which is all "
        "that is asked outside Galera"
    ),
    Gate.DONOR: GateText(
        "no state transfer from here; or it does not block, the role allows it and the receive queue is at most 100",
        setting="`donor`",
    ),
    Gate.DESYNC: GateText(
        "not in state 2 for another reason, or the role allows it", "after a hold, see below", "`desync`"
    ),
    Gate.QUEUE: GateText(
        "the receive queue is at most twice the flow-control limit as it is now (`gcs.fc_limit` x the square root of "
        "the members); back at half",
        DAMPED,
        "`max_queue`",
    ),
    Gate.FLOW: GateText(
        "this node has not paused the cluster for 0.8 of the last 10 s; less only lowers the weight, and the pauses of "
        "others are only told",
        f"{DAMPED}, with `flow: stop`",
        "`flow`",
    ),
    Gate.WRITABLE: GateText("`read_only` and `innodb_read_only` are OFF"),
    Gate.REPLICA_THREADS: GateText(
        "both replication threads run",
        "at once for a stopped thread; 10 s for one that reconnects; 1 s if the rows cannot be read",
        "`grace`, `connections`, `require_replication`, `primary_lost`",
    ),
    Gate.LAG: GateText(
        "the worst connection is within `max_lag`; back at half of it", DAMPED, "`max_lag`, `subtract_delay`"
    ),
    Gate.LINK: GateText(
        "heartbeats, `Gtid_IO_Pos` or the log position have moved within 10 s, or two heartbeat periods if that is "
        "more; never falls where heartbeats are off",
        DAMPED,
        "`primary_lost`",
    ),
    Gate.REPLICA_ERROR: GateText("no error stopped replication"),
    Gate.ASYNC_WRITER: GateText(
        "the server has no replication source, but for those of a ring",
        "at once, also if the rows cannot be read",
        "`ring`",
    ),
    Gate.EXCLUDE_WRITER: GateText("it is not the primary, where the role leaves that out", setting="`exclude_writer`"),
    Gate.DISK: GateText("enough free space on the filesystem of the datadir", DAMPED, "`min_disk_free`"),
    Gate.PROGRESS: GateText(
        "`wsrep_last_committed` has moved within 15 s while transactions wait; not during DDL or flow control",
        "never: it is only told, for it may be the whole cluster",
    ),
    Gate.WRITE_PROBE: GateText(
        "a row of the agent's own can be written, but while the whole cluster waits for DDL or flow control",
        DAMPED,
        "`write_probe`, `probe.write_table`",
    ),
    Gate.MEMBERSHIP: GateText(
        "`wsrep_evs_state` is OPERATIONAL; else the agent probes faster",
        "at once, with `membership: paranoid`",
        "`membership`",
    ),
    Gate.WARM_UP: GateText("the buffer pool has been loaded", "at once", "`buffer_pool_load`"),
    Gate.RESTARTS: GateText("the server was started less often than that within 10 minutes", DAMPED, "`max_restarts`"),
    Gate.TAGS: GateText("the node's own `tags` are those that the role, or the request, asks for", "at once", "`tags`"),
}
