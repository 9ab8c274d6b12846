"""The part of the configuration that the rules go by. Every threshold stands here with its default."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Amount", "Base", "FlowControl", "Policy", "PrimaryLost", "Role", "Topology", "Weights"]


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
    STALE_OK = "stale-ok"


class FlowControl(StrEnum):
    """What a node that pauses the cluster does to a role: nothing, a lower weight, or from 0.8 on an end."""

    OFF = "off"
    WEIGHT = "weight"
    STOP = "stop"


class PrimaryLost(StrEnum):
    """What a reader does when the link to its source is the only thing that fails."""

    DOWN = "down"
    SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Amount:
    """Free space that must remain: a ratio of the filesystem, or bytes; one of the two."""

    ratio: float = 0.0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Which factors a role's weight is made of; False, 1.0 or 0 switches one off."""

    lag: bool = True
    queue: bool = True
    flow: bool = True
    connections: bool = True
    donor: float = 0.3
    desynced: float = 0.5
    warm_up_seconds: float = 30.0
    step: int = 10
    raise_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A question with its thresholds; docs/configuration.md has them one by one."""

    name: str
    base: Base
    max_lag_seconds: float = 10.0
    soft_lag_seconds: float | None = None  # None: half of max_lag
    subtract_delay: bool = False
    connections: tuple[str, ...] | None = None  # None: all of them
    donor: bool = False
    desync: bool = False
    max_queue: int | None = None  # None: twice the live flow-control limit
    asked_queue: int | None = None  # what a request asks for on top of that
    min_size: int = 0
    flow: FlowControl = FlowControl.WEIGHT
    min_disk_free: Amount | None = None
    write_probe: bool = False
    paranoid: bool = False
    max_restarts: int = 3  # within ten minutes; 0: any number
    buffer_pool_load: bool = False
    require_replication: bool = True
    replication_required: bool = False  # of a Galera node that is a replica too
    grace_seconds: float = 10.0
    primary_lost: PrimaryLost = PrimaryLost.DOWN
    exclude_writer: bool = False
    ring: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()  # what the node must be tagged with
    ignore: frozenset[str] = frozenset()  # names of gates
    drain: bool = False  # what would be up is draining
    dry_run: bool = False  # judged and told, and nothing goes by it
    weights: Weights = Weights()

    @property
    def reads_only(self) -> bool:
        return self.base is Base.READER


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that the rules need of the configuration."""

    roles: tuple[Role, ...]
    topology: Topology = Topology.AUTO
    cluster_uuid: str | None = None
    max_age_seconds: float = 3.0
    heartbeats: bool = False  # there is a heartbeat table: the lag is read there and nowhere else
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def reader(self) -> Role:
        """The built-in reader: its limits are behind the states `replica_lagging` and `replica_error`."""
        built_in = next((role for role in self.roles if role.name == Base.READER), None)
        return built_in or Role(name=Base.READER, base=Base.READER)
