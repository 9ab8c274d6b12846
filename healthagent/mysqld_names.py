"""The same facts under mysqld_exporter's names, so that dashboards and alerts that were built on them go on.

Only what the agent reads anyway: nothing is asked of the server for this. Types, labels and what a word becomes are
those of mysqld_exporter 0.14 to 0.17 (collector/global_status.go, global_variables.go, slave_status.go, and parseStatus
of collector.go): what it cannot turn into a number it leaves out.
"""

from collections.abc import Iterator, Mapping

from healthagent.families import Family, Kind, Samples
from healthagent.measures import connections, label, newest_facts
from healthagent.model import Publication

__all__ = ["MYSQLD_FAMILIES", "mysqld_measures"]

# name at the exporter -> the field in facts.Galera, facts.Server or facts.Replication
GALERA_STATUS = {
    "wsrep_cluster_conf_id": "cluster_conf_id",
    "wsrep_cluster_size": "cluster_size",
    "wsrep_cluster_status": "cluster_status",
    "wsrep_connected": "connected",
    "wsrep_desync_count": "desync_count",
    "wsrep_flow_control_paused": "flow_control_paused",
    "wsrep_flow_control_paused_ns": "flow_control_paused_ns",
    "wsrep_flow_control_sent": "flow_control_sent",
    "wsrep_last_committed": "last_committed",
    "wsrep_local_index": "local_index",
    "wsrep_local_recv_queue": "recv_queue",
    "wsrep_local_state": "local_state",
    "wsrep_open_transactions": "open_transactions",
    "wsrep_ready": "ready",
}
SERVER_STATUS = {
    "threads_connected": "threads_connected",
    "threads_running": "threads_running",
    "uptime": "uptime_seconds",
}
GALERA_VARIABLES = {"wsrep_desync": "desync", "wsrep_on": "on"}
SERVER_VARIABLES = {
    "innodb_read_only": "innodb_read_only",
    "log_bin": "log_bin",
    "max_connections": "max_connections",
    "port": "port",
    "read_only": "read_only",
    "server_id": "server_id",
    "skip_networking": "skip_networking",
}
SLAVE_STATUS = {
    "last_io_errno": "io_errno",
    "last_sql_errno": "sql_errno",
    "master_server_id": "source_server_id",
    "seconds_behind_master": "lag_seconds",
    "slave_heartbeat_period": "heartbeat_period_seconds",
    "slave_io_running": "io_running",
    "slave_sql_running": "sql_running",
    "sql_delay": "delay_seconds",
}
SLAVE_LABELS = ("master_host", "master_uuid", "channel_name", "connection_name")
# of the words that fields hold here (bool stands for ON and OFF); any other one is no number there either
WORDS = {"yes": 1, "no": 0, "connecting": 0, "primary": 1, "non-primary": 0, "disconnected": 0}

UP = Family("mysql_up", Kind.GAUGE, "Whether the server could be read, as healthagent_up.")


def _families(names: Mapping[str, str], part: str, kind: Kind, source: str, *labels: str) -> dict[str, Family]:
    """Field -> family."""
    meaning = f"From {source}, as mysqld_exporter names it."
    return {field: Family(f"mysql_{part}_{name}", kind, meaning, labels) for name, field in names.items()}


STATUS, VARIABLES = "SHOW GLOBAL STATUS", "SHOW GLOBAL VARIABLES"
OF_GALERA = {
    **_families(GALERA_STATUS, "global_status", Kind.UNTYPED, STATUS),
    **_families(GALERA_VARIABLES, "global_variables", Kind.GAUGE, VARIABLES),
}
OF_SERVER = {
    **_families(SERVER_STATUS, "global_status", Kind.UNTYPED, STATUS),
    **_families(SERVER_VARIABLES, "global_variables", Kind.GAUGE, VARIABLES),
}
OF_SLAVE = _families(SLAVE_STATUS, "slave_status", Kind.UNTYPED, "SHOW ALL SLAVES STATUS", *SLAVE_LABELS)
MYSQLD_FAMILIES: tuple[Family, ...] = (UP, *OF_GALERA.values(), *OF_SERVER.values(), *OF_SLAVE.values())


def mysqld_measures(publication: Publication) -> Iterator[tuple[Family, Samples]]:
    """Every family of MYSQLD_FAMILIES that has a sample."""
    facts = newest_facts(publication)
    yield UP, [((), facts is not None)]
    if facts is None:
        return
    for part, named in ((facts.galera, OF_GALERA), (facts.server, OF_SERVER)):
        for field, family in named.items():
            value = _number(getattr(part, field, None))
            if value is not None:
                yield family, [((), value)]
    rows = [((_host(row.source), "", "", name), row) for name, row in connections(facts)]
    for field, family in OF_SLAVE.items():
        numbers = [(labels, _number(getattr(row, field))) for labels, row in rows]
        samples: Samples = [(labels, value) for labels, value in numbers if value is not None]
        if samples:
            yield family, samples


def _number(value: str | float | None) -> float | None:
    return WORDS.get(value.lower()) if isinstance(value, str) else value


def _host(source: str | None) -> str:
    """Master_Host alone: `source` has the port behind it."""
    host, _, port = (source or "").rpartition(":")
    return label(host if host and port.isdecimal() else source or "")
