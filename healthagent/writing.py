"""The two rows that this program writes where it is told to: one proves that writes come back, one carries the time.

Both go over one connection of their own and never two at once: a write that hangs is left alone, whatever comes.
"""

from collections.abc import Sequence

from healthagent import clock, tables
from healthagent.errand import SLACK_SECONDS, Errand
from healthagent.facts import Failure, FailureKind, Server, Snapshot, WriteProbe
from healthagent.link import Link, failure_of
from healthagent.session import Login, Watch, link_to
from healthagent.trail import is_synced, provider_loaded

__all__ = ["Writer", "is_writable"]

WRITE_SECONDS = 2.0
HEARTBEAT_SECONDS = 1.0
NODE_CHARACTERS = 128
# a lock wait timeout and a deadlock (so Galera calls a conflict, too) are no news: the next one tells
AGAIN_CODES = (1205, 1213)

Statement = tuple[str, tuple[object, ...]]


class Writer:
    """Writes only on a node that takes writes; the row of the write probe only while nobody else writes."""

    def __init__(self, login: Login, watch: Watch, *, timeout_seconds: float) -> None:
        self._errand = Errand()
        self._link: Link | None = None
        self._error: Failure | None = None
        self._looked_at: float | None = None
        self._beaten_at: float | None = None
        self._seen: object = None
        self._own_since: float | None = None
        self.relogin(login, watch, timeout_seconds)

    def relogin(self, login: Login, watch: Watch, timeout_seconds: float) -> None:
        """For the next connection; a write under way stays what it is."""
        self._login, self._watch, self._timeout = login, watch, timeout_seconds

    @property
    def connected(self) -> bool:
        """Whether its connection is open, or about to be."""
        return self._link is not None or self._errand.under_way

    def look(self, snapshot: Snapshot, *, may_begin: bool) -> WriteProbe | None:
        """What is known of our writes, after each probe; begins one when it is due. None: no `write_table`."""
        server = snapshot.server
        if server is not None and is_writable(snapshot):
            due = [*self._heartbeat(snapshot, server), *self._probe(snapshot, server)] if may_begin else []
            if due:
                self._errand.run(self._write(due))
        elif not self._errand.under_way:
            self._error = self._looked_at = None
        if self._watch.write_table is None:
            return None
        late = self._errand.late(self._timeout)
        error = self._error
        return WriteProbe(
            pending_since=self._errand.pending_since if late else None,
            error=f"{error.code}: {error.message}" if error is not None else None,
            # that of a statement that failed; a login or a connection that failed tells nothing of the disk
            code=error.code if error is not None and error.kind is FailureKind.QUERY else None,
        )

    async def close(self) -> None:
        await self._errand.close()
        self._drop()

    def _heartbeat(self, snapshot: Snapshot, server: Server) -> list[Statement]:
        watch = self._watch
        if not watch.heartbeat_write or watch.heartbeat_table is None or server.server_id is None:
            return []
        # on a replica that repeats it, our row would hide how far it is behind
        if snapshot.replications != () or not self._due(self._beaten_at, HEARTBEAT_SECONDS):
            return []
        self._beaten_at = clock.now()
        statement = tables.write_heartbeat(watch.heartbeat_table, server_id=server.server_id, utc=watch.heartbeat_utc)
        return [(statement, ())]

    def _probe(self, snapshot: Snapshot, server: Server) -> list[Statement]:
        if self._watch.write_table is None:
            return []
        seen = _committed(snapshot)
        if self._own_since is not None and snapshot.started_at >= self._own_since:
            self._seen, self._own_since = seen, None  # our own commit, and what came with it
        if not self._due(self._looked_at, WRITE_SECONDS):
            return []
        idle = self._looked_at is not None and seen == self._seen
        self._looked_at, self._seen = clock.now(), seen
        if not idle:
            self._error = None  # somebody's commit came through, so writes do
            return []
        node = (server.node_name or server.hostname or "")[:NODE_CHARACTERS]
        return [(tables.write_row(self._watch.write_table), (node,))]

    def _due(self, last: float | None, pace_seconds: float) -> bool:
        return self._errand.due(0.0) and (last is None or clock.now() - last >= pace_seconds - SLACK_SECONDS)

    async def _write(self, statements: Sequence[Statement]) -> None:
        for statement, arguments in statements:
            error = await self._said(statement, arguments)
            if arguments:  # the row of the write probe; a heartbeat that fails shows as its age
                self._error = None if error is not None and error.code in AGAIN_CODES else error
                self._own_since = clock.now()

    async def _said(self, statement: str, arguments: tuple[object, ...]) -> Failure | None:
        """None, or what went wrong."""
        kept = self._link is not None
        try:
            await self._execute(statement, arguments)
        except Exception as error:  # whatever the server answers is told, not raised
            self._drop()
            failure = failure_of(error, abandoned=0)
            if kept and failure.kind is FailureKind.LOST:  # wait_timeout ends an idle connection, that says nothing
                return await self._said(statement, arguments)
            return failure
        except BaseException:
            self._drop()
            raise
        return None

    async def _execute(self, statement: str, arguments: tuple[object, ...]) -> None:
        if self._link is None:
            self._link = link_to(self._login)
            # Without a limit: a write that waits for the disk or for a lock is to be seen waiting, not to fail
            await self._link.open(0)
        await self._link.execute(statement, arguments)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.abort()
        self._link = None


def is_writable(snapshot: Snapshot) -> bool:
    """Whether a write that fails or hangs here would be news: a node that takes writes, as far as it shows."""
    server, galera = snapshot.server, snapshot.galera
    if server is None or server.read_only is not False or server.innodb_read_only:
        return False
    if galera is None or not provider_loaded(galera):
        return snapshot.replications == ()
    return is_synced(galera) and galera.reject_queries in (None, "NONE")


def _committed(snapshot: Snapshot) -> object:
    """What moves with every commit here, for comparison only; None, so never moving, where nothing shows it."""
    if snapshot.galera is not None and snapshot.galera.last_committed is not None:
        return snapshot.galera.last_committed
    return (snapshot.server.gtid_binlog_pos or None) if snapshot.server is not None else None
