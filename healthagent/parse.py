"""MariaDB's rows -> parts of a Snapshot.

By name only: a name that is absent, or a value that makes no sense, becomes None, and never an exception. Names and
values are MariaDB's own; what they mean in each condition was recorded from real servers (docs/how-it-decides.md).
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from healthagent.facts import MISSING_MEMBER, Galera, Position, Replication, Server

__all__ = ["GALERA_STATUS", "SERVER_STATUS", "VARIABLES", "galera", "replications", "server"]

Row = Mapping[str, object]

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
GTID = r"(\d{1,10})-(\d{1,10})-(\d{1,20})"
# no more digits than make sense: with enough of them a float is infinite, and no JSON
DURATION = r"PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6}(?:\.\d{1,9})?)S)?"
NO_UUID = "00000000-0000-0000-0000-000000000000"
FC_LIMIT_DEFAULT = 16  # gcs.fc_limit
FC_SINGLE = ("gcs.fc_single_primary", "gcs.fc_master_slave")
# what moves in a row of SHOW ALL SLAVES STATUS when anything comes from the source
RECEIVED = ("Slave_received_heartbeats", "Gtid_IO_Pos", "Master_Log_File", "Read_Master_Log_Pos")

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
    "wsrep_flow_control_sent",
    "wsrep_flow_control_paused",
    "wsrep_flow_control_paused_ns",
    "wsrep_last_committed",
    "wsrep_open_transactions",
    "wsrep_gcomm_uuid",
    "wsrep_evs_state",
    "wsrep_incoming_addresses",
)
# DDL that can run for minutes. Measured: counted when it starts, by the applier of another member's DDL too.
DDL_STATUS = ("Com_alter_table", "Com_create_index", "Com_drop_index", "Com_optimize")
SERVER_STATUS = ("Threads_connected", "Threads_running", "Uptime", "Innodb_buffer_pool_load_status", *DDL_STATUS)
VARIABLES = (
    "version",
    "hostname",
    "pid_file",
    "datadir",
    "server_id",
    "port",
    "bind_address",
    "skip_networking",
    "read_only",
    "innodb_read_only",
    "log_bin",
    "max_connections",
    "gtid_binlog_pos",
    "wsrep_on",
    "wsrep_provider",
    "wsrep_provider_options",
    "wsrep_node_name",
    "wsrep_desync",
    "wsrep_reject_queries",
    "wsrep_dirty_reads",
    "pxc_maint_mode",
)


def server(rows: Row) -> Server:
    """Status and global variables by name -> the facts that every MariaDB has."""
    return Server(
        version=text(rows.get("version")),
        hostname=text(rows.get("hostname")),
        node_name=text(rows.get("wsrep_node_name")),
        server_id=count(rows.get("server_id")),
        port=count(rows.get("port")),
        bind_address=text(rows.get("bind_address")),
        skip_networking=switch(rows.get("skip_networking")),
        read_only=read_only(rows.get("read_only")),
        innodb_read_only=switch(rows.get("innodb_read_only")),
        log_bin=switch(rows.get("log_bin")),
        max_connections=count(rows.get("max_connections")),
        threads_connected=count(rows.get("Threads_connected")),
        threads_running=count(rows.get("Threads_running")),
        uptime_seconds=count(rows.get("Uptime")),
        ddl_statements=sum(statements) if (statements := _ddl_statements(rows)) else None,
        buffer_pool_loaded=_buffer_pool_loaded(text(rows.get("Innodb_buffer_pool_load_status"))),
        gtid_binlog_pos=positions(rows.get("gtid_binlog_pos")),
    )


def galera(rows: Row) -> Galera | None:
    """Status and global variables by name -> wsrep facts; None where the server was built without wsrep."""
    if not any(name.startswith("wsrep_") for name in rows):
        return None
    comment, _, detail = (text(rows.get("wsrep_local_state_comment")) or "").partition(":")
    addresses = text(rows.get("wsrep_incoming_addresses")) or ""
    options, size = text(rows.get("wsrep_provider_options")), count(rows.get("wsrep_cluster_size"))
    lower, upper = flow_control_limits(options, size)
    return Galera(
        provider=text(rows.get("wsrep_provider")),
        on=switch(rows.get("wsrep_on")),
        local_state=count(rows.get("wsrep_local_state")),
        local_state_comment=comment.strip() or None,
        local_state_detail=detail.strip() or None,
        cluster_status=text(rows.get("wsrep_cluster_status")),
        connected=switch(rows.get("wsrep_connected")),
        ready=switch(rows.get("wsrep_ready")),
        cluster_size=size,
        local_index=count(rows.get("wsrep_local_index")),
        cluster_conf_id=count(rows.get("wsrep_cluster_conf_id")),
        cluster_state_uuid=uuid(rows.get("wsrep_cluster_state_uuid")),
        member_uuid=uuid(rows.get("wsrep_gcomm_uuid")),
        desync=switch(rows.get("wsrep_desync")),
        desync_count=count(rows.get("wsrep_desync_count")),
        reject_queries=text(rows.get("wsrep_reject_queries")),
        dirty_reads=switch(rows.get("wsrep_dirty_reads")),
        maintenance_mode=text(rows.get("pxc_maint_mode")),
        recv_queue=count(rows.get("wsrep_local_recv_queue")),
        recv_queue_lower=lower,
        recv_queue_upper=upper,
        flow_control_sent=count(rows.get("wsrep_flow_control_sent")),
        flow_control_paused=part(rows.get("wsrep_flow_control_paused")),
        flow_control_paused_ns=count(rows.get("wsrep_flow_control_paused_ns")),
        last_committed=count(rows.get("wsrep_last_committed")),
        open_transactions=count(rows.get("wsrep_open_transactions")),
        evs_state=text(rows.get("wsrep_evs_state")),
        suspect_timeout_seconds=provider_seconds(options, "evs.suspect_timeout"),
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
        source_server_id=count(row.get("Master_Server_Id")),
        io_running=text(row.get("Slave_IO_Running")),
        io_state=text(row.get("Slave_IO_State")),
        sql_running=text(row.get("Slave_SQL_Running")),
        lag_seconds=count(row.get("Seconds_Behind_Master")),
        time_diff_seconds=count(row.get("Master_Slave_time_diff")),
        io_errno=count(row.get("Last_IO_Errno")),
        io_error=text(row.get("Last_IO_Error")),
        sql_errno=count(row.get("Last_SQL_Errno")),
        sql_error=text(row.get("Last_SQL_Error")),
        delay_seconds=count(row.get("SQL_Delay")),
        heartbeat_period_seconds=seconds(row.get("Slave_heartbeat_period")),
        received=tuple(text(row.get(name)) or "" for name in RECEIVED),
        gtid_io_pos=positions(row.get("Gtid_IO_Pos")),
        gtid_slave_pos=positions(row.get("Gtid_Slave_Pos")),
    )


def _ddl_statements(rows: Row) -> list[int]:
    return [number for name in DDL_STATUS if (number := count(rows.get(name))) is not None]


def _buffer_pool_loaded(status: str | None) -> bool | None:
    """`Buffer pool(s) load completed at ...`, or how far it has come; None: nothing is loaded, or unknown.

    Measured: the text is empty with innodb_buffer_pool_load_at_startup OFF. A load that was aborted ends there.
    """
    if status is None or "aborted" in status:
        return None
    return "completed" in status if "load" in status.lower() else None


@lru_cache(maxsize=4)  # the options are a text of 2 kB that hardly ever changes
def flow_control_limits(options: str | None, members: int | None) -> tuple[int | None, int | None]:
    """The receive queue at which a node lets the cluster go on, and at which it pauses it: (lower, upper).

    As gcs computes them from gcs.fc_limit, gcs.fc_factor and gcs.fc_single_primary (before: fc_master_slave) and
    the members, an arbitrator included. What cannot be read is Galera's own default.
    """
    if not members:
        return None, None
    single = "YES" in {(option(options, name) or "").upper() for name in FC_SINGLE}
    limit, factor = seconds(option(options, "gcs.fc_limit")), seconds(option(options, "gcs.fc_factor"))
    upper = (FC_LIMIT_DEFAULT if limit is None else limit) * (1.0 if single else members**0.5)
    return int(upper * (1.0 if factor is None else factor) + 0.5), int(upper + 0.5)


def positions(value: object) -> tuple[Position, ...]:
    """A GTID position list, `0-1-44,1-101-7` -> one Position for each domain; what is none is left out."""
    found = (re.fullmatch(GTID, part.strip(), re.ASCII) for part in (text(value) or "").split(","))
    return tuple(Position(domain=int(m[1]), server_id=int(m[2]), sequence=int(m[3])) for m in found if m is not None)


@lru_cache(maxsize=4)
def provider_seconds(options: str | None, name: str) -> float | None:
    """A duration out of wsrep_provider_options: `evs.suspect_timeout = PT5S; ...` -> 5.0 (ISO 8601, hours at most)."""
    match = re.fullmatch(DURATION, option(options, name) or "", re.ASCII)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def option(options: str | None, name: str) -> str | None:
    """One value out of wsrep_provider_options, which lists all of them: `name = value; name = value; `."""
    match = re.search(rf"(?:\A|[;\s]){re.escape(name)}\s*=\s*([^;\s]*)", options or "")
    return match[1] or None if match is not None else None


def uuid(value: object) -> str | None:
    """A UUID in lower case; the one of zeros is none."""
    word = (text(value) or "").lower()
    return word if re.fullmatch(UUID, word) and word != NO_UUID else None


def seconds(value: object) -> float | None:
    """A number that is not negative, such as `0.500`."""
    word = text(value) or ""
    return float(word) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", word, re.ASCII) else None


def part(value: object) -> float | None:
    """A number from 0 to 1, such as `0.0766252` or, recorded on 10.11, `5.43971e-05`."""
    word = text(value) or ""
    return (
        float(word)
        if re.fullmatch(r"0(\.\d{1,12})?|1(\.0{1,12})?|[1-9](\.\d{1,12})?e-\d{1,2}", word, re.ASCII)
        else None
    )


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
