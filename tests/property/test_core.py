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
from healthagent.decide import expire
from healthagent.model import (
    Base,
    Evidence,
    FailureKind,
    Galera,
    Policy,
    ProcessState,
    Publication,
    Role,
    Server,
    Snapshot,
    Status,
    Topology,
    Transfer,
    Verdict,
)
from healthagent.reasons import Reason, State
from healthagent.render import JSON_TYPE, TEXT_TYPE, role_answers, state_document, why_document
from tests.build import (
    GALERA_ROWS,
    NO_MEMBER,
    PRIMARY,
    REPLICA,
    ROLES,
    SLAVE_ROW,
    SYNCED,
    Agent,
    desynced,
    failed,
    galera,
    healthy,
    replica,
    slave_row,
    snapshot,
)

# --- what may come --------------------------------------------------------------------------------------------------

WORDS = ["ON", "OFF", "Primary", "non-Primary", "Disconnected", "NONE", "ALL", "Yes", "No", "Connecting", "Synced"]
NUMBERS = ["0", "1", "2", "3", "4", "5", "-1", NO_MEMBER]
VALUES = st.one_of(
    st.none(),
    st.sampled_from([*WORDS, *NUMBERS]),
    st.integers(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.floats(),
)
ROWS = st.dictionaries(st.sampled_from(sorted(GALERA_ROWS)), VALUES).map(lambda some: {**GALERA_ROWS, **some})
FEW_ROWS = st.dictionaries(st.sampled_from(sorted(GALERA_ROWS)), VALUES)
SLAVES = st.lists(
    st.dictionaries(st.sampled_from(sorted(SLAVE_ROW)), VALUES).map(lambda some: {**SLAVE_ROW, **some}), max_size=3
)
TRANSFERS = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            Transfer, joiner=st.booleans(), method=st.sampled_from(["rsync", "mariabackup", "x"]), bypass=st.booleans()
        ),
        max_size=2,
    ).map(tuple),
)
EVIDENCE = st.builds(Evidence, process=st.one_of(st.none(), st.sampled_from(ProcessState)), transfers=TRANSFERS)


def with_evidence(what: Snapshot, evidence: Evidence) -> Snapshot:
    return replace(what, evidence=evidence)


BROUGHT = st.builds(snapshot, st.one_of(ROWS, FEW_ROWS), st.one_of(st.none(), SLAVES))
FAILED = st.builds(failed, st.sampled_from(FailureKind), silent_after_eof=st.booleans())
ANYTHING = st.builds(with_evidence, st.one_of(BROUGHT, FAILED), EVIDENCE)
BOOLEANS = st.booleans()
OWN_ROLE = st.builds(
    Role,
    name=st.just("own"),
    base=st.sampled_from(Base),
    donor=BOOLEANS,
    desync=BOOLEANS,
    require_replication=BOOLEANS,
    exclude_writer=BOOLEANS,
)
POLICIES = st.builds(
    lambda own, topology, pinned: Policy(roles=(*ROLES, own), topology=topology, galera_pinned=pinned),
    OWN_ROLE,
    st.sampled_from(Topology),
    BOOLEANS,
)
STEPS = st.lists(st.tuples(ANYTHING, st.floats(min_value=0.001, max_value=20.0)), min_size=1, max_size=12)


# --- never an exception, never a contradiction ----------------------------------------------------------------------


def assert_sound(publication: Publication) -> None:
    for name, verdict in publication.verdicts.items():
        up = verdict.status is Status.UP
        assert verdict.role == name
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
        for reports in publication.gates.values():
            assert why_document(reports)
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
        if what.galera is not None and what.replications != () and agent.publication.galera is False:
            assert policy.topology is Topology.STANDALONE or not agent.up("writer")


# --- unknown never serves -------------------------------------------------------------------------------------------

SERVING = ("any", "writer", "candidate", "reader", "synced")
# fact -> the roles that rest on it
DECIDING = ("on", "local_state", "cluster_status", "connected", "ready", "reject_queries")
GALERA_FACTS = dict.fromkeys(DECIDING, SERVING)
WRITERS = ("writer", "candidate")
SERVER_FACTS = {"read_only": WRITERS, "innodb_read_only": WRITERS}
PRIMARY_FACTS = {"read_only": ("any", "reader", *WRITERS), "innodb_read_only": WRITERS, "log_bin": WRITERS}
REPLICA_FACTS = {"io_running": ("any", "reader"), "sql_running": ("any", "reader"), "lag_seconds": ("any", "reader")}


