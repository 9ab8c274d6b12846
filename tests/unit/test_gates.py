"""When each gate falls and when it comes back. Every case: three healthy seconds, then one change."""

from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import config
from healthagent.facts import FailureKind, ProcessState, Snapshot
from healthagent.policy import Base, Policy, Role, Topology
from tests.build import (
    DOWN,
    FULL,
    HUNG,
    IST,
    LOGIN_REFUSED,
    MARIABACKUP,
    POLICY,
    PRIMARY,
    REPLICA,
    RSYNC,
    SYNCED,
    Agent,
    desynced,
    failed,
    falls_after,
    galera,
    healthy,
    plain_rows,
    primary,
    replica,
    rises_after,
    slave_row,
    snapshot,
    with_role,
)

SERVING = ("any", "writer", "reader", "candidate")
JOINED = galera(local_state="3", local_state_comment="Joined")


# --- now: down on one bad sample, back after 500 ms of good ones ----------------------------------------------------

NOW = {
    "wsrep_on": galera(on=0),
    "primary_component": galera(cluster_status="non-Primary"),
    "ready": galera(ready="OFF"),
    "connected": galera(connected="OFF"),
    "accepting": galera(reject_queries="ALL"),
    "state": galera(local_state="1"),
    "joined": JOINED,
    "donor_blocking": desynced((RSYNC,)),
    "donor": desynced((MARIABACKUP,)),
    "reachable": DOWN,
    "lost": failed(FailureKind.LOST, 104),
    "not understood": failed(FailureKind.QUERY),
}


@pytest.mark.parametrize("bad", NOW.values(), ids=NOW.keys())
@pytest.mark.parametrize("role", [*SERVING, "synced"])
def test_now_gates_fall_on_one_bad_sample(bad: Snapshot, role: str) -> None:
    assert falls_after(healthy(), bad, role) == 0.0


@pytest.mark.parametrize("bad", NOW.values(), ids=NOW.keys())
def test_now_gates_come_back_after_500_ms(bad: Snapshot) -> None:
    assert rises_after(healthy().sees(bad), SYNCED, "writer") == 0.5


def test_500_ms_need_two_samples() -> None:
    agent = healthy().sees(DOWN)

    assert not agent.sees(SYNCED, after=2.9).up("writer")
    assert agent.sees(SYNCED, after=0.5).up("writer")


def test_one_bad_sample_starts_the_500_ms_anew() -> None:
    agent = healthy().sees(DOWN).sees(SYNCED, after=0.1).sees(SYNCED, after=0.3).sees(DOWN, after=0.1)

    assert rises_after(agent, SYNCED, "writer") == 0.5


def test_read_only_takes_writers_only() -> None:
    agent = healthy().sees(galera(read_only=1))

    assert agent.told("any", "writer", "candidate", "reader", "synced") == "up read_only read_only up up"
    assert rises_after(agent, SYNCED, "writer") == 0.5


def test_innodb_read_only_is_read_only() -> None:
    assert healthy().sees(galera(innodb_read_only=1)).says("writer") == "read_only"


@pytest.mark.parametrize("what", [SYNCED, PRIMARY, REPLICA], ids=["galera", "primary", "replica"])
def test_the_first_sample_after_a_start_decides_at_once(what: Snapshot) -> None:
    assert Agent().sees(what).up("reader")


@pytest.mark.parametrize("what", [desynced(), HUNG, LOGIN_REFUSED, FULL, DOWN], ids=lambda what: str(what.failure))
def test_the_first_sample_after_a_start_has_no_hold(what: Snapshot) -> None:
    assert not any(Agent().sees(what).up(role) for role in (*SERVING, "synced", "replica"))


# --- answering ------------------------------------------------------------------------------------------------------


def test_a_hung_server_falls_with_the_second_timeout() -> None:
    agent = healthy().sees(HUNG, after=0.8)
    assert agent.told(*SERVING) == "up/hung up/hung up/hung up/hung"

    assert agent.sees(HUNG, after=0.8).told(*SERVING) == "hung hung hung hung"


def test_two_timeouts_must_follow_each_other() -> None:
    assert healthy().sees(HUNG).sees(SYNCED).sees(HUNG).up("writer")


@pytest.mark.parametrize("process", [ProcessState.STOPPED, ProcessState.EXITING, ProcessState.GONE])
def test_one_timeout_is_enough_with_proof_in_proc(process: ProcessState) -> None:
    assert healthy().sees(failed(FailureKind.TIMEOUT, process=process)).says("writer") == "hung"


