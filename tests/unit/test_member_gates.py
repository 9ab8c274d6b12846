"""The gates of a member beside those of its state: who may get in, how many are there, how long its queue is."""

from dataclasses import replace
from typing import Any

import pytest

from healthagent.decide import reports
from healthagent.facts import ClientPort, Disk, FailureKind, Snapshot, WriteProbe
from healthagent.model import Finding
from healthagent.policy import Amount, Base, FlowControl, Policy, Role
from healthagent.reasons import Gate
from tests.build import (
    FULL,
    IST,
    LOGIN_REFUSED,
    POLICY,
    PRIMARY,
    REPLICA,
    SYNCED,
    Agent,
    beside,
    desynced,
    failed,
    falls_after,
    galera,
    healthy,
    primary,
    replica,
    rises_after,
    slave_row,
    with_role,
)

ROLES = ("any", "synced", "reader", "candidate", "writer")
UUID = "c7abde26-e4d5-11f1-877e-2e96af7f438e"


def finding(agent: Agent, gate: Gate, role: str) -> Finding:
    publication = agent.publication
    return next(publication.findings[i] for i in publication.asked[role] if publication.checks[i].gate is gate)


# --- client_port and room -------------------------------------------------------------------------------------------

SHUT = ClientPort(open=False, how="listen", address="*:3306", message="nobody listens there")


@pytest.mark.parametrize("what", [SYNCED, PRIMARY, REPLICA], ids=["galera", "primary", "replica"])
def test_a_shut_client_port_takes_every_role_after_one_second(what: Snapshot) -> None:
    shut = beside(what, client_port=SHUT)
    agent = healthy(what)
    roles = [role for role in ROLES if agent.up(role)]

    assert all(falls_after(healthy(what), shut, role) == 1.0 for role in roles)
    agent.keeps_seeing(shut, 1.2)
    assert {agent.says(role) for role in roles} == {"client_port"}
    assert rises_after(agent, beside(what, client_port=ClientPort()), roles[0], within=5.0) is None, "not seen any more"
    assert rises_after(agent, what, roles[0]) == 1.0


@pytest.mark.parametrize("port", [None, ClientPort(), ClientPort(how="listen"), ClientPort(open=True, how="login")])
def test_a_client_port_that_cannot_be_seen_proves_nothing(port: ClientPort | None) -> None:
    assert healthy(beside(SYNCED, client_port=port)).told(*ROLES) == "up up up up up"


@pytest.mark.parametrize("is_open", [True, False, None])
def test_1040_at_the_client_port_is_weight_1_and_never_down(is_open: bool | None) -> None:
    port = ClientPort(open=is_open, how="login", code=1040, message="Too many connections")
    agent = healthy().keeps_seeing(beside(SYNCED, client_port=port), 5.0)

    assert {(agent.says(role), agent.weight(role)) for role in ROLES} == {("up/connection_limit", 1)}


def test_another_error_at_the_client_port_is_no_limit() -> None:
    port = ClientPort(open=False, how="login", code=1129)

    assert healthy().keeps_seeing(beside(SYNCED, client_port=port), 2.0).says("writer") == "client_port"


# --- same_cluster ---------------------------------------------------------------------------------------------------

OTHER = galera(cluster_state_uuid="11111111-2222-3333-4444-555555555555")


def test_the_cluster_is_pinned_at_the_first_synced_sample() -> None:
    agent = Agent().sees(galera(local_state="1", cluster_state_uuid=OTHER.galera and OTHER.galera.cluster_state_uuid))
    assert agent.publication.trail.pins.cluster_uuid is None

    assert agent.sees(SYNCED).publication.trail.pins.cluster_uuid == UUID


def test_another_cluster_is_down_at_once_and_stays_so() -> None:
    agent = healthy().sees(OTHER)
    assert agent.told(*ROLES) == " ".join(["other_cluster"] * 5)
    assert agent.keeps_seeing(OTHER, 60.0, every=1.0).says("any") == "other_cluster"
    assert rises_after(agent, SYNCED, "writer") == 0.5


def test_the_configured_cluster_counts_from_the_first_sample_and_pins_nothing() -> None:
    agent = Agent(replace(POLICY, cluster_uuid=UUID)).sees(OTHER)
    assert agent.says("writer") == "other_cluster"
    assert Agent(replace(POLICY, cluster_uuid=UUID)).sees(SYNCED).publication.trail.pins.cluster_uuid is None


