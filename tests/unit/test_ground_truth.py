"""What real servers showed in each condition -> what every role says of it. One line, one recorded condition.

`said` is the answer of any, writer, reader and synced, in this order: `up`, or the first reason of a verdict that is
down (`up/REASON`: an up that carries one). `at_once` is said after the first sample of the condition, `finally_` when
every hold and damping has run out. The server was healthy before, unless the condition is a start.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from healthagent.facts import FailureKind, ProcessState, Snapshot, Transfer
from healthagent.trail import Pins
from tests.build import (
    JOINER,
    MARIABACKUP,
    NO_MEMBER,
    NO_PROVIDER,
    POLICY,
    PRIMARY,
    REPLICA,
    RSYNC,
    SYNCED,
    Agent,
    desynced,
    failed,
    galera,
    galera_rows,
    healthy,
    replica,
    slave_row,
    snapshot,
)

ROLES = ("any", "writer", "reader", "synced")
UP = "up up up up"


def all_four(reason: str) -> str:
    return " ".join([reason] * len(ROLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One condition; `before` None: the agent starts with it."""

    seen: Snapshot
    state: str
    finally_: str
    at_once: str | None = None
    before: Snapshot | None = SYNCED
    pins: Pins = Pins()  # noqa: RUF009


NON_PRIMARY: dict[str, Any] = {
    "local_state": "0",
    "local_state_comment": "Initialized",
    "cluster_status": "non-Primary",
    "ready": "OFF",
    "cluster_size": "1",
    "local_index": "0",
    "cluster_conf_id": NO_MEMBER,
}
LEFT: dict[str, Any] = {
    "local_state": "0",
    "local_state_comment": "Initialized",
    "cluster_status": "Disconnected",
    "ready": "OFF",
    "connected": "OFF",
    "cluster_size": "0",
    "local_index": NO_MEMBER,
    "cluster_conf_id": NO_MEMBER,
}
VOTED_OUT: dict[str, Any] = {**LEFT, "local_state": "5", "local_state_comment": "Inconsistent", "last_committed": "-1"}
JOINING: dict[str, Any] = {
    "local_state": "1",
    "local_state_comment": "Joining: receiving State Transfer",
    "ready": "OFF",
    "local_index": NO_MEMBER,
}


def refused(number: int, process: ProcessState, *transfers: Transfer) -> Snapshot:
    return failed(FailureKind.REFUSED, number, process=process, transfers=transfers)


ALIVE, NEW, GONE = ProcessState.ALIVE, ProcessState.NEW, ProcessState.GONE
HANGS, FULL = FailureKind.TIMEOUT, FailureKind.LIMIT
MB_JOINER = Transfer(joiner=True, method="mariabackup")
DESYNCS_FOR_GOOD = all_four("desynced")
DESYNCS_AT_ONCE = "up/desynced up/desynced up/desynced desynced"
AFTER_NON_PRIMARY = galera(**NON_PRIMARY)
AFTER_SHUTDOWN_VIEW = galera(
    cluster_status="non-Primary", ready="OFF", cluster_size="1", local_index="0", local_recv_queue="1"
)
ONE_CHANNEL_STOPPED = replica(
    slave_row(Connection_name="a"),
    slave_row(Connection_name="b", Slave_IO_Running="No", Slave_SQL_Running="No", Seconds_Behind_Master=None),
)
WSREP_NONE: dict[str, Any] = {name.removeprefix("wsrep_"): value for name, value in NO_PROVIDER.items()}
GALERA_AND_REPLICA = snapshot(galera_rows(), [slave_row()])
RECONNECTING: dict[str, Any] = {"Slave_IO_Running": "Connecting", "Seconds_Behind_Master": None}

