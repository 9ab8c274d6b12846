"""What one probe brings: the rows of MariaDB, and what the operating system shows, as values.

`None` always means "not known", never 0, and unknown never serves. Times named `_at` or `_since` are seconds of
healthagent.clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

__all__ = [
    "MISSING_MEMBER",
    "Beside",
    "ClientPort",
    "Disk",
    "Evidence",
    "Failure",
    "FailureKind",
    "Galera",
    "Heartbeat",
    "LocalState",
    "Position",
    "ProcessState",
    "Progress",
    "Replication",
    "Rows",
    "Server",
    "Snapshot",
    "Transfer",
    "WriteProbe",
]


class LocalState(IntEnum):
    """wsrep_local_state. 0 is a node without a group, or one that has lost it."""

    INITIALIZED = 0
    JOINING = 1
    DONOR_DESYNCED = 2
    JOINED = 3
    SYNCED = 4
    INCONSISTENT = 5


MISSING_MEMBER = 2**64 - 1  # what wsrep_local_index and wsrep_cluster_conf_id say of a node that is no member


class FailureKind(StrEnum):
    """Why a probe brought no facts; one kind is one metric label."""

    REFUSED = "refused"  # nobody listens there: ECONNREFUSED, ENOENT
    UNREACHABLE = "unreachable"  # no way there: the network, a name that is not found
    LOST = "lost"  # the server closed the connection during the login
    TIMEOUT = "timeout"  # the port is open and nothing comes back in time
    LOGIN = "login"
    LIMIT = "limit"
    QUERY = "query"  # an answer that this program does not understand
    LOCAL = "local"  # this program itself lacks something: files, memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """`code` is MariaDB's error number or the errno; `silent_after_eof`: see docs/how-it-decides.md, "Hung"."""

    kind: FailureKind
    message: str
    code: int | None = None
    silent_after_eof: bool = False


