"""From a fault to a decision: what the intervals add up to, and what is refused."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthagent import budget
from healthagent.budget import Agent, Part
from healthagent.checking import DEADLINE_SECONDS
from healthagent.errors import AskedWrongError
from healthagent.kinds import duration_seconds

DEFAULT = Agent(interval_seconds=0.5, timeout_seconds=0.8)
SETTINGS = st.floats(0.05, 0.5) | st.floats(0.05, 2) | st.floats(0.05, 60)
AGENTS = st.builds(Agent, interval_seconds=SETTINGS, timeout_seconds=SETTINGS)
WITHIN = st.floats(0.1, 2) | st.floats(2, 4) | st.floats(4, 30) | st.floats(0.1, 600)
Plan = budget.HAProxyPlan | budget.KeepalivedPlan | budget.HetznerPlan | budget.PrometheusPlan
PLANS: list[Callable[[Agent, float], Plan]] = [budget.haproxy, budget.keepalived, budget.hetzner, budget.prometheus]


def together(parts: tuple[Part, ...]) -> dict[str, float]:
    return {what: round((agent or 0) + balancer, 3) for what, agent, balancer in parts}


def test_the_agents_own_time() -> None:
    """A tenth of a second is for what no setting bounds."""
    assert DEFAULT.prompt == pytest.approx(0.5 + 0.1)
    assert DEFAULT.told == pytest.approx(0.5 + 2 * 0.8 + 0.1)
    assert DEFAULT.hung == pytest.approx(0.8 + 2 * 0.8 + 0.1), "the first probe had got its facts already"
    slow = Agent(interval_seconds=2, timeout_seconds=0.5)
    assert slow.hung == pytest.approx(2 + 2 * 0.5 + 0.1), "the second timeout follows at once on the first"
    fast = Agent(interval_seconds=0.05, timeout_seconds=0.05)
    assert fast.hung == pytest.approx(0.05 + 2 * 0.15 + 0.1), "but not within 150 ms"


def test_haproxy_within_three_seconds() -> None:
    plan = budget.haproxy(DEFAULT, 3.0)
    assert (plan.inter, plan.fastinter, plan.check) == (300, 200, 500)
    assert together(plan.parts) == {
        "the server says so, or is gone": 2.7,
        "the server hangs": 3.0,
        "the agent, or its host, is silent": pytest.approx(0.3 + 0.2 + 2 * 0.5 + 0.1),
    }


def test_keepalived_within_three_seconds() -> None:
    plan = budget.keepalived(DEFAULT, 3.0)
    assert (plan.advert, plan.fall) == (0.4, 2)
    assert together(plan.parts) == {
        "the server says so, or is gone": 2.6,
        "the server hangs": 2.9,
        "the agent is silent": 3.0,
        "the host, or its keepalived, is silent": 1.6,
    }


def test_a_check_takes_no_longer_than_the_budget_says() -> None:
    assert budget.CHECK_SECONDS == DEADLINE_SECONDS


def test_keepalived_with_more_time_and_with_less() -> None:
    patient = budget.keepalived(DEFAULT, 5.0)
    assert (patient.advert, patient.fall) == (1.0, 3), "two late runs are no fault, where there is time"
    assert together(patient.parts)["the agent is silent"] == pytest.approx(3 + 0.5 + 1.0 + 0.1)
    hasty = budget.keepalived(DEFAULT, 2.7)
    assert (hasty.advert, hasty.fall) == (0.1, 2), "one always is none: a restart takes half a second"


def test_keepalived_finds_a_silent_host_in_time() -> None:
    """Where neither agent nor script bound the advertisements, the four that a peer waits for do."""
    plan = budget.keepalived(Agent(interval_seconds=0.1, timeout_seconds=0.15), 3.65)
    assert plan.advert == pytest.approx(0.9)
    assert together(plan.parts)["the host, or its keepalived, is silent"] == pytest.approx(3.6)


def test_haproxy_takes_inter_where_no_connection_comes_about() -> None:
    plan = budget.haproxy(DEFAULT, 10.0)
    assert plan.inter > plan.check
    assert together(plan.parts)["the agent, or its host, is silent"] == pytest.approx(
        (plan.inter + plan.fastinter + 2 * plan.inter) / 1000 + 0.1
    )


def test_hetzner_within_fifteen_seconds() -> None:
    plan = budget.hetzner(DEFAULT, 15.0)
    assert (plan.interval, plan.timeout, plan.retries) == (4, 1, 2)
    assert together(plan.parts) == {
        "the server says so, or is gone": 14.2,
        "the server hangs": 14.5,
        "the agent, or its host, is silent": 15.0,
    }


def test_prometheus_within_fifteen_seconds() -> None:
    plan = budget.prometheus(DEFAULT, 15.0)
    assert (plan.interval, plan.timeout) == (5, 5)
    assert together(plan.parts) == {
        "the server says so, or is gone": 12.2,
        "the server hangs": 12.5,
        "the agent, or its host, is silent": 15.0,
    }
    assert budget.prometheus(DEFAULT, 600.0).interval == 15, "what is over sooner than that is never seen"


@pytest.mark.parametrize("plan", PLANS)
@given(agent=AGENTS, within=WITHIN)
def test_a_plan_keeps_what_was_asked_for(plan: Callable[[Agent, float], Plan], agent: Agent, within: float) -> None:
    try:
        found = plan(agent, within)
    except AskedWrongError:
        return
    assert budget.reached(found.parts) <= within + 1e-6
    if isinstance(found, budget.HAProxyPlan):
        assert min(found.inter, found.fastinter, found.check) >= 100
        assert found.inter <= 2000
    elif isinstance(found, budget.KeepalivedPlan):
        assert 0.1 <= found.advert <= 1
        assert found.fall in (2, 3)
    elif isinstance(found, budget.PrometheusPlan):
        assert 1 <= found.timeout <= found.interval <= 15
    else:
        assert 1 <= found.timeout <= found.interval
        assert (3 <= found.interval <= 60, 1 <= found.retries <= 5) == (True, True)


@pytest.mark.parametrize("plan", PLANS)
@given(agent=AGENTS, within=WITHIN)
def test_a_refusal_tells_the_truth(plan: Callable[[Agent, float], Plan], agent: Agent, within: float) -> None:
    """What it says would be the least is possible, and what it says would do does."""
    try:
        plan(agent, within)
        return
    except AskedWrongError as error:
        told = str(error)
    least = re.search(r"(?:the least is|it takes) (\S+?),? (?:of|at least)", told) or re.search(
        r"it takes (\S+) at", told
    )
    assert least is not None, told
    if "whatever the agent does" not in told:
        plan(agent, duration_seconds(least[1]) + 0.001)
    if advice := re.search(r"A probe.timeout of (\S+) would do", told):
        plan(Agent(interval_seconds=agent.interval_seconds, timeout_seconds=duration_seconds(advice[1])), within)
    if advice := re.search(r"A probe.interval and a probe.timeout of (\S+) each", told):
        both = duration_seconds(advice[1])
        plan(Agent(interval_seconds=both, timeout_seconds=both), within)


@pytest.mark.parametrize(
    ("plan", "within", "says"),
    [
        (budget.haproxy, 2.6, ("--detect-within 2.6s cannot be met: the least is 2.7s", "agent takes 2.5s", "760ms")),
        (budget.haproxy, 1.0, ("the least is 2.7s", "A probe.interval and a probe.timeout of 230ms each would do")),
        (budget.haproxy, 0.5, ("No settings of the section probe would do",)),
        (budget.keepalived, 2.6, ("script interval 1, fall 2), whatever the agent does: it takes 2.7s at least",)),
        (budget.hetzner, 3.0, ("by Hetzner (interval 3s, its shortest, timeout 1s, retries 1)", "8s at least")),
        (budget.prometheus, 4.0, ("the least is 4.5s", "Prometheus (scrape_interval 1s, evaluation_interval 1s) 2s")),
        (budget.prometheus, 2.9, ("whatever the agent does: it takes 3s at least",)),
        (budget.hetzner, 8.2, ("the least is 8.5s", "A probe.timeout of 700ms would do")),
    ],
)
def test_what_is_refused(plan: Callable[[Agent, float], Plan], within: float, says: tuple[str, ...]) -> None:
    with pytest.raises(AskedWrongError) as caught:
        plan(DEFAULT, within)
    for part in says:
        assert part in str(caught.value)


def test_keepalived_with_a_slow_agent() -> None:
    with pytest.raises(AskedWrongError) as caught:
        budget.keepalived(Agent(interval_seconds=0.5, timeout_seconds=1), 3.0)
    for part in ("the least is 3.2s", "takes 3.1s", "advert_int 0.1", "A probe.timeout of 930ms would do"):
        assert part in str(caught.value)


def test_the_table_adds_up() -> None:
    head, *rows = budget.table(budget.haproxy(DEFAULT, 3.0).parts, "HAProxy")
    assert head.split()[-3:] == ["agent", "HAProxy", "together"]
    for row in rows:
        agent, balancer, both = row.split()[-3:]
        own = 0.0 if agent == "-" else duration_seconds(agent)
        assert own + duration_seconds(balancer) == pytest.approx(duration_seconds(both))
