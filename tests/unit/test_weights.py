"""How much of the work a role gets: each factor's table, steps, pace, and the ramp after a start."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from healthagent.facts import FailureKind, Snapshot
from healthagent.model import Factors
from healthagent.policy import Base, FlowControl, Policy, Role, Weights
from healthagent.weights import Pace, follow_pace, weight
from tests.build import (
    DOWN,
    HUNG,
    IST,
    MARIABACKUP,
    POLICY,
    SYNCED,
    Agent,
    desynced,
    failed,
    galera,
    healthy,
    primary,
    replica,
    slave_row,
    with_role,
)

PLAIN = Weights()


def factor(what: Snapshot, name: str, policy: Policy = POLICY, role: str = "reader") -> float:
    value: float = getattr(Agent(policy).sees(what).publication.factors[role], name)
    return round(value, 3)


def weighing(**weights: object) -> Policy:
    return with_role("reader", weights=replace(PLAIN, **weights))  # type: ignore[arg-type]


# --- one table for each factor --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 1.0), (5, 1.0), (6, 0.82), (7, 0.64), (9, 0.28), (10, 0.1), (11, 0.1), (99999, 0.1), (None, 0.1)],
)
def test_lag_lowers_from_half_of_the_limit_on(seconds: int | None, expected: float) -> None:
    assert factor(replica(slave_row(Seconds_Behind_Master=seconds)), "lag") == expected


@pytest.mark.parametrize(("soft", "expected"), [(0.0, 0.28), (8.0, 1.0), (7.0, 0.7), (None, 0.46)])
def test_the_soft_limit_is_a_setting(soft: float | None, expected: float) -> None:
    policy = with_role("reader", soft_lag_seconds=soft)

    assert factor(replica(slave_row(Seconds_Behind_Master=8)), "lag", policy) == expected


def queued(queue: int | None) -> Snapshot:
    """The upper limit is 173, the lower 87."""
    options = "gcs.fc_limit = 100; gcs.fc_factor = 0.5;"
    return galera(provider_options=options, local_recv_queue=None if queue is None else str(queue))


@pytest.mark.parametrize(("queue", "expected"), [(0, 1.0), (87, 1.0), (130, 0.65), (173, 0.3), (500, 0.3), (None, 1.0)])
def test_the_queue_lowers_between_the_flow_control_limits(queue: int | None, expected: float) -> None:
    assert factor(queued(queue), "queue") == expected


@pytest.mark.parametrize(
    ("part", "sent", "expected"),
    [
        (0.0, True, 1.0),
        (0.1, True, 0.75),
        (0.2, True, 0.5),
        (0.5, True, 0.3),
        (0.8, True, 0.1),
        (1.0, True, 0.1),
        (0.2, False, 1.0),
        (0.8, False, 1.0),
        (1.0, False, 1.0),
    ],
)
def test_only_who_pauses_the_cluster_gets_less(part: float, sent: bool, expected: float) -> None:
    agent = healthy()
    for index in range(1, 41):
        paused = str(round(index * 0.5e9 * part))
        agent.sees(galera(flow_control_paused_ns=paused, flow_control_sent=str(index if sent else 0)))

    assert agent.publication.factors["reader"].flow == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("used", "expected"), [("0", 1.0), ("70", 1.0), ("80", 0.64), ("95", 0.1), ("100", 0.1), (None, 1.0)]
)
def test_connections_lower_from_70_to_95_percent(used: str | None, expected: float) -> None:
    assert factor(galera(Threads_connected=used, max_connections=100), "connections") == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (SYNCED, 1.0),
        (desynced(), 0.5),
        (desynced((IST,)), 0.5),
        (desynced((MARIABACKUP,)), 0.3),
        (desynced((MARIABACKUP,), desync_count="2"), 0.3),
        (desynced(ready="OFF"), 0.5),
        (desynced((MARIABACKUP,), reject_queries="ALL"), 0.3),
    ],
)
def test_donors_and_desynced_nodes_get_less_whatever_else_is_wrong(what: Snapshot, expected: float) -> None:
    assert factor(what, "donor") == expected


@pytest.mark.parametrize(("uptime", "expected"), [("0", 0.1), ("15", 0.55), ("29", 0.97), ("30", 1.0), (None, 1.0)])
def test_a_server_warms_up_after_its_start(uptime: str | None, expected: float) -> None:
    assert factor(galera(Uptime=uptime), "warm_up") == expected
    assert factor(primary(Uptime=uptime), "warm_up") == expected


# --- each can be switched off ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "name", "off"),
    [
        (replica(slave_row(Seconds_Behind_Master=9)), "lag", {"lag": False}),
        (queued(150), "queue", {"queue": False}),
        (galera(Threads_connected="140"), "connections", {"connections": False}),
        (desynced((MARIABACKUP,)), "donor", {"donor": 1.0}),
        (desynced(), "donor", {"desynced": 1.0}),
        (galera(Uptime="3"), "warm_up", {"warm_up_seconds": 0.0}),
    ],
)
def test_each_factor_can_be_switched_off(what: Snapshot, name: str, off: dict[str, object]) -> None:
    assert factor(what, name) < 1.0
    assert factor(what, name, weighing(**off)) == 1.0


@pytest.mark.parametrize("off", [weighing(flow=False), with_role("reader", flow=FlowControl.OFF)])
def test_flow_can_be_switched_off_in_two_places(off: Policy) -> None:
    agent = healthy(SYNCED, off)
    for index in range(1, 41):
        agent.sees(galera(flow_control_paused_ns=str(index * 450_000_000), flow_control_sent=str(index)))

    assert agent.publication.factors["reader"].flow == 1.0
    assert agent.publication.factors["writer"].flow == pytest.approx(0.1)


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "wanted", "told"),
    [
        (10, 100, 100),
        (10, 96, 100),
        (10, 94, 90),
        (10, 14, 10),
        (10, 4, 1),
        (10, 0.001, 1),
        (1, 33.4, 33),
        (1, 0.4, 1),
        (25, 60, 50),
        (30, 100, 100),
        (30, 95, 90),
        (100, 49, 1),
        (100, 51, 100),
    ],
)
def test_weights_are_rounded_to_steps_and_at_least_1(step: int, wanted: float, told: int) -> None:
    assert follow_pace(None, wanted, 0.0, replace(PLAIN, step=step)).weight == told


def test_the_weight_is_the_product() -> None:
    assert weight(Factors(lag=0.5, queue=0.5, flow=1.0, connections=1.0, donor=1.0, warm_up=0.1)) == pytest.approx(2.5)


def test_a_weight_of_almost_nothing_is_still_up() -> None:
    agent = Agent().sees(galera(Uptime="0", Threads_connected="150", local_recv_queue="30"))

    assert (agent.says("writer"), agent.weight("writer")) == ("up", 1)


# --- pace -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "wanted", "after", "told"),
    [
        (100, 20, 0.1, 20),
        (20, 100, 4.9, 20),
        (20, 100, 5.0, 100),
        (50, 56, 60.0, 50),
        (50, 44, 60.0, 50),
        (50, 60, 5.0, 60),
        (50, 40, 0.1, 40),
        (90, 100, 5.0, 100),
        (10, 1, 0.1, 1),
        (1, 1, 60.0, 1),
    ],
)
def test_down_at_once_up_slowly_and_no_word_for_less_than_a_step(
    before: int, wanted: float, after: float, told: int
) -> None:
    assert follow_pace(Pace(before, 0.0), wanted, after, PLAIN).weight == told


def test_raises_are_raise_seconds_apart() -> None:
    agent, raised = Agent().sees(galera(Uptime="0")), [0.0]
    for tenth in range(1, 400):
        before = agent.weight("writer")
        agent.sees(galera(Uptime=str(tenth // 10)), after=0.1)
        if agent.weight("writer") > before:
            raised.append(agent.now)

    assert agent.weight("writer") == 100
    assert 4 <= len(raised) <= 8
    assert min(later - earlier for earlier, later in pairwise(raised[1:])) >= 5.0


# --- warm-up --------------------------------------------------------------------------------------------------------


def ramps(agent: Agent, what: Snapshot = SYNCED) -> bool:
    """Whether it begins with a tenth and has everything after 45 s."""
    first = agent.keeps_seeing(what, 1.0).weight("writer")
    return first == 10 and agent.keeps_seeing(what, 45.0, every=0.5).weight("writer") == 100


@pytest.mark.parametrize(
    "away",
    [
        galera(local_state="0", cluster_status="non-Primary", ready="OFF"),
        galera(local_state="1", ready="OFF"),
        galera(cluster_status="Disconnected", connected="OFF"),
    ],
)
def test_a_node_that_comes_back_to_its_cluster_warms_up(away: Snapshot) -> None:
    assert ramps(healthy().keeps_seeing(away, 3.0))


def test_a_server_that_comes_back_warms_up() -> None:
    assert ramps(healthy().sees(DOWN))
    assert healthy(primary()).sees(DOWN).keeps_seeing(primary(), 1.0).weight("writer") == 100, "the same server"
    agent = healthy(primary()).keeps_seeing(DOWN, 3.0)
    assert agent.keeps_seeing(primary(Uptime="1"), 1.0).weight("writer") == 10


@pytest.mark.parametrize(
    "pause",
    [
        desynced(),
        desynced((MARIABACKUP,)),
        galera(local_state="3"),
        galera(read_only=1),
        galera(reject_queries="ALL"),
        galera(ready="OFF"),
        HUNG,
        failed(FailureKind.LOGIN, 1045),
    ],
)
def test_but_not_after_a_desync_a_switch_or_a_hiccup(pause: Snapshot) -> None:
    agent = healthy().keeps_seeing(pause, 1.0).keeps_seeing(SYNCED, 6.0)

    assert agent.weight("writer") == 100


def test_nor_after_the_agents_own_start() -> None:
    assert Agent().sees(SYNCED).weight("writer") == 100


# --- what is not known any more raises nothing ----------------------------------------------------------------------


def test_a_failed_sample_raises_no_weight() -> None:
    agent = healthy(SYNCED, replace(POLICY, max_age_seconds=60.0))
    agent.keeps_seeing(galera(Threads_connected="140"), 10.0).keeps_seeing(failed(FailureKind.LOGIN, 1045), 20.0)

    assert (agent.says("writer"), agent.weight("writer")) == ("up/auth_error", 20)


def test_a_thread_that_stops_makes_nobody_look_well() -> None:
    roles = (*POLICY.roles, Role(name="stale-ok", base=Base.STALE_OK))
    agent = healthy(replica(slave_row(Seconds_Behind_Master=9)), replace(POLICY, roles=roles))
    before = agent.weight("stale-ok")
    agent.keeps_seeing(replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None)), 20.0, every=0.5)

    assert agent.weight("stale-ok") <= before


WORSE: dict[str, Callable[[], Snapshot]] = {
    "not ready": lambda: desynced((MARIABACKUP,), ready="OFF", dirty_reads=1),
    "blocking": lambda: desynced((MARIABACKUP,), desync_count="2"),
}


@pytest.mark.parametrize("worse", WORSE.values(), ids=WORSE.keys())
def test_another_word_for_a_donor_raises_nothing(worse: Callable[[], Snapshot]) -> None:
    roles = (*POLICY.roles, Role(name="stale-ok", base=Base.STALE_OK))
    agent = healthy(desynced((MARIABACKUP,)), replace(POLICY, roles=roles))
    assert agent.weight("stale-ok") == 30

    assert agent.keeps_seeing(worse(), 20.0, every=0.5).weight("stale-ok") == 30