def test_a_member_that_does_not_tell_its_cluster_is_not_known_to_be_in_it() -> None:
    assert healthy().sees(galera(cluster_state_uuid=None)).says("writer") == "unknown"


def test_a_node_without_quorum_is_in_no_other_cluster() -> None:
    alone = galera(cluster_status="non-Primary", cluster_state_uuid=None)

    assert healthy().sees(alone).reasons("writer") == ["non_primary"]


# --- min_size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "falls"), [("3", None), ("2", None), ("1", 1.0)])
def test_min_size_is_damped(size: str, falls: float | None) -> None:
    agent = healthy(SYNCED, with_role("writer", min_size=2))

    assert falls_after(agent, galera(cluster_size=size), "writer", within=5.0) == falls
    assert falls is None or agent.says("writer") == "cluster_too_small"
    assert agent.up("any")


# --- queue ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "size", "upper"),
    [
        ("gcs.fc_limit = 16;", "3", 28),  # 16 x sqrt(3)
        ("gcs.fc_limit = 100; gcs.fc_factor = 0.5;", "4", 200),
        ("gcs.fc_limit = 100; gcs.fc_single_primary = YES;", "4", 100),
        ("gcs.fc_limit = 100; gcs.fc_master_slave = yes;", "4", 100),
        ("gcs.fc_limit = 100; gcs.fc_single_primary = NO;", "9", 300),
        ("", "1", 16),
    ],
)
def test_a_reader_falls_beyond_twice_the_live_limit(options: str, size: str, upper: int) -> None:
    def waiting(queue: int) -> Snapshot:
        return galera(provider_options=options, cluster_size=size, local_recv_queue=str(queue))

    agent = healthy(waiting(0))
    assert falls_after(agent, waiting(2 * upper), "reader", within=5.0) is None
    assert falls_after(agent, waiting(2 * upper + 1), "reader", within=5.0) == 1.0
    assert (agent.says("reader"), agent.says("writer")) == ("recv_queue", "up")
    assert rises_after(agent, waiting(upper + 1), "reader", within=5.0) is None
    assert rises_after(agent, waiting(upper), "reader") == 1.0


@pytest.mark.parametrize(("queue", "says"), [("0", "up"), ("9", "up"), ("10", "up"), ("11", "recv_queue")])
def test_max_queue_of_a_role_stands_for_the_live_limit(queue: str, says: str) -> None:
    agent = healthy(SYNCED, with_role("reader", max_queue=10))

    assert agent.keeps_seeing(galera(local_recv_queue=queue), 2.0).says("reader") == says


@pytest.mark.parametrize("what", [galera(local_recv_queue=None), galera(cluster_size=None)])
def test_a_queue_or_a_limit_that_is_unknown_is_no_short_one(what: Snapshot) -> None:
    assert healthy().keeps_seeing(what, 2.0).says("reader") == "unknown"


# --- flow -----------------------------------------------------------------------------------------------------------


def pausing(agent: Agent, part: float, seconds: float, *, sent: bool) -> Agent:
    """The cluster pauses for `part` of the time; every pause is this node's own if it is `sent`."""
    for index in range(1, round(seconds / 0.5) + 1):
        paused = str(round(index * 0.5e9 * part))
        agent.sees(galera(flow_control_paused_ns=paused, flow_control_sent=str(index if sent else 0)))
    return agent


STOPPING = with_role("writer", flow=FlowControl.STOP)


def test_a_victim_keeps_its_verdict_and_its_weight_and_says_why() -> None:
    agent = pausing(healthy(SYNCED, STOPPING), 0.95, 20.0, sent=False)

    assert [(agent.says(role), agent.weight(role)) for role in ("writer", "reader")] == [("up/flow_control", 100)] * 2
    assert agent.publication.trail.flow.own is False


def test_who_pauses_the_cluster_gets_less_and_from_80_percent_on_may_stop() -> None:
    agent = pausing(healthy(SYNCED, STOPPING), 0.95, 20.0, sent=True)

    assert (agent.says("writer"), agent.says("reader"), agent.weight("reader")) == (
        "flow_control",
        "up/flow_control",
        10,
    )