@pytest.mark.parametrize("process", [ProcessState.ALIVE, ProcessState.NEW, None])
def test_a_live_process_proves_nothing(process: ProcessState | None) -> None:
    assert healthy().sees(failed(FailureKind.TIMEOUT, process=process)).says("writer") == "up/hung"


def test_silence_right_after_the_server_closed_the_connection_is_proof() -> None:
    assert healthy().sees(failed(FailureKind.TIMEOUT, silent_after_eof=True)).says("writer") == "hung"


# --- login and room: held up to max_age -----------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "reason"), [(LOGIN_REFUSED, "auth_error"), (FULL, "connection_limit")])
def test_login_and_room_are_held_as_long_as_the_facts_are_fresh(what: Snapshot, reason: str) -> None:
    agent = healthy()
    facts_at = agent.now

    assert agent.sees(what).says("writer") == f"up/{reason}"
    agent.keeps_seeing(what, facts_at + 3.0 - agent.now)
    assert agent.says("writer") == f"up/{reason}"
    assert agent.sees(what, after=0.1).says("writer") == reason


@pytest.mark.parametrize("what", [LOGIN_REFUSED, FULL])
def test_the_hold_follows_max_age(what: Snapshot) -> None:
    agent = healthy(SYNCED, replace(POLICY, max_age_seconds=8.0))

    assert falls_after(agent, what, "writer", every=0.5) == 8.0


@pytest.mark.parametrize("lost", [DOWN, failed(FailureKind.TIMEOUT, process=ProcessState.STOPPED)])
@pytest.mark.parametrize("what", [LOGIN_REFUSED, FULL])
def test_a_server_that_was_lost_needs_facts_to_come_back(lost: Snapshot, what: Snapshot) -> None:
    """It may be another process: what the one before said is not held."""
    agent = healthy().sees(lost)

    assert rises_after(agent, what, "any", within=10.0) is None


@pytest.mark.parametrize("what", [LOGIN_REFUSED, FULL])
def test_several_kinds_of_failure_in_turn_do_not_outlive_max_age(what: Snapshot) -> None:
    agent = healthy()
    for _ in range(4):
        agent.sees(HUNG, after=0.4).sees(what, after=0.4)

    assert agent.now - 5003.0 > 3.0
    assert not agent.up("writer")


def test_a_full_server_with_facts_keeps_weight_1() -> None:
    agent = healthy().sees(galera(Threads_connected="151"))
    verdict = agent.verdict("writer")

    assert (agent.says("writer"), verdict.weight) == ("up/connection_limit", 1)
    assert agent.keeps_seeing(SYNCED, 0.7).says("writer") == "up"
    assert agent.keeps_seeing(SYNCED, 5.0).verdict("writer").weight == 100


def test_a_full_server_that_is_read_only_is_still_no_writer() -> None:
    assert healthy().sees(galera(Threads_connected="151", read_only=1)).says("writer") == "read_only"


# --- state 2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "writer", "reader"),
    [
        pytest.param(desynced(), 2.0, 5.0, id="FTWRL, RSU, a backup, an IST of a peer"),
        pytest.param(desynced(desync=1), 5.0, 5.0, id="wsrep_desync"),
        pytest.param(desynced((IST,)), 5.0, 5.0, id="IST from here"),
        pytest.param(desynced(None), 2.0, 2.0, id="processes not visible"),
        pytest.param(desynced(None, desync=1), 5.0, 5.0, id="wsrep_desync, processes not visible"),
    ],
)
@pytest.mark.parametrize("every", [0.1, 0.5])
def test_how_long_state_2_is_held(what: Snapshot, writer: float, reader: float, every: float) -> None:
    assert falls_after(healthy(), what, "writer", every=every) == writer
    assert falls_after(healthy(), what, "reader", every=every) == reader
    assert falls_after(healthy(), what, "synced", every=every) == 0.0


def test_no_evidence_falls_as_a_blocking_donor() -> None:
    assert healthy().keeps_seeing(desynced(None), 2.5).says("writer") == "donor_blocking"


def test_a_hold_needs_two_samples() -> None:
    assert healthy().sees(desynced(), after=2.9).up("writer")


def test_state_3_behind_2_counts_on_in_the_same_hold() -> None:
    agent = healthy().keeps_seeing(desynced(), 1.5)

    assert falls_after(agent, JOINED, "writer") == 0.5


def test_a_copy_that_shows_up_in_a_held_desync_falls_at_once() -> None:
    agent = healthy().sees(desynced())
    assert agent.up("writer")

    assert agent.sees(desynced((RSYNC,)), after=0.1).told(*SERVING) == " ".join(["donor_blocking"] * 4)


