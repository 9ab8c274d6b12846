"""The values that travel from MariaDB to a balancer: Snapshot -> Assessment -> Verdict.

All are frozen. `None` always means "not known", never 0, and unknown never serves. Times named `_at` or `_since`
are seconds of the monotonic clock unless the name says `wall`.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum

from healthagent.reasons import Reason, State


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

    REFUSED = "refused"  # nobody listens: ECONNREFUSED, ENOENT, unreachable
    LOST = "lost"  # the server closed the connection during the login
    TIMEOUT = "timeout"  # the port is open and nothing comes back in time
    LOGIN = "login"
    LIMIT = "limit"
    QUERY = "query"  # an answer that this program does not understand


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
class Evidence:
    """What the operating system shows. `transfers` None: the processes cannot be seen from here."""

    process: ProcessState | None = None
    transfers: tuple[Transfer, ...] | None = None


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
    desync: bool | None = None
    desync_count: int | None = None
    reject_queries: str | None = None
    maintenance_mode: str | None = None  # Percona's pxc_maint_mode; None where it does not exist
    recv_queue: int | None = None
    last_committed: int | None = None
    evs_state: str | None = None
    suspect_timeout_seconds: float | None = None  # evs.suspect_timeout of wsrep_provider_options, as it is now
    incoming_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """One row of SHOW ALL SLAVES STATUS. `lag_seconds` is Seconds_Behind_Master: NULL is None."""

    connection: str = ""
    source: str | None = None
    io_running: str | None = None
    sql_running: str | None = None
    lag_seconds: int | None = None
    io_errno: int | None = None
    io_error: str | None = None
    sql_errno: int | None = None
    sql_error: str | None = None
    delay_seconds: int | None = None
    gtid_io_pos: str | None = None
    gtid_slave_pos: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Facts that every MariaDB has."""

    version: str | None = None
    hostname: str | None = None
    node_name: str | None = None
    read_only: bool | None = None
    innodb_read_only: bool | None = None
    log_bin: bool | None = None
    max_connections: int | None = None
    threads_connected: int | None = None
    uptime_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One ended probe. With a `failure` there are no facts: `server` and `galera` are None, whatever was before.

    `galera` is None on a server without wsrep; `replications` None means that the rows could not be read.
    """

    sequence: int
    ended_at: float
    duration_seconds: float = 0.0
    failure: Failure | None = None
    server: Server | None = None
    galera: Galera | None = None
    replications: tuple[Replication, ...] | None = None
    evidence: Evidence = Evidence()

    @property
    def started_at(self) -> float:
        """When the server was asked: what it answered is as old as that, however long it took."""
        return self.ended_at - self.duration_seconds


class Topology(StrEnum):
    AUTO = "auto"
    GALERA = "galera"
    ASYNC = "async"
    STANDALONE = "standalone"


class Base(StrEnum):
    """The questions this program can answer; every role asks one of them."""

    ANY = "any"
    SYNCED = "synced"
    READER = "reader"
    CANDIDATE = "candidate"
    WRITER = "writer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A question with its thresholds."""

    name: str
    base: Base
    max_lag_seconds: float = 10.0
    donor: bool = False
    desync: bool = False
    require_replication: bool = True
    exclude_writer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that assess and decide need of the configuration. `galera_pinned`: this was once a Galera node."""

    roles: tuple[Role, ...]
    topology: Topology = Topology.AUTO
    galera_pinned: bool = False
    max_age_seconds: float = 3.0
    replica_grace_seconds: float = 10.0

    @property
    def reader_max_lag_seconds(self) -> float:
        """The limit behind the state `replica_lagging`: that of the built-in reader."""
        return next((role.max_lag_seconds for role in self.roles if role.name == Base.READER), 10.0)


class Gate(StrEnum):
    """The gates a node must pass, in the order in which their reasons are told."""

    FRESH = "fresh"
    REACHABLE = "reachable"
    ANSWERING = "answering"
    LOGIN = "login"
    ROOM = "room"
    WSREP_ON = "wsrep_on"
    PRIMARY_COMPONENT = "primary_component"
    READY = "ready"
    ACCEPTING = "accepting"
    THAW = "thaw"
    STATE = "state"
    DONOR = "donor"
    DESYNC = "desync"
    WRITABLE = "writable"
    REPLICA_THREADS = "replica_threads"
    LAG = "lag"
    REPLICA_ERROR = "replica_error"
    ASYNC_WRITER = "async_writer"
    EXCLUDE_WRITER = "exclude_writer"


class Outcome(Enum):
    PASS = "pass"
    FAIL = "fail"
    CAP = "cap"  # serves on, with weight 1
    UNSEEN = "unseen"  # the probe brought nothing about it: what was known last stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one gate says about one snapshot.

    A failed gate falls once it has been bad for `hold_seconds` over at least `hold_samples` samples; the first
    sample of all decides at once. `value` and `limit` are for people.
    """

    gate: Gate
    outcome: Outcome = Outcome.PASS
    reason: Reason | None = None
    hold_seconds: float = 0.0
    hold_samples: int = 1
    rise_seconds: float = 0.5
    value: str | int | float | bool | None = None
    limit: str | int | float | bool | None = None

    @property
    def bad(self) -> bool:
        return self.outcome in (Outcome.FAIL, Outcome.CAP)


class Status(StrEnum):
    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to one role; everything a balancer sees of the role is rendered from this one value."""

    role: str
    status: Status = Status.DOWN
    weight: int = 0
    state: State = State.UNKNOWN
    reasons: tuple[Reason, ...] = (Reason.STARTING,)
    since_wall: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """One line of `why`: the finding and what damping made of it."""

    finding: Finding
    passed: bool
    pending: bool
    since_wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the agent says now. Before the first sample: no snapshot and every role down, `starting`.

    `facts` is the last snapshot that brought any; `wall_offset` turns monotonic seconds into wall clock ones.
    """

    snapshot: Snapshot | None = None
    facts: Snapshot | None = None
    wall_offset: float = 0.0
    state: State = State.UNKNOWN
    state_since_wall: float = 0.0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    gates: dict[str, tuple[GateReport, ...]] = field(default_factory=dict)
    galera: bool | None = None
