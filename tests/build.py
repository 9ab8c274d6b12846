"""Named cases from a healthy default with one change, and the pure core under a clock of its own.

Rows are as MariaDB 10.11 gives them: status values are texts, `SELECT @@name` gives numbers for switches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

from healthagent import facts, parse
from healthagent.facts import (
    Beside,
    Evidence,
    Failure,
    FailureKind,
    Heartbeat,
    ProcessState,
    Replication,
    Snapshot,
    Transfer,
)
from healthagent.judge import Memory, adapt, judge, starting
from healthagent.model import Publication, Status, Verdict
from healthagent.plan import Plan
from healthagent.policy import Base, Policy, Role
from healthagent.trail import Pins

Rows = dict[str, object]

NO_MEMBER = "18446744073709551615"
WALL = 1_760_000_000.0
START = 5_000.0

RSYNC = Transfer(joiner=False, method="rsync")
MARIABACKUP = Transfer(joiner=False, method="mariabackup")
IST = Transfer(joiner=False, method="rsync", bypass=True)
JOINER = Transfer(joiner=True, method="rsync")

GALERA_ROWS: Rows = {
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
    "wsrep_cluster_status": "Primary",
    "wsrep_connected": "ON",
    "wsrep_ready": "ON",
    "wsrep_cluster_size": "3",
    "wsrep_local_index": "1",
    "wsrep_cluster_conf_id": "3",
    "wsrep_flow_control_sent": "0",
    "wsrep_flow_control_paused": "0",
    "wsrep_flow_control_paused_ns": "0",
    "wsrep_open_transactions": "0",
    "wsrep_gcomm_uuid": "ff58934c-e54c-11f1-9b97-52997c88bfde",
    "wsrep_cluster_state_uuid": "c7abde26-e4d5-11f1-877e-2e96af7f438e",
    "wsrep_desync_count": "0",
    "wsrep_local_recv_queue": "0",
    "wsrep_last_committed": "64",
    "wsrep_evs_state": "OPERATIONAL",
    "wsrep_incoming_addresses": "127.0.0.1:13311,127.0.0.1:13312,127.0.0.1:13313",
    "Threads_connected": "9",
    "Threads_running": "1",
    "Innodb_buffer_pool_load_status": "Buffer pool(s) load completed at 261121  1:43:49",
    "Com_alter_table": "4",
    "Com_create_index": "0",
    "Com_drop_index": "0",
    "Com_optimize": "0",
    "Uptime": "4711",
    "version": "10.11.19-MariaDB-deb12-log",
    "hostname": "db2",
    "pid_file": "/run/mysqld/mysqld.pid",
    "datadir": "/var/lib/mysql/",
    "read_only": 0,
    "innodb_read_only": 0,
    "log_bin": 1,
    "max_connections": 151,
    "gtid_binlog_pos": "0-1-44",
    "wsrep_on": 1,
    "wsrep_provider": "/usr/lib/galera/libgalera_smm.so",
    "wsrep_provider_options": "base_host = 10.0.0.2; evs.suspect_timeout = PT5S; gcs.fc_limit = 16;",
    "wsrep_node_name": "n2",
    "wsrep_desync": 0,
    "wsrep_reject_queries": "NONE",
    "wsrep_dirty_reads": 0,
}
# a server without a provider shows these all the same
NO_PROVIDER: Rows = {
    "wsrep_local_state": None,
    "wsrep_local_state_comment": None,
    "wsrep_cluster_status": "Disconnected",
    "wsrep_connected": "OFF",
    "wsrep_ready": "OFF",
    "wsrep_cluster_size": "0",
    "wsrep_local_index": NO_MEMBER,
    "wsrep_cluster_conf_id": NO_MEMBER,
    "wsrep_cluster_state_uuid": "",
    "wsrep_desync_count": None,
    "wsrep_local_recv_queue": None,
    "wsrep_flow_control_sent": None,
    "wsrep_flow_control_paused": None,
    "wsrep_flow_control_paused_ns": None,
    "wsrep_open_transactions": None,
    "wsrep_gcomm_uuid": None,
    "wsrep_last_committed": None,
    "wsrep_evs_state": None,
    "wsrep_incoming_addresses": None,
    "wsrep_on": 0,
    "wsrep_provider": "none",
    "wsrep_provider_options": "",
    "wsrep_desync": 0,
    "wsrep_node_name": "db2",
}
SLAVE_ROW: Rows = {
    "Connection_name": "",
    "Slave_IO_State": "Waiting for master to send event",
    "Master_Host": "127.0.0.1",
    "Master_Port": 13331,
    "Slave_IO_Running": "Yes",
    "Slave_SQL_Running": "Yes",
    "Seconds_Behind_Master": 0,
    "Last_IO_Errno": 0,
    "Last_IO_Error": "",
    "Last_SQL_Errno": 0,
    "Last_SQL_Error": "",
    "Using_Gtid": "Slave_Pos",
    "Master_Server_Id": 101,
    "Slave_heartbeat_period": "0.000",  # off: rows that never change would look like a dead link
    "Slave_received_heartbeats": 7,
    "Master_Log_File": "binlog.000002",
    "Read_Master_Log_Pos": 4711,
    "Gtid_IO_Pos": "1-101-44",
    "Gtid_Slave_Pos": "1-101-44",
    "SQL_Delay": 0,
    "SQL_Remaining_Delay": None,
}

ROLES = (
    *(Role(name=base.value, base=base) for base in Base if base is not Base.STALE_OK),
    Role(name="replica", base=Base.READER, exclude_writer=True),
)
POLICY = Policy(roles=ROLES)


def changed(rows: Mapping[str, object], changes: Mapping[str, object]) -> Rows:
    """`rows` with `changes`; None takes a name away, as MariaDB does with what it has not."""
    return {name: value for name, value in {**rows, **changes}.items() if value is not None}


def galera_rows(**changes: object) -> Rows:
    """A synced member of three, with one change; `wsrep_` may be left out of a name."""
    known = {*GALERA_ROWS, "pxc_maint_mode"}
    full = {name if name in known else f"wsrep_{name}": value for name, value in changes.items()}
    return changed(GALERA_ROWS, full)


def plain_rows(**changes: object) -> Rows:
    """A MariaDB with a binary log and without a wsrep provider."""
    return changed(changed(GALERA_ROWS, NO_PROVIDER), changes)


def slave_row(**changes: object) -> Rows:
    """One row of SHOW ALL SLAVES STATUS; NULL stays NULL."""
    return {**SLAVE_ROW, **changes}


def snapshot(
    rows: Mapping[str, object],
    slaves: Iterable[Mapping[str, object]] | None = (),
    *,
    transfers: tuple[Transfer, ...] | None = (),
) -> Snapshot:
    """A probe that brought `rows`; `slaves` None: SHOW ALL SLAVES STATUS could not be read."""
    slaves = None if slaves is None else list(slaves)
    replications: tuple[Replication, ...] | None = None if slaves is None else parse.replications(slaves)
    return Snapshot(
        sequence=1,
        ended_at=START,
        server=parse.server(rows),
        galera=parse.galera(rows),
        replications=replications,
        rows=facts.Rows(facts=dict(rows), slaves=None if slaves is None else tuple(slaves)),
        evidence=Evidence(process=ProcessState.ALIVE, transfers=transfers),
    )


def galera(transfers: tuple[Transfer, ...] | None = (), **changes: object) -> Snapshot:
    return snapshot(galera_rows(**changes), transfers=transfers)


def desynced(transfers: tuple[Transfer, ...] | None = (), **changes: object) -> Snapshot:
    """wsrep_local_state 2; who desyncs it counts in wsrep_desync_count."""
    two: Rows = {"local_state": "2", "local_state_comment": "Donor/Desynced", "desync_count": "1"}
    return galera(transfers, **{**two, **changes})


def primary(**changes: object) -> Snapshot:
    return snapshot(plain_rows(**changes))


def replica(*slaves: Mapping[str, object], **changes: object) -> Snapshot:
    """A replica with read_only OFF, so that `is_replica` alone keeps writes away."""
    return snapshot(plain_rows(**changes), slaves or (slave_row(),))


def beside(what: Snapshot, **looks: object) -> Snapshot:
    """`what` with something that is looked at beside the probe: client_port, disk, write_probe."""
    assert set(looks) <= {field.name for field in fields(Beside)}
    return replace(what, beside=replace(what.beside, **looks))  # type: ignore[arg-type]


def beating(what: Snapshot, *beats: tuple[int, float]) -> Snapshot:
    """`what` with rows of the heartbeat table: (server_id, age in seconds)."""
    rows = tuple(Heartbeat(server_id=server_id, age_seconds=age) for server_id, age in beats)
    return replace(what, heartbeats=rows)


def failed(
    kind: FailureKind,
    code: int | None = None,
    *,
    process: ProcessState | None = None,
    transfers: tuple[Transfer, ...] | None = (),
    silent_after_eof: bool = False,
) -> Snapshot:
    """A probe that brought nothing."""
    failure = Failure(kind=kind, message=f"{kind.value} {code}", code=code, silent_after_eof=silent_after_eof)
    seen = Evidence(process=process, transfers=transfers if process is not None else None)
    return Snapshot(sequence=1, ended_at=START, failure=failure, evidence=seen)


SYNCED = galera()
PRIMARY = primary()
REPLICA = replica()
DOWN = failed(FailureKind.REFUSED, 2, process=ProcessState.GONE)
HUNG = failed(FailureKind.TIMEOUT)
LOGIN_REFUSED = failed(FailureKind.LOGIN, 1045)
FULL = failed(FailureKind.LIMIT, 1040)


class Agent:
    """judge() and its memory under a clock that moves only when told so."""

    def __init__(self, policy: Policy = POLICY, pins: Pins | None = None) -> None:
        self.now = START
        self.memory: Memory = starting(policy, WALL, pins)
        self.sequence = 0

    @property
    def wall(self) -> float:
        return WALL + self.now - START

    def reloads(self, policy: Policy) -> "Agent":
        """A new configuration."""
        self.memory = adapt(self.memory, Plan(policy), self.wall)
        return self

    def sees(self, what: Snapshot, *, after: float = 0.5) -> "Agent":
        """One sample that ends `after` seconds from now."""
        self.now = round(self.now + after, 6)
        self.sequence += 1
        stamped = replace(what, ended_at=self.now, sequence=self.sequence)
        self.memory = judge(self.memory, stamped, self.wall)
        return self

    def keeps_seeing(self, what: Snapshot, seconds: float, *, every: float = 0.1) -> "Agent":
        """Samples `every` so often for `seconds`, the last one at their end."""
        for _ in range(round(seconds / every)):
            self.sees(what, after=every)
        return self

    def sees_all(self, what: Iterable[Snapshot], *, every: float = 0.5) -> "Agent":
        for one in what:
            self.sees(one, after=every)
        return self

    @property
    def publication(self) -> Publication:
        return self.memory.publication

    @property
    def state(self) -> str:
        return self.publication.state.word

    def verdict(self, role: str) -> Verdict:
        return self.publication.verdicts[role]

    def up(self, role: str) -> bool:
        return self.verdict(role).status is Status.UP

    def reasons(self, role: str) -> list[str]:
        return [reason.word for reason in self.verdict(role).reasons]

    def weight(self, role: str) -> int:
        return self.verdict(role).weight

    def says(self, role: str) -> str:
        """`up`, `up/REASON` with a first reason, or the first reason of a verdict that is not up."""
        verdict = self.verdict(role)
        first = verdict.reasons[0].word if verdict.reasons else ""
        if verdict.status is Status.UP:
            return f"up/{first}" if first else "up"
        return first

    def told(self, *roles: str) -> str:
        """What `says` of several roles, in one line."""
        return " ".join(self.says(role) for role in roles)


def healthy(what: Snapshot = SYNCED, policy: Policy = POLICY, pins: Pins | None = None) -> Agent:
    """An agent that has seen `what` for three seconds."""
    return Agent(policy, pins).keeps_seeing(what, 3.0, every=0.5)


def with_role(name: str, **settings: object) -> Policy:
    """The built-in roles, one of them with other settings."""
    roles = tuple(replace(role, **settings) if role.name == name else role for role in ROLES)  # type: ignore[arg-type]
    return replace(POLICY, roles=roles)


def falls_after(agent: Agent, what: Snapshot, role: str, *, within: float = 20.0, every: float = 0.1) -> float | None:
    """Seconds until `role` is down, while every sample says `what`; None: it stays up."""
    start = agent.now + every
    while agent.now < start + within:
        if not agent.sees(what, after=every).up(role):
            return round(agent.now - start, 3)
    return None


def rises_after(agent: Agent, what: Snapshot, role: str, *, within: float = 100.0, every: float = 0.1) -> float | None:
    start = agent.now + every
    while agent.now < start + within:
        if agent.sees(what, after=every).up(role):
            return round(agent.now - start, 3)
    return None