class ProcessState(StrEnum):
    """What /proc says about the server's process; NEW is alive and has never answered us."""

    ALIVE = "alive"
    NEW = "new"
    STOPPED = "stopped"
    EXITING = "exiting"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A running wsrep_sst_* script of our server: `method` is what follows wsrep_sst_ in its name."""

    joiner: bool
    method: str
    bypass: bool = False

    @property
    def blocking(self) -> bool:
        """Only the backup methods leave the donor writable; an unknown method is taken for a blocking one."""
        return not self.bypass and self.method not in ("mariabackup", "xtrabackup-v2", "xtrabackup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the state transfer to this node has come. `total_bytes` None: nothing here tells how much will come."""

    source: str | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None
    started_at: float | None = None
    end_at: float | None = None  # estimated from the rate so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the operating system shows. `transfers` None: the processes cannot be seen from here."""

    process: ProcessState | None = None
    transfers: tuple[Transfer, ...] | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Galera:
    """wsrep status and variables; counters of a node that is no member are None."""

    provider: str | None = None
    on: bool | None = None
    local_state: int | None = None
    local_state_comment: str | None = None
    local_state_detail: str | None = None  # what stands behind the ':' of the comment
    cluster_status: str | None = None
    connected: bool | None = None
    ready: bool | None = None
    cluster_size: int | None = None
    local_index: int | None = None
    cluster_conf_id: int | None = None
    cluster_state_uuid: str | None = None
    member_uuid: str | None = None  # wsrep_gcomm_uuid
    desync: bool | None = None
    desync_count: int | None = None
    reject_queries: str | None = None
    dirty_reads: bool | None = None  # sessions may read without a quorum
    maintenance_mode: str | None = None  # Percona's pxc_maint_mode; None where it does not exist
    recv_queue: int | None = None
    recv_queue_lower: int | None = None  # the flow-control limits as they are now, see parse.flow_control_limits
    recv_queue_upper: int | None = None
    flow_control_sent: int | None = None
    flow_control_paused: float | None = None  # part of the time since FLUSH STATUS; Flow.paused is that of now
    flow_control_paused_ns: int | None = None
    last_committed: int | None = None
    open_transactions: int | None = None
    evs_state: str | None = None
    suspect_timeout_seconds: float | None = None  # evs.suspect_timeout of wsrep_provider_options, as it is now
    incoming_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A GTID position in one domain."""

    domain: int
    server_id: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """One row of SHOW ALL SLAVES STATUS. `lag_seconds` is Seconds_Behind_Master: NULL is None.

    `time_diff_seconds` is Master_Slave_time_diff (MariaDB 11.6 and later), which is no lag: see links.py.
    `received`: whatever moves when anything comes from the source, for comparison only.
    """

    connection: str = ""
    source: str | None = None
    source_server_id: int | None = None
    io_running: str | None = None
    io_state: str | None = None
    sql_running: str | None = None
    lag_seconds: int | None = None
    time_diff_seconds: int | None = None
    io_errno: int | None = None
    io_error: str | None = None
    sql_errno: int | None = None
    sql_error: str | None = None
    delay_seconds: int | None = None
    heartbeat_period_seconds: float | None = None
    received: tuple[str, ...] = ()
    gtid_io_pos: tuple[Position, ...] = ()
    gtid_slave_pos: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Facts that every MariaDB has."""

    version: str | None = None
    hostname: str | None = None
    node_name: str | None = None
    server_id: int | None = None
    port: int | None = None
    bind_address: str | None = None
    skip_networking: bool | None = None
    read_only: bool | None = None
    innodb_read_only: bool | None = None
    log_bin: bool | None = None
    max_connections: int | None = None
    threads_connected: int | None = None
    threads_running: int | None = None
    uptime_seconds: int | None = None
    ddl_statements: int | None = None  # those that can run for minutes; counted when they start, by appliers too
    buffer_pool_loaded: bool | None = None
    gtid_binlog_pos: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One row of the heartbeat table: how old what `server_id` wrote there last is."""

    server_id: int
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPort:
    """The way that clients take. `open` None: it cannot be seen from here. `how`: "login" or "listen"."""

    open: bool | None = None
    how: str | None = None
    address: str | None = None
    code: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The filesystem of the datadir, as an unprivileged process sees it."""

    free_bytes: int
    total_bytes: int

    @property
    def free_ratio(self) -> float:
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteProbe:
    """The row of our own that is written while nobody else writes.

    `pending_since`: the write under way has been waiting since then; `error` and MariaDB's `code`: how the last one
    failed.
    """

    pending_since: float | None = None
    error: str | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is looked at beside the probe and at a pace of its own; None: not asked for, or not known yet."""

    client_port: ClientPort | None = None
    disk: Disk | None = None
    write_probe: WriteProbe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the server answered, before anybody read it: status and variables by name, and the rows of SHOW ALL SLAVES
    STATUS (None: they could not be read).
    """

    facts: Mapping[str, object]
    slaves: tuple[Mapping[str, object], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One ended probe. With a `failure` there are no facts: `server` and `galera` are None, whatever was before.

    `galera` is None on a server without wsrep; `replications` None means that the rows could not be read, `heartbeats`
    None that no table is configured or that it could not be read. `glanced_at`: when the server has last answered
    a look before this one, be it a glance that found nothing new. `rows`: what `server`, `galera` and `replications`
    were read from, for the record.
    """

    sequence: int
    ended_at: float
    duration_seconds: float = 0.0
    failure: Failure | None = None
    server: Server | None = None
    galera: Galera | None = None
    replications: tuple[Replication, ...] | None = None
    heartbeats: tuple[Heartbeat, ...] | None = None
    evidence: Evidence = Evidence()
    beside: Beside = Beside()
    glanced_at: float | None = None
    rows: Rows | None = field(default=None, compare=False, repr=False)

    @property
    def started_at(self) -> float:
        """When the server was asked: what it answered is as old as that, however long it took."""
        return self.ended_at - self.duration_seconds
