"""Reads a real server as the agent does: its probe for what fails and what /proc shows, its connection for the rows.

All that the provider tells is read, so that a rule that is written tomorrow finds it recorded.
"""

import asyncio
import socket
from dataclasses import replace
from typing import Any

from pymysql.err import MySQLError

from healthagent import parse
from healthagent.facts import Failure, Snapshot
from healthagent.link import Link
from healthagent.probe import Probe
from healthagent.session import Login
from lab import LabError, MariaDB, lab_dir
from tests.recorded.sample import Row, Sample

__all__ = ["STATUS", "VARIABLES", "Eye", "local"]

TIMEOUT_SECONDS = 0.8
TRIES = 20

STATUS = tuple(dict.fromkeys((*parse.SERVER_STATUS,)))
VARIABLES = tuple(
    dict.fromkeys(
        (
            *parse.VARIABLES,
            "wsrep_cluster_address",
        )
    )
)


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def local(node: MariaDB) -> Login:
    return Login(user="root", socket=str(node.socket), datadir=str(node.datadir))


class Eye:
    """A probe and one more connection, both kept; `look` is one sample."""

    def __init__(self, node: MariaDB, login: Login | None = None) -> None:
        self.node = node
        self._login = login or local(node)
        self._loop = asyncio.Runner()
        self._probe = Probe(self._login, timeout_seconds=TIMEOUT_SECONDS)
        self._link: Link | None = None

    def look(self) -> Sample:
        """What the server gives now, with nothing in it of this machine; `lasts_seconds` is 0."""
        return self._loop.run(self._look())

    def close(self) -> None:
        self._drop()
        self._loop.run(self._probe.close())
        self._loop.close()

    async def _look(self) -> Sample:
        """Two reads that belong together: a server that goes away between them is read again."""
        for _ in range(TRIES):
            snapshot = await self._probe.sample()
            if snapshot.failure is not None:
                return self._failed(snapshot, snapshot.failure)
            try:
                rows, slaves = await asyncio.wait_for(self._rows(), TIMEOUT_SECONDS)
            except (MySQLError, OSError, EOFError, TimeoutError):
                self._drop()
                continue
            told, read = snapshot.galera, parse.galera(rows)
            if told is None or read is None or told.local_state != read.local_state:
                continue  # what /proc shows was asked for in another state
            seen = snapshot.evidence
            process = seen.process.value if seen.process is not None else None
            return Sample(lasts_seconds=0.0, rows=rows, slaves=slaves, process=process, transfers=seen.transfers)
        raise LabError(f"{self.node!r} never says the same thing twice")

    def _failed(self, snapshot: Snapshot, failure: Failure) -> Sample:
        seen = snapshot.evidence
        neutral = replace(failure, message=self._neutral(failure.message))
        process = seen.process.value if seen.process is not None else None
        return Sample(lasts_seconds=0.0, failure=neutral, process=process, transfers=seen.transfers)

    async def _rows(self) -> tuple[Row, dict[str, Row]]:
        if self._link is None:
            where = {"unix_socket": self._login.socket} if self._login.socket else {"host": self._login.host}
            user, password = self._login.user, self._login.password
            self._link = Link(user=user, password=password, autocommit=True, ssl=None, **where)
            await self._link.open(TIMEOUT_SECONDS)
        names = f"Variable_name LIKE 'wsrep%' OR Variable_name IN ({_quoted(STATUS)})"
        status = {
            row["Variable_name"]: row["Value"] for row in await self._link.rows(f"SHOW GLOBAL STATUS WHERE {names}")
        }
        shown = await self._link.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({_quoted(VARIABLES)})")
        present = {str(row["Variable_name"]) for row in shown}
        columns = ", ".join(f"@@global.{name} AS {name}" for name in VARIABLES if name in present)
        variables = (await self._link.rows(f"SELECT {columns}"))[0]
        slaves = await self._link.rows("SHOW ALL SLAVES STATUS")
        return self._all_neutral(status | variables), {row["Connection_name"]: self._all_neutral(row) for row in slaves}

    def _all_neutral(self, row: Row) -> Row:
        return {name: self._neutral(value) for name, value in row.items()}

    def _neutral(self, value: Any) -> Any:
        """The same value on a machine whose names are those of Debian."""
        if not isinstance(value, str):
            return value
        if value == socket.gethostname():  # hostname, and wsrep_node_name where nobody gave it one
            return "db2"
        for path, usual in (
            (self.node.datadir, "/var/lib/mysql"),
            (self.node.directory / "pid", "/run/mysqld/mysqld.pid"),
            (self.node.socket, "/run/mysqld/mysqld.sock"),
            (lab_dir(), "/run/lab"),
        ):
            value = value.replace(str(path), usual)
        return value.replace(f"{socket.gethostname()}-", "db2-")

    def _drop(self) -> None:
        if self._link is not None:
            self._link.abort()
        self._link = None
