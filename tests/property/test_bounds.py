"""Bounds in time and in memory: how fast an output may turn, how slowly a weight rises, how much is remembered."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthagent.facts import FailureKind, Snapshot
from healthagent.judge import adapt
from healthagent.plan import Plan
from healthagent.policy import Policy
from healthagent.question import tightened
from tests.build import (
    DOWN,
    FULL,
    HUNG,
    POLICY,
    REPLICA,
    SYNCED,
    Agent,
    desynced,
    failed,
    galera,
    healthy,
    primary,
    replica,
    slave_row,
)
from tests.property.anything import POLICIES, STEPS

# --- the probing rate -----------------------------------------------------------------------------------------------

LAGGING = replica(slave_row(Seconds_Behind_Master=60))
STEP_INPUTS = [
    (SYNCED, galera(ready="OFF"), "writer", 0.0, 0.5),
    (SYNCED, galera(local_recv_queue="999"), "reader", 1.0, 1.0),
    (SYNCED, desynced(), "writer", 2.0, 0.5),
    (SYNCED, desynced(), "reader", 5.0, 0.5),
    (REPLICA, LAGGING, "reader", 1.0, 1.0),
    (SYNCED, HUNG, "any", 0.0, 0.5),
]


def turns(good: Snapshot, bad: Snapshot, role: str, gap: float, bad_at: float, bad_for: float) -> tuple[float, float]:
    """When `role` falls and when it is back, where the server is bad from `bad_at` on; seconds of the input."""
    agent = Agent(replace(POLICY, max_age_seconds=60.0))
    start, fell, back = agent.now, float("inf"), float("inf")
    while agent.now - start < bad_at + bad_for + 8.0:
        at = agent.now + gap - start
        agent.sees(bad if bad_at <= at < bad_at + bad_for else good, after=gap)
        if not agent.up(role) and fell == float("inf"):
            fell = at
        if fell < float("inf") and back == float("inf") and agent.up(role):
            back = at
    return fell, back


@settings(max_examples=10)
@pytest.mark.parametrize(("good", "bad", "role", "hold", "rise"), STEP_INPUTS)
@given(st.floats(1.0, 2.0), st.floats(0.0, 1.5))
def test_the_probing_rate_changes_a_turn_by_a_gap_and_no_more(
    good: Snapshot, bad: Snapshot, role: str, hold: float, rise: float, bad_at: float, longer: float
) -> None:
    bad_for = hold + 1.2 + longer
    for gap in (0.1, 0.25, 0.5):
        fell, back = turns(good, bad, role, gap, bad_at, bad_for)
        # the first sample of the other kind comes up to a gap late, and a second one is needed in any case
        assert bad_at + hold <= fell <= bad_at + max(hold, gap) + gap + 1e-6
        assert bad_at + bad_for + rise <= back <= bad_at + bad_for + max(rise, gap) + gap + 1e-6


# --- how fast a role comes back, and how fast its weight rises ------------------------------------------------------


@given(POLICIES, STEPS)
def test_no_role_is_back_sooner_than_half_a_second_whatever_comes(
    policy: Policy, steps: list[tuple[Snapshot, float]]
) -> None:
    """Unless the server was away, or the role was asked something for the first time: that decides at once."""
    agent, down_since = Agent(policy), dict[str, float]()
    before = agent.publication.checks
    for what, after in steps * 2:
        agent.sees(what, after=after)
        if agent.publication.checks is not before:
            before, down_since = agent.publication.checks, {}
            continue
        for name in agent.publication.verdicts:
            if not agent.up(name):
                unseen = any(agent.publication.pulses[index] is None for index in agent.publication.asked[name])
                down_since[name] = float("-inf") if unseen else down_since.get(name, agent.now)
            elif name in down_since:
                assert agent.now - down_since.pop(name) >= 0.5 - 1e-6


@given(POLICIES, STEPS)
def test_weights_rise_no_faster_than_written(policy: Policy, steps: list[tuple[Snapshot, float]]) -> None:
    agent, told = Agent(policy), dict[str, tuple[int, float]]()
    seconds = {role.name: role.weights.raise_seconds for role in policy.roles}
    for what, after in steps * 2:
        agent.sees(what, after=after)
        for name, verdict in agent.publication.verdicts.items():
            if not agent.up(name):
                told.pop(name, None)
                continue
            weight, since = told.get(name, (101, agent.now))
            if verdict.weight > weight:
                assert agent.now - since >= seconds[name] - 1e-6
            if verdict.weight != weight:
                told[name] = (verdict.weight, agent.now)


# --- what is remembered ---------------------------------------------------------------------------------------------


def noise(random: Random) -> list[Snapshot]:
    """Servers that restart, flap, desync, wait, replicate from changing sources, and vanish."""
    counts = [str(random.randrange(10**6)) for _ in range(8)]
    members = [
        galera(
            Uptime=random.choice(["0", "1", "2", "4711"]),
            flow_control_sent=count,
            flow_control_paused_ns=count,
            local_state=random.choice(["1", "2", "3", "4", "5"]),
            local_recv_queue=random.choice(["0", "999"]),
            ready=random.choice(["ON", "OFF"]),
            cluster_conf_id=count,
        )
        for count in counts
    ]
    sources = [slave_row(Connection_name=f"c{count}", Gtid_IO_Pos=f"1-1-{count}") for count in counts]
    replicas = [replica(*random.sample(sources, random.randrange(4))) for _ in range(4)]
    return [SYNCED, *members, *replicas, primary(), DOWN, HUNG, FULL, failed(FailureKind.LOGIN, 1045)]


@pytest.mark.parametrize("gap", [0.001, 0.1, 1.0])
def test_memory_is_bounded_over_thousands_of_samples(gap: float) -> None:
    random, agent = Random(4711), Agent()
    for index in range(3000):
        if index % 100 == 0:
            pool = noise(random)
        trail = agent.sees(random.choice(pool), after=gap).publication.trail
        assert len(trail.starts) <= 100
        assert len(trail.flow.window) <= 13
        assert max(len(trail.links), len(trail.lags)) <= 4
        assert trail.desync is None or len(trail.desync.transfers) <= 2
    assert max(len(pulse.falls) for pulse in agent.publication.pulses if pulse is not None) <= 40
    assert set(agent.memory.paces) <= set(agent.publication.verdicts)


# --- sharing is invisible -------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(POLICIES, STEPS)
def test_roles_that_share_checks_get_the_verdict_that_they_would_get_alone(
    policy: Policy, steps: list[tuple[Snapshot, float]]
) -> None:
    together = Agent(policy)
    alone = {role.name: Agent(replace(policy, roles=(role,))) for role in policy.roles}
    is_galera = None
    for what, after in steps:
        trail = together.sees(what, after=after).publication.trail
        if trail.galera is not is_galera and is_galera is not None:
            return  # another table: what one role has seen of a check that both tables have is known to all
        is_galera = trail.galera
        for name, agent in alone.items():
            assert agent.sees(what, after=after).verdict(name) == together.verdict(name)


@given(POLICIES, STEPS, st.sampled_from([{"max_lag": "5s"}, {"max_queue": "20"}, {"tag_dc": "a"}]))
def test_a_question_is_never_better_than_its_role(
    policy: Policy, steps: list[tuple[Snapshot, float]], parameters: dict[str, str]
) -> None:
    role = next(role for role in policy.roles if role.name == "reader")
    key, stricter = tightened(role, parameters)
    agent = Agent(policy)
    agent.memory = adapt(agent.memory, Plan(policy, ((key, stricter),)), agent.wall)
    for what, after in steps * 2:
        agent.sees(what, after=after)
        assert agent.weight(key) <= agent.weight("reader")
        assert agent.verdict(key).role == "reader"


def test_a_question_is_not_back_before_a_role_that_has_fallen_more_often() -> None:
    agent = healthy(REPLICA)
    key, stricter = tightened(agent.memory.plan.roles["reader"], {"max_lag": "1s"})
    agent.memory = adapt(agent.memory, Plan(POLICY, ((key, stricter),)), agent.wall)
    for _ in range(12):
        agent.keeps_seeing(LAGGING, 2.0).keeps_seeing(replica(slave_row(Seconds_Behind_Master=5)), 70.0, every=0.5)
    agent.keeps_seeing(LAGGING, 2.0)
    for _ in range(50):
        agent.sees(REPLICA)
        assert agent.up("reader") or not agent.up(key)