@pytest.mark.parametrize(("part", "says"), [(0.1, "up"), (0.3, "up/flow_control"), (0.7, "up/flow_control")])
def test_less_than_80_percent_never_stops(part: float, says: str) -> None:
    assert pausing(healthy(SYNCED, STOPPING), part, 20.0, sent=True).says("writer") == says


def test_flow_off_says_nothing() -> None:
    agent = pausing(healthy(SYNCED, with_role("writer", flow=FlowControl.OFF)), 0.95, 20.0, sent=True)

    assert (agent.says("writer"), agent.weight("writer")) == ("up", 100)


@pytest.mark.parametrize(("sent", "paused_ns"), [("0", "999999999999"), ("999", "0"), (None, "999999999999")])
def test_counters_that_fall_or_vanish_drop_the_window(sent: str | None, paused_ns: str) -> None:
    agent = pausing(healthy(), 0.95, 20.0, sent=True)
    agent.sees(galera(flow_control_sent=sent, flow_control_paused_ns=paused_ns))

    assert (agent.publication.trail.flow.paused, agent.publication.trail.flow.own) == (None, False)


def test_pauses_are_forgotten_after_ten_seconds() -> None:
    agent = pausing(healthy(), 0.95, 20.0, sent=True)
    still = galera(flow_control_sent="40", flow_control_paused_ns=str(19 * 10**9))

    assert agent.keeps_seeing(still, 12.0, every=0.5).publication.trail.flow.paused == 0.0


# --- progress -------------------------------------------------------------------------------------------------------

WAITING = galera(local_recv_queue="5")


@pytest.mark.parametrize("what", [WAITING, galera(open_transactions="1", Threads_running="2")])
def test_standing_still_for_15_s_is_told_and_takes_nobody(what: Snapshot) -> None:
    agent = healthy().keeps_seeing(what, 15.0, every=0.5)
    assert (agent.state, agent.says("writer")) == ("synced", "up")

    agent.keeps_seeing(what, 1.0, every=0.5)
    assert (agent.state, agent.told("writer", "reader")) == ("stalled", "up/stalled up")


IDLE = galera(open_transactions="1", Threads_running="1")


@pytest.mark.parametrize("what", [SYNCED, IDLE], ids=["nothing waits", "an idle transaction"])
def test_nobody_waits(what: Snapshot) -> None:
    assert healthy().keeps_seeing(what, 60.0, every=0.5).state == "synced"


def test_ddl_that_has_begun_explains_it() -> None:
    altering = galera(local_recv_queue="5", Com_alter_table="5")
    assert healthy().keeps_seeing(altering, 60.0, every=0.5).state == "synced"

    after = galera(local_recv_queue="5", Com_alter_table="5", last_committed="65")
    assert healthy().sees(altering).keeps_seeing(after, 20.0, every=0.5).state == "stalled", "it has ended"


def test_flow_control_explains_it() -> None:
    agent = healthy()
    for index in range(120):
        agent.sees(galera(local_recv_queue="5", flow_control_paused_ns=str(index * 10**8)))

    assert agent.state == "synced"


def test_a_commit_ends_it() -> None:
    agent = healthy().keeps_seeing(WAITING, 20.0, every=0.5)

    assert agent.sees(galera(local_recv_queue="5", last_committed="65")).state == "synced"


# --- write_probe, disk, restarts, warm_up, tags ---------------------------------------------------------------------


def write_waits(since: float) -> Snapshot:
    return beside(SYNCED, write_probe=WriteProbe(pending_since=since))


def test_a_write_that_waits_takes_the_writer_that_asks_for_it() -> None:
    policy = with_role("writer", write_probe=True)
    agent = healthy(beside(SYNCED, write_probe=WriteProbe()), policy)

    assert falls_after(agent, write_waits(agent.now), "writer") == 1.0
    assert (agent.state, agent.told("writer", "candidate", "reader")) == ("stalled", "stalled up up")
    assert rises_after(agent, beside(SYNCED, write_probe=WriteProbe()), "writer") == 1.0


def test_a_write_that_fails_is_told_with_its_error() -> None:
    agent = healthy(SYNCED, with_role("writer", write_probe=True))
    agent.keeps_seeing(beside(SYNCED, write_probe=WriteProbe(error="Disk full", code=1021)), 2.0)

    assert agent.says("writer") == "stalled"
    assert finding(agent, Gate.WRITE_PROBE, "writer").value == "Disk full"


