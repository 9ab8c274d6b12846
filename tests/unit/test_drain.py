"""`roles.X.drain`: what would be up takes no new work; what is down stays down, with its own reasons."""

import json
from dataclasses import replace

import pytest

from healthagent.board import Board
from healthagent.decide import reports
from healthagent.judge import adapt
from healthagent.model import Publication, Status, Verdict
from healthagent.plan import Plan
from healthagent.policy import Policy
from healthagent.question import tightened
from healthagent.render import JSON_TYPE, TEXT_TYPE, agent_line, role_answers, state_document, why_document
from tests.build import (
    DOWN,
    LOGIN_REFUSED,
    POLICY,
    REPLICA,
    SYNCED,
    Agent,
    galera,
    healthy,
    replica,
    slave_row,
    with_role,
)

DRAINED = with_role("reader", drain=True)


def told(verdict: Verdict) -> tuple[str, int, str]:
    return verdict.status.value, verdict.weight, ",".join(reason.word for reason in verdict.reasons)


def reloaded(agent: Agent, policy: Policy) -> Agent:
    agent.memory = adapt(agent.memory, Plan(policy), agent.wall)
    return agent


def board_of(publication: Publication, now: float) -> Board:
    return Board(publication, POLICY.max_age_seconds, lambda: now)


def test_what_would_be_up_drains_and_the_other_roles_do_not() -> None:
    agent = healthy(policy=DRAINED)

    assert told(agent.verdict("reader")) == ("drain", 0, "draining")
    assert (agent.says("writer"), agent.says("any")) == ("up", "up")


@pytest.mark.parametrize("policy", [DRAINED, with_role("writer", drain=True)])
def test_a_down_stays_down_with_its_own_reasons(policy: Policy) -> None:
    drained = healthy(galera(wsrep_cluster_status="non-Primary"), policy)
    plain = healthy(galera(wsrep_cluster_status="non-Primary"))

    for role in ("reader", "writer"):
        assert told(drained.verdict(role)) == told(plain.verdict(role))
        assert drained.verdict(role).status is Status.DOWN


def test_before_the_first_sample_it_is_starting() -> None:
    assert told(Agent(DRAINED).verdict("reader")) == ("down", 0, "starting")
    assert told(reloaded(Agent(), DRAINED).verdict("reader")) == ("down", 0, "starting")


def test_it_carries_behind_its_own_reason_what_an_up_would_carry() -> None:
    full = galera(Threads_connected="151")

    assert told(healthy(full).verdict("reader")) == ("up", 1, "connection_limit")
    assert told(healthy(full, DRAINED).verdict("reader")) == ("drain", 0, "draining,connection_limit")


def test_a_drain_falls_with_the_gates_and_comes_back_with_them() -> None:
    agent = healthy(policy=DRAINED).sees(DOWN)
    assert told(agent.verdict("reader")) == ("down", 0, "down")

    agent.keeps_seeing(SYNCED, 3.0)
    assert told(agent.verdict("reader")) == ("drain", 0, "draining")


def test_a_reload_drains_and_brings_back_at_once_with_the_whole_weight() -> None:
    agent = reloaded(healthy(), DRAINED)
    assert told(agent.verdict("reader")) == ("drain", 0, "draining")

    assert told(reloaded(agent, POLICY).verdict("reader")) == ("up", 100, "")


def test_facts_that_are_too_old_are_down_for_their_own_reason() -> None:
    held = healthy(policy=DRAINED).sees(LOGIN_REFUSED, after=0.5)
    assert told(held.verdict("reader")) == ("drain", 0, "draining,auth_error")

    later = held.now + POLICY.max_age_seconds - 0.1  # the last facts are too old, and the failed probe is not yet
    assert told(board_of(held.publication, later).current().verdicts["reader"]) == ("down", 0, "auth_error")

    silent = healthy(policy=DRAINED)
    later = silent.now + POLICY.max_age_seconds + 0.1
    assert told(board_of(silent.publication, later).current().verdicts["reader"]) == ("down", 0, "stale")


def test_a_question_with_parameters_drains_with_its_role() -> None:
    agent = healthy(REPLICA, DRAINED)
    keys = {}
    for lag in ("1s", "9s"):
        key, stricter = tightened(agent.memory.plan.roles["reader"], {"max_lag": lag})
        keys[key] = stricter
    agent.memory = adapt(agent.memory, Plan(DRAINED, tuple(keys.items())), agent.wall)
    agent.keeps_seeing(replica(slave_row(Seconds_Behind_Master=5)), 3.0)

    assert [told(agent.verdict(key)) for key in keys] == [("down", 0, "replica_lagging"), ("drain", 0, "draining")]


@pytest.mark.parametrize("code", [503, 404])
def test_every_answer_says_so(code: int) -> None:
    verdict = healthy(policy=DRAINED).verdict("reader")
    text, document = (role_answers(verdict, drain_code=code)[media] for media in (TEXT_TYPE, JSON_TYPE))

    assert (text.code, text.phrase) == (document.code, document.phrase) == (code, "draining")
    assert text.body == b"FAIL reader weight=0 state=synced reasons=draining\n"
    said = json.loads(document.body)
    assert (said["verdict"], said["weight"], said["reasons"]) == ("drain", 0, ["draining"])
    assert (agent_line(verdict, admin_words=False), agent_line(verdict, admin_words=True)) == ("up 0%", "up drain")


def test_404_is_of_a_drain_only() -> None:
    for verdict in healthy(galera(read_only=1), DRAINED).publication.verdicts.values():
        code = role_answers(verdict, drain_code=404)[TEXT_TYPE].code
        assert code == {Status.UP: 200, Status.DRAIN: 404, Status.DOWN: 503}[verdict.status]


def test_state_and_why_show_it() -> None:
    publication = healthy(policy=DRAINED).publication
    document = state_document(publication, now=0.0, version="0", config={})
    entries = why_document(reports(publication, "reader"), None, publication.verdicts["reader"])

    assert document["roles"]["reader"]["verdict"] == "drain"
    assert [entry["gate"] for entry in entries if not entry["passed"]] == ["drain"]
    assert (entries[0]["reason"], entries[0]["value"]) == ("draining", "configuration")
    assert entries[0].keys() == entries[1].keys()


def test_why_says_nothing_of_it_where_the_role_is_down_anyway() -> None:
    agent = healthy(policy=DRAINED)
    down = replace(agent.verdict("reader"), status=Status.DOWN)

    assert "drain" not in {entry["gate"] for entry in why_document(reports(agent.publication, "reader"), None, down)}
