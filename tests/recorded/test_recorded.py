"""What real servers of two versions answered in each condition (`make record`), through the core of today.

What is right is written here by hand, so that a wrong verdict cannot simply be recorded.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from healthagent import parse
from healthagent.facts import MISSING_MEMBER
from tests.recorded.replay import ROLE_NAMES, Outcome, replay
from tests.recorded.sample import RECORDED, Sample, dump, load
from tests.recorder import galera, replication

VERSIONS = ("10.11", "11.8")
EVERYONE = set(ROLE_NAMES)
NOBODY: set[str] = set()
READERS = {"any", "reader", "replica"}


@dataclass(frozen=True, slots=True)
class Expected:
    """How it ends once the condition has lasted; `through`: states on the way there, in this order."""

    state: str
    up: set[str]
    through: tuple[str, ...] = ()


GALERA = {
    "backup_stage": Expected("desynced", NOBODY),
    "clean_shutdown": Expected("down", NOBODY),
    "connection_limit": Expected("connection_limit", NOBODY),
    "desync": Expected("desynced", NOBODY),
    "donor_mariabackup": Expected("donor", NOBODY),
    "donor_rsync": Expected("donor_blocking", NOBODY),
    "evicted": Expected("disconnected", NOBODY, ("non_primary",)),
    "flow_control": Expected("synced", EVERYONE),
    "ftwrl": Expected("desynced", NOBODY),
    "garbd": Expected("synced", EVERYONE),
    "gcomm_empty": Expected("disconnected", NOBODY),
    "inconsistent": Expected("inconsistent", NOBODY),
    "isolate": Expected("non_primary", NOBODY, ("synced",)),
    "joiner_ist": Expected("joining", NOBODY),
    "joiner_ist_live": Expected("joining", NOBODY, ("non_primary",)),
    "joiner_sst": Expected("sst_joiner", NOBODY),
    "kill9": Expected("down", NOBODY),
    "left_cluster": Expected("disconnected", NOBODY),
    "membership_change": Expected("synced", EVERYONE),
    "provider_lost": Expected("wsrep_off", NOBODY),
    "provider_none": Expected("standalone", EVERYONE - {"synced", "replica"}),
    "quorum_lost": Expected("non_primary", NOBODY),
    "read_only": Expected("synced", EVERYONE - {"writer", "candidate"}),
    "reject_queries": Expected("rejecting", NOBODY),
    "reject_queries_kill": Expected("rejecting", NOBODY),
    "rsu_ddl": Expected("desynced", NOBODY),
    "sigstop": Expected("hung", NOBODY),
    "split_brain": Expected("synced", EVERYONE, ("non_primary",)),  # only peers could tell
    "starting": Expected("server_starting", NOBODY),
    "synced": Expected("synced", EVERYONE),
    "thaw": Expected("synced", EVERYONE, ("hung", "thawed", "non_primary")),
    "toi_ddl": Expected("synced", EVERYONE),
    "too_many_connections": Expected("synced", EVERYONE),  # with the lowest weight
    "wsrep_off_in_config": Expected("wsrep_off", NOBODY),
    "wsrep_on_off": Expected("wsrep_off", NOBODY),
}
ASYNC = {
    "apply_blocked": Expected("replica_lagging", NOBODY, ("replica",)),
    "channel_stopped": Expected("replica_stopped", NOBODY),
    "delayed": Expected("replica", READERS),
    "io_stopped": Expected("replica_stopped", NOBODY),
    "link_fresh": Expected("replica", READERS),
    "not_a_replica": Expected("primary", EVERYONE - {"synced", "replica"}),
    "not_replicating": Expected("replica_stopped", NOBODY),
    "primary_hung": Expected("replica_stale_link", NOBODY),
    "primary_killed": Expected("replica_stale_link", NOBODY),
    "replicating": Expected("replica", READERS),
    "slow_transaction": Expected("replica", READERS),
    "sql_error": Expected("replica_error", NOBODY),
    "sql_stopped": Expected("replica_stopped", NOBODY),
    "standalone": Expected("standalone", EVERYONE - {"synced", "replica"}),
}
EXPECTED = {**GALERA, **ASYNC}
ALL = pytest.mark.parametrize(("version", "condition"), [(v, c) for v in VERSIONS for c in EXPECTED])


@cache
def samples(version: str, condition: str) -> list[Sample]:
    return load((RECORDED / version / condition / "rows.json").read_text("utf-8"))


@cache
def outcome(version: str, condition: str) -> Outcome:
    return replay(samples(version, condition))


def test_every_recorded_condition_is_named_here() -> None:
    recorded = {(path.parent.parent.name, path.parent.name) for path in RECORDED.glob("*/*/rows.json")}
    assert recorded == {(version, condition) for version in VERSIONS for condition in EXPECTED}
    assert {*galera.CONDITIONS, *replication.CONDITIONS} == {*EXPECTED}


@ALL
def test_the_verdict_is_right(version: str, condition: str) -> None:
    told, expected = outcome(version, condition), EXPECTED[condition]

    assert (told.state, told.up) == (expected.state, expected.up)
    states = iter([*(line.partition(":")[0] for line in told.course)])
    assert [state for state in expected.through if state in states] == list(expected.through), told.course


@ALL
def test_the_verdict_is_the_recorded_one(version: str, condition: str) -> None:
    """With every step on the way: run `python -m tests.recorder --verdicts` and read what it changes."""
    written = json.loads((RECORDED / version / condition / "verdict.json").read_text("utf-8"))

    assert outcome(version, condition).as_json() == written


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_serves_between_the_freeze_and_the_new_view(version: str) -> None:
    """Synced and Primary with the rows of before: that is what a frozen node says for seconds."""
    course = outcome(version, "thaw").course
    frozen = next(number for number, line in enumerate(course) if line.startswith("hung"))
    rejoined = max(number for number, line in enumerate(course) if not line.startswith("synced"))

    assert all(line.endswith(": -") for line in course[frozen + 1 : rejoined + 1]), course


@ALL
def test_the_file_is_as_the_recorder_writes_it(version: str, condition: str) -> None:
    text = (RECORDED / version / condition / "rows.json").read_text("utf-8")

    assert dump(load(text)) == text
    assert "/tmp/" not in text and "lab." not in text, "nothing of the machine that recorded it"
    assert {"db2"} >= set(re.findall(r'"(?:hostname|wsrep_node_name)": "(?!n\d)([^"]*)"', text))


# --- what the agent asks for ---------------------------------------------------------------------------------------

# Status names and columns of SHOW ALL SLAVES STATUS that only one version has, in any condition.
ONLY = {
    "10.11": {"wsrep_checkpoint_position", "wsrep_se_checkpoint"},  # 10.11.19 is younger than 11.8.6
    "11.8": {"Master_Slave_time_diff", "Master_last_event_time", "Slave_last_event_time"},
}


def names(version: str) -> set[str]:
    found: set[str] = set()
    for condition in EXPECTED:
        for sample in samples(version, condition):
            found |= {*(sample.rows or ())}
            for row in (sample.slaves or {}).values():
                found |= {*row}
    return found


def test_the_versions_differ_only_as_is_known() -> None:
    old, new = (names(version) for version in VERSIONS)

    assert {"10.11": old - new, "11.8": new - old} == ONLY


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_the_agent_asks_for_was_recorded(version: str) -> None:
    percona = {"pxc_maint_mode"}
    elsewhere = set[str]().union(*(ONLY[other] for other in VERSIONS if other != version))

    assert {*parse.GALERA_STATUS, *parse.SERVER_STATUS, *parse.VARIABLES} - percona - elsewhere <= names(version)


def is_absent(value: Any) -> bool:
    """What is None behind parse: absent, empty, or the values that say "no member", "no seqno" and "no state"."""
    return value in (None, "", "-1", str(MISSING_MEMBER), parse.NO_UUID)


@ALL
def test_every_recorded_value_is_understood(version: str, condition: str) -> None:
    """Nothing that a server says turns into "not known" because its format has changed."""
    for sample in samples(version, condition):
        if sample.rows is None:
            continue
        rows, snapshot = sample.rows, sample.snapshot
        assert snapshot.galera is not None and snapshot.server is not None
        for fact, name in GALERA_FACTS.items():
            assert (getattr(snapshot.galera, fact) is None) == is_absent(rows.get(name)), (fact, rows.get(name))
        for fact, name in SERVER_FACTS.items():
            assert (getattr(snapshot.server, fact) is None) == is_absent(rows.get(name)), (fact, rows.get(name))
        if "evs.suspect_timeout" in str(rows["wsrep_provider_options"]):
            assert snapshot.galera.suspect_timeout_seconds == 5.0


@ALL
def test_every_recorded_replication_row_is_understood(version: str, condition: str) -> None:
    for sample in samples(version, condition):
        for row, found in zip((sample.slaves or {}).values(), sample.snapshot.replications or (), strict=True):
            for fact, column in REPLICATION_FACTS.items():
                assert (getattr(found, fact) is None) == is_absent(row[column]), (fact, row[column])
            positions = ",".join(f"{p.domain}-{p.server_id}-{p.sequence}" for p in found.gtid_io_pos)
            assert positions == row["Gtid_IO_Pos"].replace(" ", "").replace("\n", "")


GALERA_FACTS = {
    "provider": "wsrep_provider",
    "on": "wsrep_on",
    "local_state": "wsrep_local_state",
    "local_state_comment": "wsrep_local_state_comment",
    "cluster_status": "wsrep_cluster_status",
    "connected": "wsrep_connected",
    "ready": "wsrep_ready",
    "cluster_size": "wsrep_cluster_size",
    "local_index": "wsrep_local_index",
    "cluster_conf_id": "wsrep_cluster_conf_id",
    "cluster_state_uuid": "wsrep_cluster_state_uuid",
    "desync": "wsrep_desync",
    "desync_count": "wsrep_desync_count",
    "reject_queries": "wsrep_reject_queries",
    "recv_queue": "wsrep_local_recv_queue",
    "flow_control_sent": "wsrep_flow_control_sent",
    "flow_control_paused": "wsrep_flow_control_paused",
    "last_committed": "wsrep_last_committed",
    "evs_state": "wsrep_evs_state",
}
SERVER_FACTS = {
    "version": "version",
    "hostname": "hostname",
    "node_name": "wsrep_node_name",
    "read_only": "read_only",
    "innodb_read_only": "innodb_read_only",
    "log_bin": "log_bin",
    "max_connections": "max_connections",
    "threads_connected": "Threads_connected",
    "uptime_seconds": "Uptime",
}
REPLICATION_FACTS = {
    "source": "Master_Host",
    "io_running": "Slave_IO_Running",
    "sql_running": "Slave_SQL_Running",
    "lag_seconds": "Seconds_Behind_Master",
    "io_errno": "Last_IO_Errno",
    "io_error": "Last_IO_Error",
    "sql_errno": "Last_SQL_Errno",
    "sql_error": "Last_SQL_Error",
    "delay_seconds": "SQL_Delay",
}