@pytest.mark.parametrize("code", [None, 1049, 1142, 1146])
def test_a_row_that_we_may_not_write_says_nothing_of_the_disk(code: int | None) -> None:
    agent = healthy(SYNCED, with_role("writer", write_probe=True))
    agent.keeps_seeing(beside(SYNCED, write_probe=WriteProbe(error="no", code=code)), 5.0)

    assert agent.says("writer") == "up/unknown"


@pytest.mark.parametrize(
    "meanwhile",
    [{"Com_alter_table": "5"}, {"flow_control_paused_ns": str(5 * 10**9)}],
    ids=["ddl", "flow control of another node"],
)
def test_a_write_that_waits_with_the_whole_cluster_is_only_told(meanwhile: dict[str, Any]) -> None:
    agent = healthy(SYNCED, with_role("writer", write_probe=True))
    waits = beside(galera(**meanwhile), write_probe=WriteProbe(pending_since=agent.now))

    assert agent.keeps_seeing(waits, 5.0).says("writer") == "up/stalled"


@pytest.mark.parametrize(
    ("least", "free", "says"),
    [
        (Amount(ratio=0.1), 100, "up"),
        (Amount(ratio=0.1), 99, "disk_space"),
        (Amount(bytes=500), 500, "up"),
        (Amount(bytes=500), 499, "disk_space"),
        (Amount(ratio=0.1), None, "unknown"),
        (Amount(bytes=500), None, "unknown"),
        (None, 0, "up"),
    ],
)
def test_disk(least: Amount | None, free: int | None, says: str) -> None:
    policy, plenty = with_role("writer", min_disk_free=least), Disk(free_bytes=900, total_bytes=1000)
    disk = None if free is None else Disk(free_bytes=free, total_bytes=1000)
    agent = healthy(beside(SYNCED, disk=plenty), policy)
    assert agent.up("writer")

    assert agent.keeps_seeing(beside(SYNCED, disk=disk), 2.0).told("writer", "reader") == f"{says} up"


def test_a_filesystem_of_no_size_has_no_room() -> None:
    none = beside(SYNCED, disk=Disk(free_bytes=0, total_bytes=0))

    assert Agent(with_role("writer", min_disk_free=Amount(ratio=0.01))).sees(none).says("writer") == "disk_space"


def started(agent: Agent, times: int, *, apart: float) -> Agent:
    """The server goes down and comes back `times`, each `apart` seconds after the one before."""
    for _ in range(times):
        agent.sees(failed(FailureKind.REFUSED, 111), after=apart - 3.0).sees(galera(Uptime="1"), after=2.0)
        agent.sees(galera(Uptime="2"), after=1.0)
    return agent


def test_three_starts_in_ten_minutes_are_no_place_for_writes() -> None:
    assert started(healthy(), 2, apart=60.0).told("writer", "reader") == "up up"

    assert started(healthy(), 3, apart=60.0).told("writer", "candidate", "reader") == "restarts restarts up"
    assert started(healthy(), 5, apart=301.0).says("writer") == "up"


def test_old_starts_are_forgotten() -> None:
    agent = started(healthy(), 3, apart=60.0)
    for index in range(600):
        agent.sees(galera(Uptime=str(3 + index)), after=1.0)

    assert (agent.says("writer"), len(agent.publication.trail.starts)) == ("up", 0)


def test_a_server_that_was_just_started_counts_at_the_agents_own_start() -> None:
    assert len(Agent().sees(galera(Uptime="30")).publication.trail.starts) == 1
    assert len(Agent().sees(galera(Uptime="601")).publication.trail.starts) == 0


@pytest.mark.parametrize("uptime", ["1111", "8000", "4712", None])
def test_a_wall_clock_that_steps_is_no_restart(uptime: str | None) -> None:
    agent = healthy().keeps_seeing(galera(Uptime=uptime), 3.0).keeps_seeing(SYNCED, 3.0)

    assert agent.publication.trail.starts == ()
    assert agent.weight("writer") == 100


def test_a_server_that_lives_for_a_second_each_time_is_seen_too() -> None:
    agent = healthy()
    for _ in range(3):
        agent.sees(failed(FailureKind.REFUSED, 111), after=5.0).sees(galera(Uptime="1"), after=1.0)

    assert len(agent.publication.trail.starts) == 3


