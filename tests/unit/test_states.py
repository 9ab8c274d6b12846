"""The node's state: of all that match, the first in the written order."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from healthagent.facts import FailureKind, ProcessState, Snapshot, Transfer
from healthagent.policy import Topology
from healthagent.trail import Pins
from tests.build import (
    IST,
    JOINER,
    MARIABACKUP,
    NO_PROVIDER,
    POLICY,
    PRIMARY,
    REPLICA,
    RSYNC,
    SYNCED,
    Agent,
    changed,
    desynced,
    failed,
    galera,
    galera_rows,
    healthy,
    plain_rows,
    primary,
    replica,
    slave_row,
    snapshot,
    with_role,
)

Change = dict[str, Any]
TWO: Change = {"wsrep_local_state": "2", "wsrep_desync_count": "1"}

# in the written order; "transfers" is what runs on the node
GALERA: dict[str, Change] = {
    "wsrep_off": {"wsrep_on": 0},
    "inconsistent": {"wsrep_local_state": "5"},
    "disconnected": {"wsrep_cluster_status": "Disconnected"},
    "joining": {"wsrep_local_state": "1"},
    "non_primary": {"wsrep_cluster_status": "non-Primary"},
    "joined": {"wsrep_local_state": "3"},
    "rejecting": {"wsrep_reject_queries": "ALL"},
    "not_ready": {"wsrep_ready": "OFF"},
    "donor_blocking": {**TWO, "transfers": (RSYNC,)},
    "donor": {**TWO, "transfers": (MARIABACKUP,)},
    "desynced": {**TWO, "transfers": ()},
    "synced": {"wsrep_local_state": "4"},
}
ASYNC: dict[str, Change] = {
    "replica_error": {"Last_SQL_Errno": 1062},
    "replica_stopped": {"Slave_SQL_Running": "No"},
    "replica_stale_link": {"Slave_IO_Running": "Connecting"},
    "replica_lagging": {"Seconds_Behind_Master": 11},
    "replica": {},
}


def compatible(one: Change, other: Change) -> bool:
    return all(one[key] == other[key] for key in one.keys() & other.keys())


def pairs(table: dict[str, Change]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in combinations(table, 2) if compatible(table[one], table[other])]


def member(change: Change) -> Snapshot:
    facts = dict(change)
    transfers = facts.pop("transfers", ())
    return snapshot(changed(galera_rows(), facts), transfers=transfers)


@pytest.mark.parametrize("word", GALERA)
def test_each_galera_state_by_itself(word: str) -> None:
    assert Agent().sees(member(GALERA[word])).state == word


@pytest.mark.parametrize(("first", "second"), pairs(GALERA))
def test_of_two_galera_states_the_first_is_told(first: str, second: str) -> None:
    assert Agent().sees(member({**GALERA[second], **GALERA[first]})).state == first


@pytest.mark.parametrize("word", ASYNC)
def test_each_replica_state_by_itself(word: str) -> None:
    assert Agent().sees(replica(slave_row(**ASYNC[word]))).state == word


@pytest.mark.parametrize(("first", "second"), pairs(ASYNC))
def test_of_two_replica_states_the_first_is_told(first: str, second: str) -> None:
    assert Agent().sees(replica(slave_row(**{**ASYNC[second], **ASYNC[first]}))).state == first


@pytest.mark.parametrize(("first", "second"), pairs(ASYNC))
def test_of_two_connections_the_worse_is_told(first: str, second: str) -> None:
    rows = [slave_row(Connection_name=word, **ASYNC[word]) for word in (second, first)]

    assert Agent().sees(replica(*rows)).state == first


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (PRIMARY, "primary"),
        (primary(log_bin=0), "standalone"),
        (primary(read_only=1), "replica_stopped"),
        (snapshot(plain_rows(), None), "unknown"),
        (primary(log_bin=None), "unknown"),
        (primary(read_only=None), "unknown"),
    ],
)
def test_outside_galera_without_a_source(what: Snapshot, state: str) -> None:
    assert Agent().sees(what).state == state


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (failed(FailureKind.LOGIN, 1045), "auth_error"),
        (failed(FailureKind.LIMIT, 1040), "connection_limit"),
        (failed(FailureKind.TIMEOUT), "hung"),
        (failed(FailureKind.QUERY), "unknown"),
        (failed(FailureKind.REFUSED, 111, process=ProcessState.NEW, transfers=(JOINER,)), "sst_joiner"),
        (failed(FailureKind.REFUSED, 2, process=ProcessState.NEW), "server_starting"),
        (failed(FailureKind.REFUSED, 2, process=ProcessState.NEW, transfers=(RSYNC,)), "server_starting"),
        (failed(FailureKind.REFUSED, 2, process=ProcessState.NEW, transfers=None), "server_starting"),
        (failed(FailureKind.REFUSED, 111, process=ProcessState.GONE), "down"),
        (failed(FailureKind.REFUSED, 111, process=ProcessState.EXITING), "down"),
        (failed(FailureKind.REFUSED, 111), "down"),
        (failed(FailureKind.LOST, 104), "down"),
    ],
)
def test_without_facts(what: Snapshot, state: str) -> None:
    assert Agent().sees(what).state == state
    assert healthy().sees(what).state == state


@pytest.mark.parametrize("name", ["local_state", "cluster_status", "connected", "ready", "on"])
def test_a_member_without_a_deciding_fact_is_unknown(name: str) -> None:
    assert Agent().sees(galera(**{name: None})).state == "unknown"


# --- state 2 is many things -----------------------------------------------------------------------------------------


def test_an_ist_from_here_is_a_desync() -> None:
    assert Agent().sees(desynced((IST,))).state == "desynced"


@pytest.mark.parametrize("method", ["rsync", "mysqldump", "rsync_wan", "something_new"])
def test_every_copy_blocks_but_those_that_are_known_not_to(method: str) -> None:
    assert Agent().sees(desynced((Transfer(joiner=False, method=method),))).state == "donor_blocking"


@pytest.mark.parametrize(
    ("desync", "count", "state"),
    [
        (0, "1", "donor"),
        (0, "2", "donor_blocking"),
        (1, "2", "donor"),
        (1, "3", "donor_blocking"),
        (0, None, "donor_blocking"),
    ],
)
def test_a_mariabackup_blocks_in_its_last_second(desync: int, count: str | None, state: str) -> None:
    assert Agent().sees(desynced((MARIABACKUP,), desync=desync, desync_count=count)).state == state


def test_without_evidence_it_is_taken_for_a_blocking_donor_after_2_s() -> None:
    agent = healthy().sees(desynced(None))
    assert agent.state == "desynced"

    assert agent.sees(desynced(None), after=1.9).state == "desynced"
    assert agent.sees(desynced(None), after=0.1).state == "donor_blocking"


def test_wsrep_desync_explains_it_without_evidence() -> None:
    assert healthy().keeps_seeing(desynced(None, desync=1), 4.0).state == "desynced"


def test_wsrep_desync_explains_one_desync_and_not_two() -> None:
    assert healthy().keeps_seeing(desynced(None, desync=1, desync_count="2"), 4.0).state == "donor_blocking"


def test_3_right_behind_2_is_the_same_episode() -> None:
    agent = healthy().sees(desynced()).sees(galera(local_state="3", local_state_comment="Joined"), after=0.005)

    assert agent.state == "desynced"


def test_3_behind_4_is_joined() -> None:
    assert healthy().sees(galera(local_state="3", local_state_comment="Joined")).state == "joined"


def test_a_donor_that_catches_up_is_still_a_donor() -> None:
    assert healthy().sees(desynced((MARIABACKUP,))).sees(desynced(desync_count="0")).state == "donor"


# --- what this server is --------------------------------------------------------------------------------------------

WSREP_LOADED_OFF = snapshot(changed(galera_rows(), {**NO_PROVIDER, "wsrep_provider": "/usr/lib/libgalera_smm.so"}))
PROVIDER_GONE = snapshot(plain_rows())


@pytest.mark.parametrize(
    ("topology", "pinned", "what", "state"),
    [
        (Topology.AUTO, False, SYNCED, "synced"),
        (Topology.AUTO, False, PROVIDER_GONE, "primary"),
        (Topology.AUTO, True, PROVIDER_GONE, "wsrep_off"),
        (Topology.AUTO, True, snapshot({"version": "11.4", "read_only": 0, "log_bin": 1}), "wsrep_off"),
        (Topology.AUTO, False, WSREP_LOADED_OFF, "wsrep_off"),
        (Topology.AUTO, False, galera(on=0), "wsrep_off"),
        (Topology.GALERA, False, PROVIDER_GONE, "wsrep_off"),
        (Topology.GALERA, False, SYNCED, "synced"),
        (Topology.ASYNC, True, PROVIDER_GONE, "primary"),
        (Topology.ASYNC, False, REPLICA, "replica"),
        (Topology.STANDALONE, False, snapshot(plain_rows(log_bin=0), None), "standalone"),
    ],
)
def test_topology(topology: Topology, pinned: bool, what: Snapshot, state: str) -> None:
    agent = Agent(replace(POLICY, topology=topology), Pins(galera=pinned))

    assert agent.sees(what).state == state


def test_lagging_is_measured_with_the_readers_limit() -> None:
    agent = Agent(with_role("reader", max_lag_seconds=60.0))

    assert agent.sees(replica(slave_row(Seconds_Behind_Master=60))).state == "replica"
    assert agent.sees(replica(slave_row(Seconds_Behind_Master=61))).state == "replica_lagging"


@pytest.mark.parametrize("mode", ["MAINTENANCE", "SHUTDOWN"])
def test_pxc_maint_mode_turns_clients_away(mode: str) -> None:
    assert Agent().sees(galera(pxc_maint_mode=mode)).state == "rejecting"
    assert Agent().sees(galera(pxc_maint_mode="DISABLED")).state == "synced"