GALERA = {
    "synced": Row(seen=SYNCED, state="synced", finally_=UP, before=None),
    "donor, rsync SST": Row(
        seen=desynced((RSYNC,), cluster_size="4", local_recv_queue="7"),
        state="donor_blocking",
        at_once=all_four("donor_blocking"),
        finally_=all_four("donor_blocking"),
    ),
    "donor, mariabackup SST": Row(
        seen=desynced((MARIABACKUP,), cluster_size="4"),
        state="donor",
        at_once=all_four("donor"),
        finally_=all_four("donor"),
    ),
    "donor, mariabackup SST, its last second": Row(
        seen=desynced((MARIABACKUP,), cluster_size="4", desync_count="2"),
        state="donor_blocking",
        at_once=all_four("donor_blocking"),
        finally_=all_four("donor_blocking"),
    ),
    "joiner, rsync SST": Row(
        seen=refused(2, NEW, JOINER), state="sst_joiner", finally_=all_four("sst_joiner"), before=None
    ),
    "joiner, mariabackup SST": Row(
        seen=refused(2, NEW, MB_JOINER), state="sst_joiner", finally_=all_four("sst_joiner"), before=None
    ),
    "joiner, SST just over": Row(
        seen=galera(**{**JOINING, "cluster_size": "4", "cluster_conf_id": "31"}),
        state="joining",
        finally_=all_four("joining"),
        before=refused(2, NEW, JOINER),
    ),
    "joiner, IST after restart, no socket yet": Row(
        seen=refused(2, NEW), state="server_starting", finally_=all_four("server_starting"), before=None
    ),
    "joiner, IST after restart, non-Primary": Row(
        seen=galera(**{**JOINING, "cluster_status": "non-Primary", "cluster_conf_id": NO_MEMBER}),
        state="joining",
        finally_=all_four("joining"),
        before=None,
    ),
    "joiner, IST after restart, Primary": Row(
        seen=galera(**JOINING), state="joining", finally_=all_four("joining"), before=None
    ),
    "joiner, IST while running": Row(
        seen=galera(**{**JOINING, "cluster_size": "2", "cluster_conf_id": "20"}),
        state="joining",
        at_once=all_four("joining"),
        finally_=all_four("joining"),
    ),
    "wsrep_desync=ON": Row(
        seen=desynced(desync=1), state="desynced", at_once=DESYNCS_AT_ONCE, finally_=DESYNCS_FOR_GOOD
    ),
    "FLUSH TABLES WITH READ LOCK": Row(
        seen=desynced(local_recv_queue="17"), state="desynced", at_once=DESYNCS_AT_ONCE, finally_=DESYNCS_FOR_GOOD
    ),
    "BACKUP STAGE BLOCK_COMMIT": Row(
        seen=desynced(local_recv_queue="17"), state="desynced", at_once=DESYNCS_AT_ONCE, finally_=DESYNCS_FOR_GOOD
    ),
    "RSU ALTER": Row(
        seen=desynced(local_recv_queue="18"), state="desynced", at_once=DESYNCS_AT_ONCE, finally_=DESYNCS_FOR_GOOD
    ),
    "RSU ALTER, catching up": Row(
        seen=desynced(desync_count="0"), state="desynced", at_once=DESYNCS_AT_ONCE, finally_=DESYNCS_FOR_GOOD
    ),
    "TOI ALTER": Row(seen=SYNCED, state="synced", finally_=UP),
    "flow control": Row(seen=galera(local_recv_queue="13", last_committed="689"), state="synced", finally_=UP),
    "non-Primary: partition": Row(
        seen=galera(**NON_PRIMARY),
        state="non_primary",
        at_once=all_four("non_primary"),
        finally_=all_four("non_primary"),
    ),
    "non-Primary: gmcast.isolate=1": Row(
        seen=galera(**NON_PRIMARY, last_committed="922"),
        state="non_primary",
        at_once=all_four("non_primary"),
        finally_=all_four("non_primary"),
    ),
    "non-Primary: all peers kill -9": Row(
        seen=galera(**NON_PRIMARY, last_committed="3372"),
        state="non_primary",
        at_once=all_four("non_primary"),
        finally_=all_four("non_primary"),
    ),
    "left: wsrep_cluster_address=''": Row(
        seen=galera(**LEFT),
        state="disconnected",
        at_once=all_four("disconnected"),
        finally_=all_four("disconnected"),
    ),
    "'gcomm://' on a running member": Row(
        seen=galera(**LEFT, last_committed="3036"),
        state="disconnected",
        at_once=all_four("disconnected"),
        finally_=all_four("disconnected"),
    ),
    "split brain: isolated + pc.bootstrap=YES": Row(
        seen=galera(cluster_size="1", local_index="0", cluster_conf_id="26"), state="synced", finally_=UP
    ),
    "inconsistent (lost vote)": Row(
        seen=galera(**VOTED_OUT),
        state="inconsistent",
        at_once=all_four("inconsistent"),
        finally_=all_four("inconsistent"),
    ),
    "disk full": Row(
        seen=galera(**VOTED_OUT),
        state="inconsistent",
        at_once=all_four("inconsistent"),
        finally_=all_four("inconsistent"),
    ),
    "evicted, at first": Row(
        seen=galera(**NON_PRIMARY),
        state="non_primary",
        at_once=all_four("non_primary"),
        finally_=all_four("non_primary"),
    ),
    "evicted, 1.3 s later": Row(
        seen=galera(**LEFT), state="disconnected", finally_=all_four("disconnected"), before=AFTER_NON_PRIMARY
    ),
    "wsrep_reject_queries=ALL": Row(
        seen=galera(reject_queries="ALL"),
        state="rejecting",
        at_once=all_four("rejecting"),
        finally_=all_four("rejecting"),
    ),
    "wsrep_reject_queries=ALL_KILL": Row(
        seen=galera(reject_queries="ALL_KILL"),
        state="rejecting",
        at_once=all_four("rejecting"),
        finally_=all_four("rejecting"),
    ),
    "read_only=ON": Row(
        seen=galera(read_only=1), state="synced", at_once="up read_only up up", finally_="up read_only up up"
    ),
    "max_connections full, seen on the kept connection": Row(
        seen=galera(Threads_connected="151"),
        state="synced",
        at_once=all_four("up/connection_limit"),
        finally_=all_four("up/connection_limit"),
    ),
    "max_connections full, no connection kept": Row(
        seen=failed(FULL, 1040, process=ALIVE),
        state="connection_limit",
        at_once=all_four("up/connection_limit"),
        finally_=all_four("connection_limit"),
    ),
    "garbd joined": Row(
        seen=galera(
            cluster_size="4",
            cluster_conf_id="4",
            incoming_addresses="127.0.0.1:13311,127.0.0.1:13312,127.0.0.1:13313,",
        ),
        state="synced",
        finally_=UP,
    ),
    "SIGSTOP, seen in /proc": Row(
        seen=failed(HANGS, process=ProcessState.STOPPED),
        state="hung",
        at_once=all_four("hung"),
        finally_=all_four("hung"),
    ),
    "SIGSTOP, /proc not readable": Row(
        seen=failed(HANGS), state="hung", at_once=all_four("up/hung"), finally_=all_four("hung")
    ),
    "after SIGCONT": Row(seen=SYNCED, state="synced", finally_=UP, before=failed(HANGS)),
    "kill -9": Row(seen=refused(111, GONE), state="down", at_once=all_four("down"), finally_=all_four("down")),
    "clean shutdown, at first": Row(
        seen=AFTER_SHUTDOWN_VIEW,
        state="non_primary",
        at_once=all_four("non_primary"),
        finally_=all_four("non_primary"),
    ),
    "clean shutdown, 40 ms later": Row(
        seen=refused(2, ProcessState.EXITING),
        state="down",
        at_once=all_four("down"),
        finally_=all_four("down"),
    ),
    "all nodes crashed, one started": Row(
        seen=refused(111, NEW), state="server_starting", finally_=all_four("server_starting"), before=None
    ),
    "start, nobody reachable": Row(
        seen=refused(2, NEW), state="server_starting", finally_=all_four("server_starting"), before=None
    ),
    "start, nobody reachable, 34 s later": Row(
        seen=refused(2, GONE), state="down", finally_=all_four("down"), before=refused(2, NEW)
    ),
    "wsrep_provider=none on what was a Galera node": Row(
        seen=galera(**{**WSREP_NONE, "on": 1}),
        state="wsrep_off",
        at_once=all_four("wsrep_off"),
        finally_=all_four("wsrep_off"),
        pins=Pins(galera=True),
    ),
    "wsrep_on=OFF in my.cnf": Row(
        seen=galera(**{**WSREP_NONE, "provider": "/usr/lib/galera/libgalera_smm.so"}),
        state="wsrep_off",
        finally_=all_four("wsrep_off"),
        before=None,
    ),
    "no Galera at all": Row(seen=PRIMARY, state="primary", finally_="up up up not_galera", before=None),
    "no Galera at all, no binary log": Row(
        seen=snapshot(galera_rows(**WSREP_NONE, log_bin=0)),
        state="standalone",
        finally_="up up up not_galera",
        before=None,
    ),
    "a Galera node that is an async replica": Row(seen=GALERA_AND_REPLICA, state="synced", finally_=UP),
}
ASYNC = {
    "replicating": Row(seen=REPLICA, state="replica", finally_="up is_replica up not_galera", before=None),
    "STOP SLAVE IO_THREAD": Row(
        seen=replica(slave_row(Slave_IO_Running="No", Seconds_Behind_Master=None)),
        state="replica_stopped",
        at_once="replica_stopped is_replica replica_stopped not_galera",
        finally_="replica_stopped is_replica replica_stopped not_galera",
        before=REPLICA,
    ),
    "STOP SLAVE SQL_THREAD": Row(
        seen=replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None)),
        state="replica_stopped",
        at_once="replica_stopped is_replica replica_stopped not_galera",
        finally_="replica_stopped is_replica replica_stopped not_galera",
        before=REPLICA,
    ),
    "duplicate key": Row(
        seen=replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None, Last_SQL_Errno=1062)),
        state="replica_error",
        at_once="replica_error is_replica replica_error not_galera",
        finally_="replica_error is_replica replica_error not_galera",
        before=REPLICA,
    ),
    "MASTER_DELAY=5, steady writes": Row(
        seen=replica(slave_row(Seconds_Behind_Master=5, SQL_Delay=5, SQL_Remaining_Delay=0)),
        state="replica",
        finally_="up is_replica up not_galera",
        before=REPLICA,
    ),
    "one slow transaction": Row(
        seen=replica(slave_row(Seconds_Behind_Master=4)),
        state="replica",
        finally_="up is_replica up not_galera",
        before=REPLICA,
    ),
    "SQL thread blocked by a lock": Row(
        seen=replica(slave_row(Seconds_Behind_Master=11)),
        state="replica_lagging",
        at_once="up/replica_lagging is_replica up/replica_lagging not_galera",
        finally_="replica_lagging is_replica replica_lagging not_galera",
        before=REPLICA,
    ),
    "primary kill -9": Row(
        seen=replica(slave_row(**RECONNECTING, Last_IO_Errno=2003)),
        state="replica_stale_link",
        at_once="up/replica_stale_link is_replica up/replica_stale_link not_galera",
        finally_="replica_stale_link is_replica replica_stale_link not_galera",
        before=REPLICA,
    ),
    "primary SIGSTOP, its first 9.4 s": Row(
        seen=REPLICA, state="replica", finally_="up is_replica up not_galera", before=REPLICA
    ),
    "primary SIGSTOP, later": Row(
        seen=replica(slave_row(**RECONNECTING)),
        state="replica_stale_link",
        at_once="up/replica_stale_link is_replica up/replica_stale_link not_galera",
        finally_="replica_stale_link is_replica replica_stale_link not_galera",
        before=REPLICA,
    ),
    "RESET SLAVE ALL, read_only OFF": Row(
        seen=PRIMARY, state="primary", finally_="up up up not_galera", before=REPLICA
    ),
    "RESET SLAVE ALL, read_only ON": Row(
        seen=snapshot(galera_rows(**WSREP_NONE, read_only=1)),
        state="replica_stopped",
        at_once="not_replicating read_only not_replicating not_galera",
        finally_="not_replicating read_only not_replicating not_galera",
        before=REPLICA,
    ),
    "multi-source, one channel stopped": Row(
        seen=ONE_CHANNEL_STOPPED,
        state="replica_stopped",
        at_once="replica_stopped is_replica replica_stopped not_galera",
        finally_="replica_stopped is_replica replica_stopped not_galera",
        before=replica(slave_row(Connection_name="a"), slave_row(Connection_name="b")),
    ),
}
ROWS = GALERA | ASYNC
PARAMETERS = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
AT_ONCE = pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.at_once], ids=[name for name, row in ROWS.items() if row.at_once]
)