def test_any_number_of_restarts_by_configuration() -> None:
    policy = with_role("writer", max_restarts=0)

    assert started(healthy(SYNCED, policy), 5, apart=60.0).up("writer")


LOADING = galera(Innodb_buffer_pool_load_status="Loaded 100/200 pages")


@pytest.mark.parametrize("status", [None, "", "Cannot open '/x' for reading", "Buffer pool(s) load aborted on request"])
def test_a_buffer_pool_that_nobody_loads_is_nothing_to_wait_for(status: str | None) -> None:
    agent = Agent(with_role("reader", buffer_pool_load=True))

    assert agent.sees(galera(Innodb_buffer_pool_load_status=status)).up("reader")


def test_a_role_may_wait_for_the_buffer_pool() -> None:
    agent = Agent(with_role("reader", buffer_pool_load=True)).sees(LOADING)

    assert agent.told("reader", "writer") == "warming_up up"
    assert rises_after(agent, SYNCED, "reader") == 0.5


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ((), "up"),
        ((("dc", "a"),), "up"),
        ((("dc", "b"),), "tag_mismatch"),
        ((("dc", "a"), ("rack", "1")), "tag_mismatch"),
        ((("dc", "a"), ("dc", "b")), "tag_mismatch"),
    ],
)
@pytest.mark.parametrize("what", [SYNCED, PRIMARY])
def test_tags(wanted: tuple[tuple[str, str], ...], says: str, what: Snapshot) -> None:
    policy = replace(with_role("reader", tags=wanted), tags=(("dc", "a"), ("disk", "ssd")))

    assert Agent(policy).sees(what).told("reader", "writer") == f"{says} up"


# --- membership -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evs", ["GATHER", "INSTALL"])
def test_members_that_look_for_each_other_are_told_and_probed_faster(evs: str) -> None:
    agent = healthy().sees(galera(evs_state=evs))

    assert agent.told("writer", "reader") == "up/membership up"
    assert agent.memory.due_at is not None
    assert agent.sees(SYNCED).memory.due_at is None


def test_paranoid_writers_fall_at_once() -> None:
    agent = healthy(SYNCED, with_role("writer", paranoid=True)).sees(galera(evs_state="GATHER"))

    assert agent.told("writer", "candidate", "reader") == "membership up/membership up"
    assert rises_after(agent, SYNCED, "writer") == 0.5
    assert agent.sees(galera(evs_state=None)).told("writer", "candidate") == "unknown up"


def test_a_server_that_died_meanwhile_is_not_probed_faster_for_ever() -> None:
    agent = healthy().sees(galera(evs_state="GATHER"))

    assert agent.keeps_seeing(failed(FailureKind.REFUSED, 111), 3.0).memory.due_at is None


# --- stale-ok and ignore --------------------------------------------------------------------------------------------

STALE_OK = replace(POLICY, roles=(*POLICY.roles, Role(name="stale-ok", base=Base.STALE_OK)))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (SYNCED, "up"),
        (galera(cluster_status="non-Primary", ready="OFF", local_state="0"), "non_primary"),
        (galera(cluster_status="non-Primary", ready="OFF", local_state="0", dirty_reads=1), "up"),
        (galera(cluster_status="Disconnected", connected="OFF", ready="OFF", local_state="0"), "disconnected"),
        (galera(cluster_status="Disconnected", connected="OFF", ready="OFF", local_state="0", dirty_reads=1), "up"),
        (galera(reject_queries="ALL"), "rejecting"),
        (galera(pxc_maint_mode="MAINTENANCE"), "rejecting"),
        (desynced(), "up"),
        (galera(on=0), "up"),
        (galera(local_state="1"), "joining"),
        (galera(local_state="1", cluster_status="Disconnected"), "joining"),
        (galera(local_state="1", on=0), "joining"),
        (galera(local_state="5"), "inconsistent"),
        (galera(local_state="5", on=0), "inconsistent"),
        (LOGIN_REFUSED, "auth_error"),
        (FULL, "connection_limit"),
        (PRIMARY, "up"),
        (replica(slave_row(Slave_SQL_Running="No")), "up"),
    ],
)
def test_stale_ok_is_up_wherever_sql_answers_with_rows_that_were_true_once(what: Snapshot, says: str) -> None:
    agent = Agent(STALE_OK).sees(what)

    assert says in (agent.says("stale-ok"), agent.says("stale-ok").partition("/")[0])


