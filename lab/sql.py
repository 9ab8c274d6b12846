"""The little that the lab asks of PyMySQL."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import pymysql
from pymysql.connections import Connection as PyMySQLConnection
from pymysql.cursors import DictCursor
from pymysql.err import Error

__all__ = ["Connection", "Error", "Row", "connect", "execute", "rows"]

Row = dict[str, Any]
Connection: TypeAlias = "PyMySQLConnection[DictCursor]"  # generic for type checkers only


def connect(*, user: str, password: str = "", timeout: float, **where: Any) -> Connection:
    """`where` is unix_socket, or host and port; the timeout holds for connect, each read and each write."""
    return pymysql.connect(
        user=user,
        password=password,
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        ssl_disabled=True,  # else PyMySQL spends 20 ms of CPU on an SSL context for each connect
        cursorclass=DictCursor,
        **where,
    )


def execute(connection: Connection, sql: str, args: Sequence[object] | None = None) -> int:
    """The number of affected rows."""
    with connection.cursor() as cursor:
        return cursor.execute(sql, args)


def rows(connection: Connection, sql: str, args: Sequence[object] | None = None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())