@pytest.mark.parametrize("policy", [with_role("reader", donor=True), with_role("reader", donor=True, desync=True)])
@pytest.mark.parametrize("bad", [desynced((RSYNC,)), desynced((MARIABACKUP,), desync_count="2")])
def test_a_blocking_donor_is_never_allowed(policy: Policy, bad: Snapshot) -> None:
    assert falls_after(healthy(SYNCED, policy), bad, "reader") == 0.0


def test_a_donor_that_does_not_block_may_serve_reads_where_allowed() -> None:
    agent = healthy(SYNCED, with_role("reader", donor=True)).keeps_seeing(desynced((MARIABACKUP,)), 60.0, every=0.5)

    assert agent.told("any", "writer", "reader") == "donor donor up"


@pytest.mark.parametrize(("queue", "says"), [("0", "up"), ("100", "up"), ("101", "donor"), (None, "donor")])
def test_a_donor_serves_with_a_short_queue_only(queue: str | None, says: str) -> None:
    agent = healthy(SYNCED, with_role("reader", donor=True, max_queue=1000))

    assert agent.sees(desynced((MARIABACKUP,), local_recv_queue=queue)).says("reader") == says


def test_a_donor_stays_down_until_it_is_synced_again() -> None:
    agent = healthy().sees(desynced((RSYNC,))).keeps_seeing(desynced(desync_count="0"), 30.0, every=0.5)
    assert agent.told(*SERVING) == "donor donor donor donor"

    assert agent.sees(JOINED, after=0.005).told(*SERVING) == "donor donor donor donor"
    assert rises_after(agent, SYNCED, "writer") == 0.5


def test_an_episode_that_is_over_leaves_no_donor_behind() -> None:
    agent = healthy().sees(desynced((RSYNC,))).keeps_seeing(SYNCED, 2.0)

    assert falls_after(agent, desynced(), "reader") == 5.0


def test_a_desynced_reader_by_option() -> None:
    agent = healthy(SYNCED, with_role("reader", desync=True)).keeps_seeing(desynced(desync=1), 60.0, every=0.5)

    assert agent.told("any", "writer", "reader") == "desynced desynced up"


def test_a_desynced_reader_needs_a_short_queue() -> None:
    agent = healthy(SYNCED, with_role("reader", desync=True))
    agent.keeps_seeing(desynced(desync=1, local_recv_queue="50000"), 20.0, every=0.5)

    assert agent.says("reader") == "desynced"


def test_the_option_does_not_cover_a_desync_without_evidence() -> None:
    agent = healthy(SYNCED, with_role("reader", desync=True)).keeps_seeing(desynced(None), 2.5)

    assert agent.says("reader") == "donor_blocking"


# --- outside Galera -------------------------------------------------------------------------------------------------

NO_IO = replica(slave_row(Slave_IO_Running="No", Seconds_Behind_Master=None))
NO_SQL = replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None))
SQL_ERROR = replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None, Last_SQL_Errno=1062))


def reconnecting(errno: int = 0, word: str = "Connecting") -> Snapshot:
    return replica(slave_row(Slave_IO_Running=word, Seconds_Behind_Master=None, Last_IO_Errno=errno))


def behind(seconds: int | None) -> Snapshot:
    return replica(slave_row(Seconds_Behind_Master=seconds))


@pytest.mark.parametrize(
    ("bad", "reason"), [(NO_IO, "replica_stopped"), (NO_SQL, "replica_stopped"), (SQL_ERROR, "replica_error")]
)
def test_a_stopped_thread_falls_at_once(bad: Snapshot, reason: str) -> None:
    agent = healthy(REPLICA).sees(bad)

    assert agent.told("any", "reader", "replica") == f"{reason} {reason} {reason}"
    assert rises_after(agent, REPLICA, "reader") == 0.5


@pytest.mark.parametrize("errno", [0, 2002, 2003, 2013])
@pytest.mark.parametrize("word", ["Connecting", "Preparing"])
def test_a_reconnecting_replica_has_10_s(errno: int, word: str) -> None:
    assert falls_after(healthy(REPLICA), reconnecting(errno, word), "reader") == 10.0


def test_the_grace_is_a_setting() -> None:
    policy = with_role("reader", grace_seconds=3.0)

    assert falls_after(healthy(REPLICA, policy), reconnecting(2003), "reader") == 3.0


def test_while_reconnecting_the_lag_is_the_last_one_and_the_time_since() -> None:
    """8 s behind and a limit of 10 s: over it after more than 2 s, and damped for 1 s."""
    agent = healthy(behind(8))

    assert falls_after(agent, reconnecting(2003), "reader") == pytest.approx(3.0, abs=0.15)
    assert "replica_lagging" in agent.reasons("reader")