def without(what: Snapshot, name: str) -> Snapshot:
    """`what` with one fact of one of its parts unknown."""
    changes: dict[str, Any] = {name: None}
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


def test_replication_rows_that_are_unknown_never_serve_outside_galera() -> None:
    for what in (PRIMARY, REPLICA):
        agent = healthy(what).keeps_seeing(replace(what, replications=None), 5.0)
        assert not any(agent.up(role) for role in SERVING)


@given(st.sets(st.sampled_from([field.name for field in fields(Galera) if field.name != "incoming_addresses"])))
def test_fewer_facts_never_make_a_better_node(unknown: set[str]) -> None:
    assert SYNCED.galera is not None
    changes: Mapping[str, Any] = {name: None for name in unknown}  # noqa: C420 - its values are of any type
    agent = Agent(replace(Agent().policy, galera_pinned=True))
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
    {"local_state": "5"},
    {"read_only": 1},
    {"innodb_read_only": 1},
    {"Threads_connected": "151"},
]
WORSE_REPLICA: list[dict[str, Any]] = [
    {"Slave_IO_Running": "No"},
    {"Slave_SQL_Running": "No"},
    {"Slave_IO_Running": "Connecting"},
    {"Last_SQL_Errno": 1062},
    {"Seconds_Behind_Master": 11},
    {"Last_IO_Errno": 1236, "Slave_IO_Running": "No"},
]


def weights(agent: Agent) -> dict[str, int]:
    return {name: verdict.weight for name, verdict in agent.publication.verdicts.items()}


def merged(changes: list[dict[str, Any]]) -> dict[str, Any]:
    """The first change of a name stands: a later one must not repair it."""
    return {key: value for change in reversed(changes) for key, value in change.items()}


@pytest.mark.parametrize("seconds", [0.5, 12.0])
@given(st.lists(st.sampled_from(WORSE_GALERA), max_size=4), st.sampled_from(WORSE_GALERA))
def test_one_more_failure_of_a_member_never_raises_a_weight(
    seconds: float, bad: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    less = healthy().keeps_seeing(galera(**merged(bad)), seconds, every=0.5)
    worse = healthy().keeps_seeing(galera(**merged([*bad, more])), seconds, every=0.5)

    assert all(weights(worse)[name] <= weight for name, weight in weights(less).items())


@pytest.mark.parametrize("seconds", [0.5, 12.0])
@given(st.lists(st.sampled_from(WORSE_REPLICA), max_size=3), st.sampled_from(WORSE_REPLICA))
def test_one_more_failure_of_a_replica_never_raises_a_weight(
    seconds: float, bad: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    less = healthy(REPLICA).keeps_seeing(replica(slave_row(**merged(bad))), seconds, every=0.5)
    worse = healthy(REPLICA).keeps_seeing(replica(slave_row(**merged([*bad, more]))), seconds, every=0.5)

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
    st.sampled_from([Status.UP, Status.DOWN]),
    st.integers(1, 100),
    st.sampled_from(State),
    st.lists(st.sampled_from(Reason), max_size=4),
    st.floats(0, 4_000_000_000),
)


@given(VERDICTS)
def test_code_headers_text_and_json_agree(verdict: Verdict) -> None:
    answers = role_answers(verdict)
    text, document = answers[TEXT_TYPE], json.loads(answers[JSON_TYPE].body)
    word, role, *pairs = text.body.decode("ascii").removesuffix("\n").split(" ")
    said = dict(pair.split("=") for pair in pairs)
    reasons = [reason for reason in said.get("reasons", "").split(",") if reason]

    for answer in answers.values():
        assert answer.code == (200 if verdict.status is Status.UP else 503)
        assert answer.headers["X-Healthagent-Weight"] == said["weight"] == str(document["weight"])
        assert answer.headers["X-Healthagent-State"] == said["state"] == document["state"]
        assert answer.headers["X-Healthagent-Role"] == role == document["role"]
        assert answer.headers["X-Healthagent-Reasons"] == ",".join(reasons) == ",".join(document["reasons"])
        assert answer.phrase == ("OK" if answer.code == 200 else reasons[0])
    assert (word == "OK") == (document["verdict"] == "up") == (text.code == 200)
