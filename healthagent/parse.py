"""MariaDB's rows -> parts of a Snapshot.

By name only: a name that is absent, or a value that makes no sense, becomes None, and never an exception. Names and
values are MariaDB's own; what they mean in each condition was recorded from real servers (docs/how-it-decides.md).
"""

import re
from collections.abc import Mapping, Sequence

from healthagent.model import MISSING_MEMBER, Galera, Replication, Server

__all__ = ["GALERA_STATUS", "SERVER_STATUS", "VARIABLES", "galera", "replications", "server"]

Row = Mapping[str, object]

GALERA_STATUS = (
    "wsrep_local_state",
    "wsrep_local_state_comment",
    "wsrep_cluster_status",
    "wsrep_connected",
    "wsrep_ready",
    "wsrep_cluster_size",
    "wsrep_local_index",
    "wsrep_cluster_conf_id",
    "wsrep_cluster_state_uuid",
    "wsrep_desync_count",
    "wsrep_local_recv_queue",
    "wsrep_last_committed",
    "wsrep_evs_state",
    "wsrep_incoming_addresses",
)
SERVER_STATUS = ("Threads_connected", "Uptime")
VARIABLES = (
    "version",
    "hostname",
    "pid_file",
    "datadir",
    "read_only",
    "innodb_read_only",
    "log_bin",
    "max_connections",
    "wsrep_on",
    "wsrep_provider",
    "wsrep_provider_options",
    "wsrep_node_name",
    "wsrep_desync",
    "wsrep_reject_queries",
    "pxc_maint_mode",
)


def server(rows: Row) -> Server:
    """Status and global variables by name -> the facts that every MariaDB has."""
    return Server(
        version=text(rows.get("version")),
        hostname=text(rows.get("hostname")),
        node_name=text(rows.get("wsrep_node_name")),
        read_only=read_only(rows.get("read_only")),
        innodb_read_only=switch(rows.get("innodb_read_only")),
        log_bin=switch(rows.get("log_bin")),
        max_connections=count(rows.get("max_connections")),
        threads_connected=count(rows.get("Threads_connected")),
        uptime_seconds=count(rows.get("Uptime")),
    )


def galera(rows: Row) -> Galera | None:
    """Status and global variables by name -> wsrep facts; None where the server was built without wsrep."""
    if not any(name.startswith("wsrep_") for name in rows):
        return None
    comment, _, detail = (text(rows.get("wsrep_local_state_comment")) or "").partition(":")
    addresses = text(rows.get("wsrep_incoming_addresses")) or ""
    return Galera(
        provider=text(rows.get("wsrep_provider")),
        on=switch(rows.get("wsrep_on")),
        local_state=count(rows.get("wsrep_local_state")),
        local_state_comment=comment.strip() or None,
        local_state_detail=detail.strip() or None,
        cluster_status=text(rows.get("wsrep_cluster_status")),
        connected=switch(rows.get("wsrep_connected")),
        ready=switch(rows.get("wsrep_ready")),
        cluster_size=count(rows.get("wsrep_cluster_size")),
        local_index=count(rows.get("wsrep_local_index")),
        cluster_conf_id=count(rows.get("wsrep_cluster_conf_id")),
        cluster_state_uuid=text(rows.get("wsrep_cluster_state_uuid")),
        desync=switch(rows.get("wsrep_desync")),
        desync_count=count(rows.get("wsrep_desync_count")),
        reject_queries=text(rows.get("wsrep_reject_queries")),
        maintenance_mode=text(rows.get("pxc_maint_mode")),
        recv_queue=count(rows.get("wsrep_local_recv_queue")),
        last_committed=count(rows.get("wsrep_last_committed")),
        evs_state=text(rows.get("wsrep_evs_state")),
        suspect_timeout_seconds=provider_seconds(text(rows.get("wsrep_provider_options")), "evs.suspect_timeout"),
        # an arbitrator (garbd) has an empty address
        incoming_addresses=tuple(part for part in (a.strip() for a in addresses.split(",")) if part),
    )


def replications(rows: Sequence[Row]) -> tuple[Replication, ...]:
    """The rows of SHOW ALL SLAVES STATUS, one per Connection_name."""
    return tuple(_replication(row) for row in rows)


def _replication(row: Row) -> Replication:
    host, port = text(row.get("Master_Host")), count(row.get("Master_Port"))
    return Replication(
        connection=text(row.get("Connection_name")) or "",
        source=f"{host}:{port}" if host and port else host,
        io_running=text(row.get("Slave_IO_Running")),
        sql_running=text(row.get("Slave_SQL_Running")),
        lag_seconds=count(row.get("Seconds_Behind_Master")),
        io_errno=count(row.get("Last_IO_Errno")),
        io_error=text(row.get("Last_IO_Error")),
        sql_errno=count(row.get("Last_SQL_Errno")),
        sql_error=text(row.get("Last_SQL_Error")),
        delay_seconds=count(row.get("SQL_Delay")),
        gtid_io_pos=text(row.get("Gtid_IO_Pos")),
        gtid_slave_pos=text(row.get("Gtid_Slave_Pos")),
    )


def provider_seconds(options: str | None, name: str) -> float | None:
    """A duration out of wsrep_provider_options: `evs.suspect_timeout = PT5S; ...` -> 5.0 (ISO 8601, hours at most)."""
    match = re.search(re.escape(name) + r" *= *PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?(?=;|\s|\Z)", options or "")
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def text(value: object) -> str | None:
    """A non-empty string, or None."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(value: object) -> int | None:
    """A whole number from 0 to 2^64-2; 2^64-1 is Galera's "not a member", and -1 its "no seqno"."""
    if isinstance(value, bool) or value is None:
        return None
    digits = text(value)
    # isdecimal() alone lets other scripts' digits through; the length keeps int() from absurd input
    if digits is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
        return None
    number = int(digits)
    return number if number < MISSING_MEMBER else None


def switch(value: object) -> bool | None:
    """ON/OFF as SHOW says it, 1/0 as SELECT @@ says it; everything else is not known."""
    if isinstance(value, bool):
        return value
    word = (text(value) or "").upper()
    return {"ON": True, "1": True, "OFF": False, "0": False}.get(word)


def read_only(value: object) -> bool | None:
    """read_only is an enumeration from MariaDB 12.0 on: only OFF is writable, every other word is not."""
    state = switch(value)
    return True if state is None and text(value) is not None else state