def test_an_io_error_that_time_does_not_heal_has_its_grace_and_then_its_name() -> None:
    agent = healthy(REPLICA)
    assert agent.sees(reconnecting(1045)).up("reader")

    assert agent.keeps_seeing(reconnecting(1045), 11.0).says("reader") == "replica_error"


def test_the_fatal_binlog_error_is_told_by_its_name() -> None:
    bad = replica(slave_row(Slave_IO_Running="No", Seconds_Behind_Master=None, Last_IO_Errno=1236))
    agent = healthy(REPLICA).sees(bad)

    assert (agent.state, agent.says("reader")) == ("replica_error", "fatal_binlog_error")


def test_lag_is_damped_by_one_second() -> None:
    agent = healthy(REPLICA)
    assert agent.sees(behind(11)).says("reader") == "up/replica_lagging"

    assert falls_after(agent, behind(11), "reader") == pytest.approx(0.9)


def test_a_lag_at_the_limit_serves() -> None:
    assert healthy(REPLICA).keeps_seeing(behind(10), 10.0).says("reader") == "up"


def test_lag_comes_back_at_half_the_limit_for_one_second() -> None:
    agent = healthy(REPLICA).keeps_seeing(behind(30), 2.0)
    assert rises_after(agent, behind(6), "reader", within=30.0) is None

    assert rises_after(agent, behind(5), "reader") == 1.0


def test_each_role_has_its_own_limit() -> None:
    policy = with_role("replica", max_lag_seconds=600.0)

    assert healthy(behind(60), policy).told("reader", "replica") == "replica_lagging up"


def test_the_worst_connection_counts() -> None:
    rows = [slave_row(Connection_name="a"), slave_row(Connection_name="b", Seconds_Behind_Master=11)]
    agent = healthy(replica(slave_row(Connection_name="a"), slave_row(Connection_name="b")))

    assert falls_after(agent, replica(*rows), "reader") == 1.0


def test_one_stopped_connection_of_two_is_enough() -> None:
    rows = [slave_row(Connection_name="a"), slave_row(Connection_name="b", Slave_SQL_Running="No")]

    assert healthy(REPLICA).sees(replica(*rows)).says("reader") == "replica_stopped"


@pytest.mark.parametrize("what", [REPLICA, NO_IO, NO_SQL, SQL_ERROR, reconnecting(2003)])
def test_any_row_makes_a_replica_and_a_replica_is_no_writer(what: Snapshot) -> None:
    agent = healthy(PRIMARY).sees(what)

    assert agent.told("writer", "candidate") == "is_replica is_replica"


def test_a_read_only_replica_says_both() -> None:
    agent = healthy(replica(read_only=1))

    assert set(agent.reasons("writer")) == {"is_replica", "read_only"}
    assert agent.told("any", "reader", "replica") == "up up up"


def test_unreadable_rows_are_no_permission_to_write() -> None:
    unreadable = snapshot(plain_rows(), None)
    agent = healthy(PRIMARY).sees(unreadable)
    assert agent.told("writer", "candidate") == "replication_unknown replication_unknown"
    assert agent.says("reader") == "up/replication_unknown"

    assert falls_after(agent, unreadable, "reader") == pytest.approx(0.9)
    assert agent.told("any", "reader") == "replication_unknown replication_unknown"


def test_rows_do_not_matter_to_a_standalone_server_by_configuration() -> None:
    agent = healthy(snapshot(plain_rows(), None), replace(POLICY, topology=Topology.STANDALONE))

    assert agent.told("any", "writer", "reader") == "up up up"


def test_unreadable_rows_do_not_matter_to_a_galera_node() -> None:
    agent = healthy(SYNCED).keeps_seeing(replace(SYNCED, replications=None), 5.0)

    assert agent.told("any", "writer", "reader", "synced") == "up up up up"


def test_the_primary_serves_reads_and_is_no_replica() -> None:
    agent = healthy(PRIMARY)

    assert agent.told("any", "writer", "reader", "replica") == "up up up is_primary"


def test_exclude_writer() -> None:
    agent = healthy(PRIMARY, with_role("reader", exclude_writer=True))

    assert agent.told("any", "writer", "reader") == "up up is_primary"


def test_a_galera_node_is_a_replica_too_while_no_election_names_a_writer() -> None:
    assert healthy(SYNCED).says("replica") == "up"


def test_a_read_only_server_without_a_source_grows_old() -> None:
    agent = healthy(REPLICA).sees(primary(read_only=1))

    assert agent.told("any", "writer", "reader") == "not_replicating read_only not_replicating"


