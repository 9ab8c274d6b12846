"""One login at the server and the few statements that are asked through it.

They work on a node without quorum and need no right but SLAVE MONITOR for the replication rows: SHOW, and SELECT
without a table. Nothing is asked by version: what a server has not, it does not show.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from healthagent import parse, tables
from healthagent.facts import Heartbeat
from healthagent.link import Link

__all__ = ["Login", "Session", "Watch", "link_to"]


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _status(scope: str, *names: str) -> bytes:
    return f"SHOW {scope} STATUS WHERE Variable_name IN ({_names(names)})".encode()


def _select(names: Iterable[str]) -> bytes:
    """@@name costs the server a twentieth of SHOW VARIABLES, but fails for a name that is absent."""
    return f"SELECT {', '.join(f'@@global.{name} AS {name}' for name in names)}".encode()


STATUS = _status("GLOBAL", *parse.GALERA_STATUS, *parse.SERVER_STATUS)
PRESENT = f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({_names(parse.VARIABLES)})".encode()
REPLICATION = b"SHOW ALL SLAVES STATUS"

# What is looked at between two probes: what a gate of damping "now" goes by, as far as it can change while the server
# runs. Two things wait for the probe: Threads_connected, which moves all the time, and a donor's queue.
# wsrep_desync_count is 2 in the last second of a mariabackup, in which it blocks commits.
SWIFT_STATUS = (
    "wsrep_local_state",
    "wsrep_cluster_status",
    "wsrep_connected",
    "wsrep_ready",
    "wsrep_evs_state",
    "wsrep_cluster_size",
    "wsrep_cluster_conf_id",
    "wsrep_cluster_state_uuid",
    "wsrep_desync_count",
)
SWIFT_VARIABLES = (
    "read_only",
    "innodb_read_only",
    "wsrep_on",
    "wsrep_provider",
    "wsrep_desync",
    "wsrep_reject_queries",
    "pxc_maint_mode",
    "wsrep_dirty_reads",
    "max_connections",
)
SWIFT_REPLICATION = ("Connection_name", "Slave_IO_Running", "Slave_SQL_Running", "Last_IO_Errno", "Last_SQL_Errno")
# What the provider says is the same in any scope; a global one adds up all connections first (measured: 1 us for each).
SWIFT_STATEMENT = _status("SESSION", *SWIFT_STATUS)

Seen = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to reach the server: a socket, or host and port. `local`: its processes are ours to see."""

    user: str
    password: str = field(default="", repr=False)
    socket: str | None = None
    host: str = "127.0.0.1"
    port: int = 3306
    datadir: str | None = None
    pid_file: str | None = None

    @property
    def local(self) -> bool:
        return self.socket is not None or self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def where(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is looked at besides the facts, and what may be written; tables are `database.table`. None: not at all."""

    client_port_seconds: float | None = None
    disk: bool = False
    write_table: str | None = None
    heartbeat_table: str | None = None
    heartbeat_utc: bool = True
    heartbeat_write: bool = False

    @property
    def once(self) -> "Watch":
        """For a single look at the server: only what is known with the first facts."""
        return Watch(disk=self.disk, heartbeat_table=self.heartbeat_table, heartbeat_utc=self.heartbeat_utc)


def link_to(login: Login) -> Link:
    """A connection that is not opened yet."""
    address = {"unix_socket": login.socket} if login.socket else {"host": login.host, "port": login.port}
    return Link(
        user=login.user, password=login.password, autocommit=True, program_name="healthagent", ssl=None, **address
    )


class Session:
    """A login that is made at the first statement. Not to be used by two at once, nor again after an error."""

    def __init__(self, login: Login, *, statement_seconds: float) -> None:
        self._link = link_to(login)
        self._statement_seconds = statement_seconds
        self._select = self._swift_select = b""
        self._swift_names: tuple[str, ...] = ()
        self._status: Seen | None = None
        self._variables: Seen = ()
        self._threads: tuple[Seen, ...] | None = None
        self.over = False
        self.datadir: str | None = None
        self.pid_file: str | None = None

    @property
    def greeted(self) -> bool:
        """The server has said its first word."""
        return bool(self._link.greeted)

    @property
    def server_pid(self) -> int | None:
        """The process behind a Unix socket, None over TCP."""
        return self._link.server_pid()

    async def facts(self) -> Mapping[str, object]:
        """Global status and variables by name, those that exist. Two statements, five at the first time."""
        if not self._select:
            await self._open()
        answers = await self._link.texts(STATUS, self._select)
        status, (variables,) = answers[0].pairs, answers[1].mappings
        # without a provider there is no such state, and SHOW STATUS costs the server more than all the rest
        loaded = "wsrep_local_state" in status
        self._status = tuple([status.get(name) for name in SWIFT_STATUS]) if loaded else None
        self._variables = tuple([variables[name] for name in self._swift_names])
        return status | variables

    async def replications(self) -> list[dict[str, str | None]]:
        """One row per replication connection; error 1227 without SLAVE MONITOR."""
        self._threads = None
        rows = await self._replication()
        self._threads = _swift_threads(rows)
        return rows

    async def moved(self) -> bool:
        """Whether anything that a gate falls for at once is not as facts() has brought it. One or two statements."""
        asked = [self._swift_select] if self._status is None else [self._swift_select, SWIFT_STATEMENT]
        variables, *others = await self._link.texts(*asked)
        status = [tuple([other.pairs.get(name) for name in SWIFT_STATUS]) for other in others]
        return variables.rows != (self._variables,) or status not in ([], [self._status])

    async def threads_moved(self) -> bool:
        """The same of replications(), of their threads and errors. One statement."""
        return _swift_threads(await self._replication()) != self._threads

    @property
    def has_threads(self) -> bool:
        """Whether threads_moved() can tell anything: never without the right, nor on a Galera node without rows."""
        return self._threads is not None and (self._status is None or bool(self._threads))

    async def heartbeats(self, watch: Watch) -> tuple[Heartbeat, ...]:
        """The rows of `watch.heartbeat_table`; error 1142 without SELECT on it, 1969 behind a lock on it."""
        assert watch.heartbeat_table is not None
        limit = self._statement_seconds / 2
        read = tables.read_heartbeats(watch.heartbeat_table, utc=watch.heartbeat_utc, statement_seconds=limit)
        return tables.heartbeats(await self._link.rows(read))

    async def ended(self) -> None:
        """Returns when the server has closed the connection, and sets `over`; only while no statement runs."""
        await self._link.ended()
        self.over = True

    def close(self) -> None:
        self._link.abort()

    async def _replication(self) -> list[dict[str, str | None]]:
        (answer,) = await self._link.texts(REPLICATION)  # by itself, as it may hang
        return answer.mappings

    async def _open(self) -> None:
        await self._link.open(self._statement_seconds)
        (shown,) = await self._link.texts(PRESENT)
        present = shown.pairs
        self.datadir, self.pid_file = present.get("datadir"), present.get("pid_file")
        self._swift_names = tuple(name for name in SWIFT_VARIABLES if name in present)
        self._swift_select = _select(self._swift_names)
        self._select = _select(name for name in parse.VARIABLES if name in present)


def _swift_threads(rows: Iterable[Mapping[str, str | None]]) -> tuple[Seen, ...]:
    return tuple([tuple([row.get(name) for name in SWIFT_REPLICATION]) for row in rows])
