"""The operator's two tables: their CREATE, the statements for them, and the rights that these need.

Both are optional. The heartbeat table is pt-heartbeat's (https://docs.percona.com/percona-toolkit/pt-heartbeat.html,
"MAGIC": ts and server_id must be there, all other columns are optional), so that either may write what the other reads.
"""

import re
from collections.abc import Mapping, Sequence

from healthagent.facts import Heartbeat

__all__ = [
    "TABLE_NAME",
    "create_heartbeat_table",
    "create_write_table",
    "heartbeats",
    "quoted",
    "read_heartbeats",
    "write_heartbeat",
    "write_row",
]

TABLE_NAME = re.compile(r"[A-Za-z0-9_$-]{1,64}\.[A-Za-z0-9_$-]{1,64}")

# anything else would be a warning of the server, and one more statement for it, with every probe
MOMENT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?$"


def quoted(table: str) -> str:
    """`db.table` -> `` `db`.`table` ``; the name has been checked against TABLE_NAME."""
    database, _, name = table.partition(".")
    return f"`{database}`.`{name}`"


def create_write_table(table: str) -> str:
    """One row per node, named by wsrep_node_name or hostname: the server_id may be the same on all Galera nodes."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)}"
        " (node VARCHAR(128) NOT NULL PRIMARY KEY, written_at DATETIME(6) NOT NULL) ENGINE=InnoDB"
    )


def create_heartbeat_table(table: str) -> str:
    """What pt-heartbeat reads and updates, without the binary log coordinates that it writes where it finds them."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)}"
        " (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY) ENGINE=InnoDB"
    )


def write_row(table: str) -> str:
    """With one argument, the node. The microseconds change: a row that stays as it was is not written at all."""
    return (
        f"INSERT INTO {quoted(table)} (node, written_at) VALUES (%s, UTC_TIMESTAMP(6))"
        " ON DUPLICATE KEY UPDATE written_at = UTC_TIMESTAMP(6)"
    )


def write_heartbeat(table: str, *, server_id: int, utc: bool) -> str:
    """The number in place and not @@server_id: a replica that repeats the statement would write its own."""
    moment = f"DATE_FORMAT({_now(utc=utc)}, '%Y-%m-%dT%H:%i:%s.%f')"
    return (
        f"INSERT INTO {quoted(table)} (ts, server_id) VALUES ({moment}, {server_id:d})"
        f" ON DUPLICATE KEY UPDATE ts = {moment}"
    )


def read_heartbeats(table: str, *, utc: bool, statement_seconds: float) -> str:
    """The age by the server's clock. With a limit of its own: behind LOCK TABLES the kept connection must not hang."""
    age = f"TIMESTAMPDIFF(MICROSECOND, ts, {_now(utc=utc)})"
    return (
        f"SET STATEMENT max_statement_time = {statement_seconds:g} FOR"
        f" SELECT server_id, {age} AS age_microseconds FROM {quoted(table)} WHERE ts RLIKE '{MOMENT}'"
    )


def heartbeats(rows: Sequence[Mapping[str, object]]) -> tuple[Heartbeat, ...]:
    """What read_heartbeats() brought. A row that makes no sense is left out, an age below 0 is 0 (clocks differ)."""
    found = []
    for row in rows:
        server_id, age = row.get("server_id"), row.get("age_microseconds")
        if isinstance(server_id, int) and isinstance(age, int):
            found.append(Heartbeat(server_id=server_id, age_seconds=max(0, age) / 1e6))
    return tuple(found)


def _now(*, utc: bool) -> str:
    return "UTC_TIMESTAMP(6)" if utc else "NOW(6)"
