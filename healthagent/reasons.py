"""The closed lists of words that leave this program: states and reasons.

The numbers are a promise to monitoring: a number, once released, never changes its meaning and is never used
again. New words take new numbers. Number 19 of the states belongs to a word that a later release speaks.
"""

from enum import IntEnum, unique

__all__ = ["REASON_TEXT", "STATE_TEXT", "Reason", "State"]


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

    1-49 follow the states of the same name, 50-79 are about one role, 80 up about replication.
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
    STARTING = 40
    READ_ONLY = 50
    NOT_GALERA = 51
    IS_PRIMARY = 52
    IS_REPLICA = 80
    REPLICA_STOPPED = 81
    REPLICA_ERROR = 82
    REPLICA_STALE_LINK = 83
    REPLICA_LAGGING = 84
    NOT_REPLICATING = 85
    REPLICATION_UNKNOWN = 86
    FATAL_BINLOG_ERROR = 87


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
    State.THAWED: "the node was frozen and does not know yet what it has missed: it would serve old rows",
    State.WSREP_OFF: "a Galera node whose replication is switched off: its writes would stay local",
    State.PRIMARY: "outside Galera: no replication source, binary log on",
    State.REPLICA: "outside Galera: replicates from a source, within its limits",
    State.REPLICA_LAGGING: "the replica is further behind than the reader's max_lag",
    State.REPLICA_STALE_LINK: "the replica has lost its link to the source and is reconnecting",
    State.REPLICA_STOPPED: "a replication thread is stopped, or a read-only server has no replication source",
    State.REPLICA_ERROR: "replication stopped with an error",
    State.STANDALONE: "outside Galera: no replication source, binary log off",
}

REASON_TEXT: dict[Reason, str] = {
    **{Reason[state.name]: text for state, text in STATE_TEXT.items() if state.name in Reason.__members__},
    Reason.STARTING: "the agent has just started: no probe has ended yet",
    Reason.READ_ONLY: "read_only or innodb_read_only is on: writes would fail",
    Reason.NOT_GALERA: "the role asks for a synced Galera node and this server is none",
    Reason.IS_PRIMARY: "the role leaves the primary out",
    Reason.IS_REPLICA: "the server replicates from another one: writes belong there",
    Reason.NOT_REPLICATING: "read_only is on but no replication source is configured: the data grow old",
    Reason.REPLICATION_UNKNOWN: "SHOW ALL SLAVES STATUS could not be read (SLAVE MONITOR missing, or it hangs)",
    Reason.FATAL_BINLOG_ERROR: "the source cannot serve the binary log that the replica needs (error 1236)",
}