def test_require_replication_off_lets_it_serve_reads() -> None:
    agent = healthy(primary(read_only=1), with_role("reader", require_replication=False))

    assert agent.told("writer", "reader") == "read_only up"


@pytest.mark.parametrize(
    ("reader", "what"),
    [
        ("require_replication: false", primary(read_only=1)),
        ("max_lag: 10m", behind(60)),
        ("exclude_writer: true", PRIMARY),
    ],
)
def test_any_is_up_where_reader_or_candidate_is(reader: str, what: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text(f"mysql: {{user: agent}}\nroles: {{reader: {{{reader}}}}}\n")
    agent = healthy(what, config.load(file).policy)
    assert agent.up("reader") or agent.up("candidate")

    assert agent.up("any")


# --- flapping -------------------------------------------------------------------------------------------------------


def test_after_five_falls_in_ten_minutes_coming_back_takes_twice_as_long_each_time() -> None:
    agent, bad = healthy(), galera(ready="OFF")
    rises = [rises_after(agent.sees(bad), SYNCED, "writer") for _ in range(14)]

    assert rises == [0.5] * 5 + [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_ten_quiet_minutes_forgive_the_falls() -> None:
    agent, bad = healthy(), galera(ready="OFF")
    for _ in range(8):
        rises_after(agent.sees(bad), SYNCED, "writer")
    agent.keeps_seeing(SYNCED, 600.0, every=1.0)

    assert rises_after(agent.sees(bad), SYNCED, "writer") == 0.5


# --- evidence that comes and goes -----------------------------------------------------------------------------------


def test_a_blocking_donor_stays_one_while_its_processes_cannot_be_seen() -> None:
    agent = healthy(SYNCED, with_role("reader", donor=True)).sees(desynced((RSYNC,)))
    for _ in range(20):
        agent.sees(desynced(None))
        assert (agent.says("reader"), agent.state) == ("donor_blocking", "donor_blocking")


def test_one_look_that_failed_does_not_shorten_the_hold() -> None:
    agent = healthy().keeps_seeing(desynced(), 2.5, every=0.5)
    agent.sees(desynced(None))
    assert agent.up("reader")
    agent.sees(desynced())
    assert agent.up("reader")


def test_a_turn_of_the_login_ends_with_the_failure() -> None:
    """Else the agent would probe ten times a second for as long as the server is away."""
    agent = healthy().sees(LOGIN_REFUSED).sees(DOWN).sees(DOWN)
    assert agent.memory.due_at is None


def test_a_standalone_server_that_is_read_only_and_shows_no_rows_is_no_reader() -> None:
    agent = Agent(replace(POLICY, topology=Topology.STANDALONE))
    agent.sees(replace(primary(read_only=1), replications=None))
    assert (agent.state, agent.says("reader"), agent.says("any")) == (
        "replica_stopped",
        "not_replicating",
        "not_replicating",
    )


# --- another process, another policy --------------------------------------------------------------------------------


def test_a_server_that_crashed_in_state_2_is_no_donor_when_it_comes_back_joined() -> None:
    agent = healthy(SYNCED, with_role("reader", donor=True, desync=True)).sees(desynced()).sees(DOWN)
    agent.keeps_seeing(JOINED, 5.0)
    assert (agent.state, agent.says("reader")) == ("joined", "joined")


def test_a_new_limit_is_no_reason_to_fall() -> None:
    agent = healthy()
    after = with_role("reader", max_lag_seconds=12.0)
    assert agent.reloads(after).up("reader")
    assert agent.sees(HUNG).up("reader"), "the first of two timeouts"


def test_a_new_limit_is_judged_at_once_by_the_last_facts() -> None:
    agent = healthy(behind(8))
    writer = agent.verdict("writer")
    assert agent.reloads(with_role("reader", max_lag_seconds=5.0)).says("reader") == "replica_lagging"
    assert agent.verdict("writer") == writer


def test_a_role_that_goes_is_forgotten_and_one_that_comes_is_judged() -> None:
    own = Role(name="analytics", base=Base.READER)
    with_it = replace(POLICY, roles=(*POLICY.roles, own))
    agent = healthy().reloads(with_it)
    assert agent.up("analytics")
    assert "analytics" not in agent.reloads(POLICY).publication.verdicts


def test_a_reload_while_the_server_is_away_brings_no_old_facts_back() -> None:
    agent = healthy(REPLICA).sees(DOWN)
    after = with_role("reader", max_lag_seconds=12.0)
    agent.reloads(after)
    assert agent.says("reader") == "down"
    assert not agent.keeps_seeing(behind(100), 3.0).up("reader"), "its first facts decide at once"
