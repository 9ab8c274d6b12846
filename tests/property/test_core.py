"""What must hold for every input: rows from nowhere, facts that vanish, servers that flap, clocks that jump."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthagent.board import Board
from healthagent.decide import expire, reports
from healthagent.facts import Beside, ClientPort, Disk, FailureKind, Galera, Server, Snapshot
from healthagent.model import Publication, Status, Verdict
from healthagent.policy import Amount, Base, FlowControl, Policy, PrimaryLost, Role, Topology
from healthagent.reasons import Reason, State
from healthagent.render import JSON_TYPE, TEXT_TYPE, role_answers, state_document, why_document
from healthagent.trail import Pins
from tests.build import (
    POLICY,
    PRIMARY,
    REPLICA,
    SYNCED,
    Agent,
    desynced,
    failed,
    galera,
    healthy,
    replica,
    slave_row,
    with_role,
)
from tests.property.anything import POLICIES, STEPS

# --- never an exception, never a contradiction ----------------------------------------------------------------------


def assert_sound(publication: Publication) -> None:
    for name, verdict in publication.verdicts.items():
        up = verdict.status is Status.UP
        assert verdict.role == name
        assert (verdict.status is Status.DRAIN) == (Reason.DRAINING in verdict.reasons)
        assert verdict.weight == 0 or (up and 1 <= verdict.weight <= 100)
        assert up == (verdict.weight > 0)
        assert up or verdict.reasons
        assert len(set(verdict.reasons)) == len(verdict.reasons)
        assert verdict.state is publication.state


@given(POLICIES, STEPS)
def test_whatever_comes_is_judged_and_rendered(policy: Policy, steps: list[tuple[Snapshot, float]]) -> None:
    agent = Agent(policy)
    for what, after in steps:
        publication = agent.sees(what, after=after).publication
        assert_sound(publication)
        for verdict in publication.verdicts.values():
            assert role_answers(verdict)
        for name in publication.verdicts:
            assert why_document(reports(publication, name), publication.factors[name])
        assert state_document(publication, now=agent.now, version="1", config={})


@given(POLICIES, STEPS)
def test_without_fresh_facts_nothing_serves(policy: Policy, steps: list[tuple[Snapshot, float]]) -> None:
    agent, facts_at, lost = Agent(policy), float("-inf"), False
    for what, after in steps:
        agent.sees(what, after=after)
        if what.server is not None:
            facts_at, lost = agent.now, False
        elif what.failure is not None and what.failure.kind in (FailureKind.REFUSED, FailureKind.LOST):
            lost = True
        if lost or agent.now - facts_at > policy.max_age_seconds:
            assert not any(agent.up(name) for name in agent.publication.verdicts)


@given(POLICIES, STEPS)
def test_a_writer_is_a_candidate_and_synced_is_local_state_4(
    policy: Policy, steps: list[tuple[Snapshot, float]]
) -> None:
    agent = Agent(policy)
    for what, after in steps:
        agent.sees(what, after=after)
        assert agent.up("writer") == agent.up("candidate")
        if agent.up("synced") and what.server is not None:
            assert what.galera is not None
            assert what.galera.local_state == 4
        if what.galera is not None and what.replications != () and agent.publication.trail.galera is False:
            assert policy.topology is Topology.STANDALONE or not agent.up("writer")


# --- unknown never serves -------------------------------------------------------------------------------------------

SERVING = ("any", "writer", "candidate", "reader", "synced")
# fact -> the roles that rest on it
DECIDING = (
    *("on", "local_state", "cluster_status", "connected", "ready", "reject_queries"),
    *("cluster_size", "cluster_conf_id"),
)
GALERA_FACTS = dict.fromkeys(DECIDING, SERVING)
WRITERS = ("writer", "candidate")
SERVER_FACTS = {"read_only": WRITERS, "innodb_read_only": WRITERS}
PRIMARY_FACTS = {"read_only": ("any", "reader", *WRITERS), "innodb_read_only": WRITERS, "log_bin": WRITERS}
REPLICA_FACTS = {"io_running": ("any", "reader"), "sql_running": ("any", "reader"), "lag_seconds": ("any", "reader")}


CLUSTER = "c7abde26-e4d5-11f1-877e-2e96af7f438e"
ROOM = replace(SYNCED, beside=Beside(disk=Disk(free_bytes=9, total_bytes=10)))
ONE_DB = replace(REPLICA, replications=tuple(replace(row, connection="a") for row in REPLICA.replications or ()))
# what a setting makes deciding: (a node, a fact, the roles that rest on it, the policy)
BY_SETTING: list[tuple[Snapshot, str, tuple[str, ...], Policy]] = [
    (SYNCED, "cluster_state_uuid", SERVING, replace(POLICY, cluster_uuid=CLUSTER)),
    (SYNCED, "cluster_size", ("reader",), POLICY),
    (SYNCED, "cluster_size", ("writer",), with_role("writer", min_size=2)),
    (SYNCED, "recv_queue", ("reader",), POLICY),
    (SYNCED, "recv_queue_upper", ("reader",), POLICY),
    (SYNCED, "evs_state", ("writer",), with_role("writer", paranoid=True)),
    (ROOM, "disk", ("writer",), with_role("writer", min_disk_free=Amount(ratio=0.1))),
    (ONE_DB, "lag_seconds", ("reader",), with_role("reader", connections=("a",))),
    (ONE_DB, "io_running", ("reader",), with_role("reader", primary_lost=PrimaryLost.SERVE)),
    (ONE_DB, "sql_running", ("reader",), with_role("reader", primary_lost=PrimaryLost.SERVE)),
    (desynced(), "recv_queue", ("reader",), with_role("reader", desync=True)),
]


def without(what: Snapshot, name: str) -> Snapshot:
    """`what` with one fact of one of its parts unknown."""
    changes: dict[str, Any] = {name: None}
    if name in {field.name for field in fields(Beside)}:
        return replace(what, beside=replace(what.beside, **changes))
    if name == "cluster_size":  # the flow-control limits are made of it
        changes |= {"recv_queue_lower": None, "recv_queue_upper": None}
    if what.galera is not None and name in {field.name for field in fields(Galera)}:
        return replace(what, galera=replace(what.galera, **changes))
    if what.server is not None and name in {field.name for field in fields(Server)}:
        return replace(what, server=replace(what.server, **changes))
    assert what.replications
    return replace(what, replications=tuple(replace(row, **changes) for row in what.replications))


@pytest.mark.parametrize(
    ("what", "name", "roles"),
    [
        *((SYNCED, name, roles) for name, roles in {**GALERA_FACTS, **SERVER_FACTS}.items()),
        *((PRIMARY, name, roles) for name, roles in PRIMARY_FACTS.items()),
        *((REPLICA, name, roles) for name, roles in REPLICA_FACTS.items()),
    ],
)
def test_a_fact_that_is_unknown_never_serves(what: Snapshot, name: str, roles: tuple[str, ...]) -> None:
    for agent in (Agent().sees(without(what, name)), healthy(what).keeps_seeing(without(what, name), 15.0, every=0.5)):
        assert not any(agent.up(role) for role in roles)


@pytest.mark.parametrize(("what", "name", "roles", "policy"), BY_SETTING)
def test_nor_does_one_that_a_setting_makes_deciding(
    what: Snapshot, name: str, roles: tuple[str, ...], policy: Policy
) -> None:
    assert all(healthy(what, policy).up(role) for role in roles)
    late = healthy(what, policy).keeps_seeing(without(what, name), 15.0, every=0.5)
    for agent in (Agent(policy).sees(without(what, name)), late):
        assert not any(agent.up(role) for role in roles)


def test_replication_rows_that_are_unknown_never_serve_outside_galera() -> None:
    for what in (PRIMARY, REPLICA):
        agent = healthy(what).keeps_seeing(replace(what, replications=None), 5.0)
        assert not any(agent.up(role) for role in SERVING)


@given(st.sets(st.sampled_from([field.name for field in fields(Galera) if field.name != "incoming_addresses"])))
def test_fewer_facts_never_make_a_better_node(unknown: set[str]) -> None:
    assert SYNCED.galera is not None
    changes: Mapping[str, Any] = {name: None for name in unknown}  # noqa: C420 - its values are of any type
    agent = Agent(pins=Pins(galera=True))
    agent.sees(replace(SYNCED, galera=replace(SYNCED.galera, **changes)))

    assert not (unknown & set(GALERA_FACTS)) or not any(agent.up(role) for role in SERVING)


# --- one more failure never helps -----------------------------------------------------------------------------------

WORSE_GALERA: list[dict[str, Any]] = [
    {"on": 0},
    {"cluster_status": "non-Primary"},
    {"ready": "OFF"},
    {"connected": "OFF"},
    {"reject_queries": "ALL"},
    {"local_state": "1"},
    {"local_state": "2", "desync_count": "1"},
    {"local_state": "5"},
    {"read_only": 1},
    {"innodb_read_only": 1},
    {"Threads_connected": "151"},
    {"Threads_connected": "130"},
    {"cluster_state_uuid": "11111111-2222-3333-4444-555555555555"},
    {"cluster_size": "1"},
    {"local_recv_queue": "40"},
    {"local_recv_queue": "400"},
    {"evs_state": "GATHER"},
    {"Uptime": "3"},
    {"Innodb_buffer_pool_load_status": "Loaded 1/2 pages"},
    {"flow_control_paused_ns": str(10**12)},
    {"flow_control_paused_ns": str(10**12), "flow_control_sent": "999"},
]
WORSE_REPLICA: list[dict[str, Any]] = [
    {"Slave_IO_Running": "No"},
    {"Slave_SQL_Running": "No"},
    {"Slave_IO_Running": "Connecting"},
    {"Slave_IO_Running": "Connecting", "Seconds_Behind_Master": None},
    {"Last_SQL_Errno": 1062},
    {"Seconds_Behind_Master": 8},
    {"Seconds_Behind_Master": 11},
    {"Slave_SQL_Running": "No", "Seconds_Behind_Master": None},
    {"Last_IO_Errno": 1236, "Slave_IO_Running": "No"},
    {"Last_IO_Errno": 1045, "Slave_IO_Running": "Connecting"},
]
WORSE_BESIDE = [
    {"client_port": ClientPort(open=False)},
    {"client_port": ClientPort(open=True, code=1040)},
    {"disk": Disk(free_bytes=1, total_bytes=1000)},
    {"disk": None},
]
FULL_DISK = {"disk": Disk(free_bytes=900, total_bytes=1000)}
STRICT = Policy(
    roles=(
        *POLICY.roles,
        Role(name="stale-ok", base=Base.STALE_OK),
        Role(
            name="strict",
            base=Base.WRITER,
            min_size=2,
            flow=FlowControl.STOP,
            paranoid=True,
            min_disk_free=Amount(ratio=0.1),
            buffer_pool_load=True,
        ),
        Role(name="loose", base=Base.READER, donor=True, desync=True, primary_lost=PrimaryLost.SERVE),
    )
)


def weights(agent: Agent) -> dict[str, int]:
    return {name: verdict.weight for name, verdict in agent.publication.verdicts.items()}


def merged(changes: list[dict[str, Any]]) -> dict[str, Any]:
    """The first change of a name stands: a later one must not repair it."""
    return {key: value for change in reversed(changes) for key, value in change.items()}


def beside(what: Snapshot, bad: list[dict[str, Any]]) -> Snapshot:
    return replace(what, beside=Beside(**(FULL_DISK | merged(bad))))


LOOKS = st.lists(st.sampled_from(WORSE_BESIDE), max_size=2)


@pytest.mark.parametrize("seconds", [0.5, 12.0])
@given(st.lists(st.sampled_from(WORSE_GALERA), max_size=4), st.sampled_from(WORSE_GALERA), LOOKS, LOOKS)
def test_one_more_failure_of_a_member_never_raises_a_weight(
    seconds: float,
    bad: list[dict[str, Any]],
    more: dict[str, Any],
    looks: list[dict[str, Any]],
    more_looks: list[dict[str, Any]],
) -> None:
    well = beside(SYNCED, [])
    once, twice = galera(**merged(bad)), galera(**merged([*bad, more]))
    less = healthy(well, STRICT).keeps_seeing(beside(once, looks), seconds, every=0.5)
    worse = healthy(well, STRICT).keeps_seeing(beside(twice, [*looks, *more_looks]), seconds, every=0.5)

    assert all(weights(worse)[name] <= weight for name, weight in weights(less).items())


@pytest.mark.parametrize("seconds", [0.5, 12.0])
@given(st.lists(st.sampled_from(WORSE_REPLICA), max_size=3), st.sampled_from(WORSE_REPLICA))
def test_one_more_failure_of_a_replica_never_raises_a_weight(
    seconds: float, bad: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    less = healthy(REPLICA, STRICT).keeps_seeing(replica(slave_row(**merged(bad))), seconds, every=0.5)
    worse = healthy(REPLICA, STRICT).keeps_seeing(replica(slave_row(**merged([*bad, more]))), seconds, every=0.5)

    assert all(weights(worse)[name] <= weight for name, weight in weights(less).items())


# --- older is never better ------------------------------------------------------------------------------------------


@given(STEPS, st.lists(st.floats(min_value=0.0, max_value=30.0), min_size=2, max_size=6))
def test_an_older_publication_is_never_better(steps: list[tuple[Snapshot, float]], ages: list[float]) -> None:
    agent = Agent()
    for what, after in steps:
        agent.sees(what, after=after)
    told = [expire(agent.publication, 3.0, agent.now + age) for age in sorted(ages)]

    for publication in told:
        assert_sound(publication)
    for younger, older in pairwise(told):
        for name, verdict in older.verdicts.items():
            assert verdict.weight <= younger.verdicts[name].weight


@given(STEPS, st.lists(st.floats(min_value=0.01, max_value=5.0), min_size=1, max_size=10))
def test_a_board_says_what_expire_says(steps: list[tuple[Snapshot, float]], waits: list[float]) -> None:
    agent = Agent()
    for what, after in steps:
        agent.sees(what, after=after)
    now = agent.now
    board = Board(agent.publication, 3.0, lambda: now)
    for wait in waits:
        now += wait
        assert board.current().verdicts == expire(agent.publication, 3.0, now).verdicts


# --- flapping -------------------------------------------------------------------------------------------------------

FLAPPING = st.lists(
    st.tuples(
        st.sampled_from([SYNCED, SYNCED, galera(ready="OFF"), desynced(), failed(FailureKind.REFUSED, 111)]),
        st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    ),
    min_size=20,
    max_size=200,
)


@given(FLAPPING)
def test_a_flapping_server_comes_back_no_faster_than_half_a_second(steps: list[tuple[Snapshot, float]]) -> None:
    agent, down_since = healthy(), None
    for what, after in steps:
        agent.sees(what, after=after)
        if not agent.up("writer"):
            down_since = agent.now if down_since is None else down_since
        elif down_since is not None:
            assert agent.now - down_since >= 0.5
            down_since = None


@settings(max_examples=5)
@given(st.lists(st.sampled_from([0.1, 0.25, 0.5]), min_size=400, max_size=400))
def test_one_flapping_gate_turns_at_most_a_few_times_in_ten_minutes(gaps: list[float]) -> None:
    """Five rises at half a second, then after 1 s and 2 s: more good samples than that never follow each other here."""
    agent, rises, was_up = healthy(), 0, True
    for index, gap in enumerate(gaps):
        good = index % 8 != 0
        agent.sees(SYNCED if good else galera(ready="OFF"), after=gap)
        rises += agent.up("writer") and not was_up
        was_up = agent.up("writer")

    assert rises <= 8


# --- draining -------------------------------------------------------------------------------------------------------


@given(POLICIES, STEPS)
def test_a_drain_turns_up_into_drain_and_nothing_else(policy: Policy, steps: list[tuple[Snapshot, float]]) -> None:
    own, *others = policy.roles
    plain, drained = (Agent(replace(policy, roles=(replace(own, drain=drain), *others))) for drain in (False, True))
    for what, after in steps:
        before, now = plain.sees(what, after=after).publication, drained.sees(what, after=after).publication
        was, told = before.verdicts[own.name], now.verdicts[own.name]
        if was.status is Status.UP:
            assert (told.status, told.weight) == (Status.DRAIN, 0)
            assert told.reasons == (Reason.DRAINING, *was.reasons)
        else:
            assert replace(told, since_wall=was.since_wall) == was
        assert all(now.verdicts[role.name] == before.verdicts[role.name] for role in others)


# --- one verdict, one answer ----------------------------------------------------------------------------------------

VERDICTS = st.builds(
    lambda status, weight, state, reasons, since: Verdict(
        role="writer",
        status=status,
        weight=weight if status is Status.UP else 0,
        state=state,
        reasons=tuple(dict.fromkeys(reasons)) or (() if status is Status.UP else (Reason.UNKNOWN,)),
        since_wall=since,
    ),
    st.sampled_from(Status),
    st.integers(1, 100),
    st.sampled_from(State),
    st.lists(st.sampled_from(Reason), max_size=4),
    st.floats(0, 4_000_000_000),
)


@given(VERDICTS, st.sampled_from([503, 404]))
def test_code_headers_text_and_json_agree(verdict: Verdict, drain_code: int) -> None:
    answers = role_answers(verdict, drain_code=drain_code)
    codes = {Status.UP: 200, Status.DRAIN: drain_code, Status.DOWN: 503}
    text, document = answers[TEXT_TYPE], json.loads(answers[JSON_TYPE].body)
    word, role, *pairs = text.body.decode("ascii").removesuffix("\n").split(" ")
    said = dict(pair.split("=") for pair in pairs)
    reasons = [reason for reason in said.get("reasons", "").split(",") if reason]

    for answer in answers.values():
        assert answer.code == codes[verdict.status]
        assert answer.headers["X-Healthagent-Weight"] == said["weight"] == str(document["weight"])
        assert answer.headers["X-Healthagent-State"] == said["state"] == document["state"]
        assert answer.headers["X-Healthagent-Role"] == role == document["role"]
        assert answer.headers["X-Healthagent-Reasons"] == ",".join(reasons) == ",".join(document["reasons"])
        assert answer.phrase == ("OK" if answer.code == 200 else reasons[0])
    assert (word == "OK") == (document["verdict"] == "up") == (text.code == 200)