def agent_before(row: Row) -> Agent:
    return healthy(row.before, POLICY, row.pins) if row.before is not None else Agent(POLICY, row.pins)


@PARAMETERS
def test_what_is_said_in_the_end(row: Row) -> None:
    agent = agent_before(row).keeps_seeing(row.seen, 15.0, every=0.5)

    assert (agent.state, agent.told(*ROLES)) == (row.state, row.finally_)


@AT_ONCE
def test_what_is_said_at_once(row: Row) -> None:
    agent = agent_before(row).sees(row.seen)

    assert (agent.state, agent.told(*ROLES)) == (row.state, row.at_once)


@PARAMETERS
def test_up_has_a_weight_and_down_has_a_reason(row: Row) -> None:
    agent = agent_before(row).keeps_seeing(row.seen, 15.0, every=1.0)

    for name, verdict in agent.publication.verdicts.items():
        full = 1 if "connection_limit" in agent.reasons(name) else 100
        assert verdict.weight == (full if agent.up(name) else 0)
        assert verdict.reasons or agent.up(name)


def test_a_reconnect_makes_the_lag_jump_for_a_moment_and_nothing_falls() -> None:
    agent = healthy(REPLICA).sees(replica(slave_row(Seconds_Behind_Master=16)), after=0.02).sees(REPLICA, after=0.02)

    assert agent.told("any", "reader") == "up up"


def test_a_chosen_donor_of_an_arbitrator_is_desynced_for_20_ms_and_only_synced_falls() -> None:
    agent = healthy(SYNCED).sees(desynced(), after=0.1)
    assert agent.told(*ROLES) == DESYNCS_AT_ONCE

    agent.sees(SYNCED, after=0.02)
    assert agent.told("any", "writer", "reader") == "up up up"


def test_a_replication_thread_that_dies_with_the_quorum_is_not_the_news() -> None:
    stopped = slave_row(Slave_SQL_Running="No", Last_SQL_Errno=1047, Seconds_Behind_Master=None)
    agent = healthy(GALERA_AND_REPLICA).sees(snapshot(galera_rows(**NON_PRIMARY), [stopped]))

    assert (agent.state, agent.told(*ROLES)) == ("non_primary", all_four("non_primary"))
