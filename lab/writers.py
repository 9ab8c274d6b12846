"""A client that writes all the time, and remembers what it was promised."""

import threading
import time
from dataclasses import dataclass
from itertools import groupby, pairwise
from types import TracebackType
from typing import Self

from lab import sql
from lab.mariadb import PORT, MariaDB


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A write that the server said it has committed; `at` is of the monotonic clock, `server` its report_host."""

    seq: int
    at: float
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A write, or a connect for it, that ended in an error; it may have been committed nevertheless."""

    seq: int
    at: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Writes that the same server acknowledged, one after the other: the first at `since`, the last at `until`."""

    server: str
    since: float
    until: float


class Writer:
    """One client thread: a row every `interval` seconds, each seq tried once, a new connection after every error."""

    def __init__(
        self,
        host: str,
        port: int = PORT,
        *,
        client: int = 1,
        timeout: float = 2.0,
        interval: float = 0.01,
        user: str = "app",
        password: str = "app",
    ) -> None:
        self.client = client
        self.acknowledged: list[Acknowledged] = []
        self.failed: list[Failed] = []
        self._host, self._port = host, port
        self._user, self._password = user, password
        self._timeout, self._interval = timeout, interval
        self._connection: sql.Connection | None = None
        self._server = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer-{client}", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends after the write under way, so after `timeout` at worst."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        seq = 0
        while not self._ending.wait(self._interval):
            seq += 1
            try:
                self._write(seq)
            except (sql.Error, OSError) as error:
                self.failed.append(Failed(seq=seq, at=time.monotonic(), error=repr(error)))
                self._disconnect()
            else:
                self.acknowledged.append(Acknowledged(seq=seq, at=time.monotonic(), server=self._server))
        self._disconnect()

    def _write(self, seq: int) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._server = sql.rows(self._connection, "SELECT @@report_host AS name")[0]["name"] or ""
        insert = "INSERT INTO shop.orders (client, seq) VALUES (%s, %s)"
        sql.execute(self._connection, insert, [self.client, seq])

    def _connect(self) -> sql.Connection:
        return sql.connect(
            host=self._host, port=self._port, user=self._user, password=self._password, timeout=self._timeout
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def longest_gap_ms(self) -> float:
        """Between two acknowledged writes that follow each other; 0 with fewer than two."""
        times = [write.at for write in tuple(self.acknowledged)]
        return 1000 * max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    @property
    def servers(self) -> frozenset[str]:
        """Who acknowledged writes."""
        return frozenset(write.server for write in tuple(self.acknowledged))

    @property
    def runs(self) -> list[Run]:
        """The servers in the order in which they took the writes."""
        return [
            Run(server=server, since=writes[0].at, until=writes[-1].at)
            for server, run in groupby(tuple(self.acknowledged), key=lambda write: write.server)
            if (writes := list(run))
        ]

    def verify(self, node: MariaDB) -> list[int]:
        """The lost writes: seqs that were acknowledged and are not on the node, once it has applied all that is
        committed by now.
        """
        with node.client() as session:
            sql.execute(session, "SET SESSION wsrep_sync_wait = 1")  # without Galera it is there and does nothing
            rows = sql.rows(session, "SELECT seq FROM shop.orders WHERE client = %s", [self.client])
        present = {row["seq"] for row in rows}
        return [write.seq for write in tuple(self.acknowledged) if write.seq not in present]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def seconds_apart(one: Writer, other: Writer) -> float:
    """How long two clients wrote to different servers at the same time: as far as such runs of theirs overlap."""
    overlaps = (
        min(run.until, another.until) - max(run.since, another.since)
        for run in one.runs
        for another in other.runs
        if run.server != another.server
    )
    return sum(overlap for overlap in overlaps if overlap > 0)
