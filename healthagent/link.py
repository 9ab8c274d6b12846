"""One connection to MariaDB. The only place that knows aiomysql's insides, so that they are watched in one spot."""

import contextlib
import errno
import re
import socket
import struct
from typing import Any

import aiomysql
from pymysql.err import MySQLError, raise_mysql_exception

from healthagent import packets
from healthagent.facts import Failure, FailureKind

__all__ = ["Link", "failure_of"]

# MariaDB's own numbers, https://mariadb.com/kb/en/mariadb-error-codes/
LOGIN_CODES = frozenset({1044, 1045, 1129, 1130, 1251, 1275, 1698, 1820, 4151, 2059})
LIMIT_CODES = frozenset({1040, 1203, 1226})
HUNG_CODES = frozenset({1205, 1317, 1969})
LOST_CODES = frozenset({2006, 2013, 1927, 1053})
USER_LIMIT_CODE = 1226
ERRNO_KINDS: dict[FailureKind, tuple[int, ...]] = {
    # only a kernel that is there and a server that is not answer like this
    FailureKind.REFUSED: (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTSOCK, errno.ENOTDIR),
    FailureKind.LOST: (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED),
    # a full backlog of a Unix socket is EAGAIN, and what asyncio makes of it: the server is there and stuck
    FailureKind.TIMEOUT: (errno.EAGAIN, errno.EINVAL, errno.ENOTCONN, errno.ETIMEDOUT),
    FailureKind.LOGIN: (errno.EACCES, errno.EPERM),
    FailureKind.LOCAL: (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL),
}
UNKNOWN_VARIABLE_CODE = 1193
COM_QUERY = 3
CHUNK, ANSWER_LIMIT = 65536, 2**20  # parsed from its beginning with each chunk: this bounds what that costs


class Link(aiomysql.Connection):  # type: ignore[misc]
    """A login with the session settings of a monitor: never waits for the cluster, never runs for long."""

    greeted = False

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        self.greeted = True

    async def open(self, statement_seconds: float) -> None:
        """Connects, logs in and prepares the session. The caller sets the deadline: the greeting may never come."""
        await self._connect()
        # wsrep_sync_wait: with it even `SELECT 1` fails with 1205 on a node without quorum
        for setting in ("wsrep_sync_wait = 0", f"max_statement_time = {statement_seconds:g}"):
            try:
                await self.query(f"SET SESSION {setting}")
            except MySQLError as error:
                if error.args[0] != UNKNOWN_VARIABLE_CODE:
                    raise

    async def greet(self) -> None:
        """Connects and logs in, and no more than that."""
        await self._connect()

    async def leave(self) -> None:
        """Says good-bye (COM_QUIT): without it the server counts an aborted connection."""
        await self.ensure_closed()

    async def execute(self, statement: str, arguments: tuple[object, ...] = ()) -> None:
        """One statement that brings no rows; `arguments` for its %s."""
        cursor = await self.cursor()
        await cursor.execute(statement, arguments or None)

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        """The rows of one statement by column name."""
        cursor = await self.cursor(aiomysql.DictCursor)
        await cursor.execute(statement)
        return list(await cursor.fetchall())

    async def texts(self, *statements: bytes) -> list[packets.Answer]:
        """The rows of each statement as texts, at a third of what rows() costs.

        They are sent together, and the server answers one after the other: measured, to wake it and to be woken costs
        both sides more than a statement. OutOfStepError, EOFError, OSError: the connection is of no use any more.
        """
        self._ensure_alive()
        self._write_bytes(b"".join([struct.pack("<IB", len(it) + 1, COM_QUERY) + it for it in statements]))
        answers: list[packets.Answer] = []
        data = b""
        while len(answers) < len(statements):
            found = packets.first(data)
            if found is not None:
                answers.append(found[0])
                data = data[found[1] :]
                continue
            more = await self._reader.read(CHUNK)
            if not more:
                raise EOFError
            data += more
            if len(data) > ANSWER_LIMIT:
                raise packets.OutOfStepError(f"an answer of more than {ANSWER_LIMIT} bytes")
        if data:
            raise packets.OutOfStepError("more answers than statements")
        for answer in answers:
            if answer.error is not None:
                raise_mysql_exception(answer.error)
        return answers

    async def ended(self) -> None:
        """Returns when the server has closed the connection, by FIN or RST; only while no statement runs."""
        if self._reader is not None:
            # nothing but an end (or an error packet right before it) comes unasked
            with contextlib.suppress(OSError):
                await self._reader.read(1)

    def server_pid(self) -> int | None:
        """The process behind a Unix socket (SO_PEERCRED), None over TCP."""
        peer = self._writer.get_extra_info("socket") if self._writer is not None else None
        if peer is None or peer.family != socket.AF_UNIX:
            return None
        pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(pid)

    def abort(self) -> None:
        """Drops the connection without a word to the server."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()


def failure_of(error: BaseException, *, abandoned: int) -> Failure:
    """Any error of a connection or a statement -> what it means. `abandoned`: logins of ours that still hang."""
    cause = error
    while cause.__cause__ is not None:  # aiomysql wraps what happens at the login into 2003, from 0.2 on not all of it
        cause = cause.__cause__
    code = cause.args[0] if cause.args and isinstance(cause.args[0], int) else None
    if isinstance(cause, MySQLError) and code:
        kind = _kind_of_code(code, abandoned=abandoned)
        return Failure(kind=kind, code=code, message=str(cause.args[-1]))
    if isinstance(cause, EOFError):
        return Failure(kind=FailureKind.LOST, message="the server closed the connection")
    if isinstance(cause, TimeoutError):
        return Failure(kind=FailureKind.TIMEOUT, code=cause.errno, message=str(cause) or "no answer in time")
    if isinstance(cause, OSError) and cause.errno is None:  # several addresses: "Multiple exceptions: [Errno 111] ..."
        kinds = {_kind_of_errno(int(number)) for number in re.findall(r"\[Errno (\d+)\]", str(cause))}
        return Failure(kind=kinds.pop() if len(kinds) == 1 else FailureKind.UNREACHABLE, message=str(cause))
    if isinstance(cause, OSError):
        return Failure(kind=_kind_of_errno(cause.errno), code=cause.errno, message=str(cause) or repr(cause))
    return Failure(kind=FailureKind.QUERY, message=f"{type(cause).__name__}: {cause}")


def _kind_of_errno(number: int | None) -> FailureKind:
    for kind, numbers in ERRNO_KINDS.items():
        if number in numbers:
            return kind
    return FailureKind.UNREACHABLE


def _kind_of_code(code: int, *, abandoned: int) -> FailureKind:
    if code == USER_LIMIT_CODE and abandoned:
        return FailureKind.TIMEOUT  # our own hanging logins fill our own limit
    for kind, codes in (
        (FailureKind.LOGIN, LOGIN_CODES),
        (FailureKind.LIMIT, LIMIT_CODES),
        (FailureKind.TIMEOUT, HUNG_CODES),
        (FailureKind.LOST, LOST_CODES),
        (FailureKind.REFUSED, {2002, 2003}),
    ):
        if code in codes:
            return kind
    return FailureKind.QUERY
