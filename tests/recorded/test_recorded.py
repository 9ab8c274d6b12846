"""What MariaDB 10.11.19 with galera-4 26.4.23 answered in each condition, as it was read: rows.json.

A condition whose rows say nothing of it (flow control, split brain, a freeze) looks synced here, as it did there.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from healthagent import parse
from healthagent.model import Snapshot
from tests.build import PRIMARY, REPLICA, SYNCED, healthy, plain_rows, snapshot

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "rows.json").read_text("utf-8"))

GALERA = {
    "backup_stage": "desynced",
    "clean_shutdown": "non_primary",
    "desync": "desynced",
    "disk_full": "inconsistent",
    "donor_mariabackup": "desynced",  # without its process nothing tells it from a desync
    "donor_rsync": "desynced",
    "flow_control": "synced",
    "ftwrl": "desynced",
    "garbd": "synced",
    "gcomm_empty": "disconnected",
    "inconsistent": "inconsistent",
    "isolate": "non_primary",
    "joiner_ist": "joining",
    "joiner_ist_live": "joining",
    "kill9": "synced",
    "left_cluster": "disconnected",
    "netns_partition": "non_primary",
    "netns_partition_drop": "non_primary",
    "netns_synced": "synced",
    "provider_none": "primary",
    "quorum_lost": "non_primary",
    "read_only": "synced",
    "reject_queries": "rejecting",
    "reject_queries_kill": "rejecting",
    "rsu_ddl": "desynced",
    "sigstop": "synced",
    "split_brain": "synced",
    "standalone": "primary",
    "starting": "non_primary",
    "synced": "synced",
    "too_many_connections": "synced",
    "wsrep_on_off": "wsrep_off",
}
ASYNC = {
    "apply_blocked": "replica",
    "channel_stopped": "replica_stopped",
    "delayed": "replica",
    "io_stopped": "replica_stopped",
    "not_a_replica": "primary",
    "primary_hung": "replica_stale_link",
    "primary_killed": "replica_stale_link",
    "replicating": "replica",
    "slow_transaction": "replica",
    "sql_error": "replica_error",
    "sql_stopped": "replica_stopped",
}
UP = {"synced", "primary", "replica", "replica_lagging", "standalone"}


def member(condition: str) -> Snapshot:
    """The recorded names, and of the others only what every server has."""
    common = {name: value for name, value in plain_rows().items() if not name.startswith("wsrep_")}
    provider = {"wsrep_provider": "/usr/lib/galera/libgalera_smm.so"}
    return snapshot({**common, **provider, **RECORDED["galera"][condition]})


def rows(condition: str) -> Snapshot:
    return snapshot(plain_rows(), RECORDED["async"][condition])


def test_every_recorded_condition_is_named_here() -> None:
    assert set(RECORDED["galera"]) == set(GALERA)
    assert set(RECORDED["async"]) == set(ASYNC)


@pytest.mark.parametrize(("condition", "state"), GALERA.items())
def test_galera(condition: str, state: str) -> None:
    before = SYNCED if state not in UP - {"synced"} else PRIMARY
    agent = healthy(before).keeps_seeing(member(condition), 15.0, every=0.5)

    assert agent.state == state
    assert agent.up("any") == agent.up("reader") == (state in UP)
    assert agent.up("writer") == (state in UP and condition != "read_only")


@pytest.mark.parametrize(("condition", "state"), ASYNC.items())
def test_replication(condition: str, state: str) -> None:
    agent = healthy(REPLICA).keeps_seeing(rows(condition), 15.0, every=0.5)

    assert agent.state == state
    assert agent.up("any") == agent.up("reader") == (state in UP)
    assert agent.up("writer") == (state == "primary")


@pytest.mark.parametrize("condition", RECORDED["galera"])
def test_every_recorded_number_is_understood(condition: str) -> None:
    """What is None behind parse was absent, empty, or the number that says "no member"."""
    found, recorded = parse.galera(RECORDED["galera"][condition]), RECORDED["galera"][condition]
    assert found is not None

    for name in ("local_state", "cluster_size", "local_index", "cluster_conf_id", "desync_count", "last_committed"):
        text = recorded.get(f"wsrep_{name}")
        value = getattr(found, name)
        assert (str(value) == text) if value is not None else text in (None, "18446744073709551615", "-1")