def ignoring(*gates: Gate) -> Policy:
    return with_role("any", ignore=frozenset(gates))


def test_a_gate_that_a_role_ignores_is_not_asked() -> None:
    read_only = with_role("writer", ignore=frozenset({Gate.WRITABLE}))
    agent = Agent(read_only).sees(galera(read_only=1))

    assert agent.told("writer", "candidate") == "up read_only"


def test_nobody_can_ignore_the_connection() -> None:
    """Of the first role, too: its checks are those at the beginning of the table."""
    agent = healthy(SYNCED, ignoring(Gate.FRESH, Gate.REACHABLE, Gate.ANSWERING, Gate.LOGIN, Gate.ROOM))

    assert agent.up("any")
    assert agent.sees(failed(FailureKind.REFUSED, 111)).told(*ROLES) == " ".join(["down"] * 5)
    assert agent.sees(SYNCED).sees(SYNCED).up("any")


# --- every gate can be explained ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [SYNCED, PRIMARY, REPLICA], ids=["galera", "primary", "replica"])
def test_every_gate_that_a_role_asks_is_in_why(what: Snapshot) -> None:
    agent = healthy(what)
    for name, asked in agent.publication.asked.items():
        told = [report.gate for report in reports(agent.publication, name)]
        assert told == [agent.publication.checks[index].gate for index in asked]


def test_reasons_come_in_the_order_of_the_gates_and_the_one_that_names_the_state_first() -> None:
    agent = Agent().sees(galera(read_only=1, ready="OFF", reject_queries="ALL"))

    assert agent.reasons("writer") == ["rejecting", "not_ready", "read_only"]


def test_since_is_when_the_verdict_turned_whatever_its_reasons_are() -> None:
    agent = healthy()
    up_since = agent.verdict("writer").since_wall
    agent.sees(galera(ready="OFF"))
    down_since = agent.verdict("writer").since_wall
    assert down_since == agent.wall > up_since

    assert agent.sees(galera(ready="OFF", read_only=1)).verdict("writer").since_wall == down_since
    bad_until = agent.wall
    assert agent.keeps_seeing(SYNCED, 2.0).verdict("writer").since_wall == pytest.approx(bad_until + 0.6)


def test_a_primary_that_is_started_again_and_again_is_no_writer() -> None:
    agent = healthy(PRIMARY)
    for _ in range(3):
        agent.sees(failed(FailureKind.REFUSED, 111), after=30.0)
        agent.sees(primary(Uptime="1"), after=2.0).sees(primary(Uptime="2"), after=1.0)

    assert agent.told("writer", "reader") == "restarts up"


def test_an_ist_with_somebody_else_beside_it_has_no_longer_hold() -> None:
    """FTWRL on a node that serves an IST: desync_count says two, and one of them hangs writes."""
    alone, both = desynced((IST,)), desynced((IST,), desync_count="2")

    assert falls_after(healthy(), alone, "writer") == 5.0
    assert falls_after(healthy(), both, "writer") == 2.0


@pytest.mark.parametrize(("paused", "says"), [(0.15, "up"), (0.25, "up/flow_control")])
def test_a_fifth_of_the_time_is_what_is_told(paused: float, says: str) -> None:
    assert pausing(healthy(), paused, 20.0, sent=False).says("writer") == says


def test_a_node_that_pauses_the_cluster_itself_is_not_excused_by_that() -> None:
    agent = healthy(SYNCED, with_role("writer", write_probe=True))
    pauses = galera(flow_control_paused_ns=str(5 * 10**9), flow_control_sent="4")
    waits = beside(pauses, write_probe=WriteProbe(pending_since=agent.now))

    assert agent.keeps_seeing(waits, 5.0).says("writer") == "stalled"


def test_a_ddl_statement_excuses_for_ten_minutes() -> None:
    agent = healthy(SYNCED, with_role("writer", write_probe=True))
    waits = beside(galera(Com_alter_table="5"), write_probe=WriteProbe(pending_since=agent.now))

    assert agent.keeps_seeing(waits, 600.0, every=1.0).says("writer") == "up/stalled"
    assert agent.keeps_seeing(waits, 5.0, every=1.0).says("writer") == "stalled"
