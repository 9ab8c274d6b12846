"""What lasts until somebody has looked, and what outlives the process: Pins, `ack`, reloads."""

from dataclasses import replace

import pytest

from healthagent.facts import FailureKind, ProcessState, Snapshot
from healthagent.judge import acknowledge, adapt
from healthagent.plan import Plan
from healthagent.policy import Base, Role, Topology
from healthagent.question import tightened
from healthagent.trail import Pins
from tests.build import (
    DOWN,
    IST,
    JOINER,
    LOGIN_REFUSED,
    NO_PROVIDER,
    POLICY,
    REPLICA,
    RSYNC,
    SYNCED,
    Agent,
    changed,
    failed,
    galera,
    galera_rows,
    healthy,
    plain_rows,
    replica,
    slave_row,
    snapshot,
    with_role,
)

ROLES = ("any", "synced", "reader", "candidate", "writer")
UUID = "c7abde26-e4d5-11f1-877e-2e96af7f438e"
VOTED_OUT = galera(local_state="5", cluster_status="Disconnected", connected="OFF", ready="OFF")
COPYING = failed(FailureKind.REFUSED, 111, process=ProcessState.NEW, transfers=(JOINER,))
NO_COPY = failed(FailureKind.REFUSED, 111, process=ProcessState.NEW)
WSREP_OFF = snapshot(changed(galera_rows(), {**NO_PROVIDER, "wsrep_provider": "/usr/lib/libgalera_smm.so"}))
PROVIDER_GONE = snapshot(plain_rows())


def acks(agent: Agent, *, cluster: bool = False) -> tuple[str, ...]:
    """`healthagent ack`: takes effect with the next sample."""
    pins, words = acknowledge(agent.memory, cluster=cluster)
    publication = replace(agent.publication, trail=replace(agent.publication.trail, pins=pins))
    agent.memory = replace(agent.memory, publication=publication)
    return words


# --- inconsistent ---------------------------------------------------------------------------------------------------


def test_a_node_that_was_voted_out_stays_down_although_it_says_synced() -> None:
    agent = healthy().sees(VOTED_OUT).sees(DOWN).sees(NO_COPY).keeps_seeing(SYNCED, 60.0, every=0.5)

    assert (agent.state, agent.told(*ROLES)) == ("inconsistent", " ".join(["inconsistent"] * 5))


def test_the_first_time_it_is_synced_behind_a_state_transfer_ends_it() -> None:
    agent = healthy().sees(VOTED_OUT).sees(DOWN).sees(COPYING).sees(galera(local_state="1", ready="OFF"))
    assert agent.publication.trail.pins.inconsistent

    agent.sees(SYNCED)
    assert agent.publication.trail.pins == Pins(galera=True, cluster_uuid=UUID)
    assert agent.keeps_seeing(SYNCED, 1.0).up("writer")


@pytest.mark.parametrize("transfers", [(RSYNC,), (IST,), (), None])
def test_what_is_no_transfer_to_this_node_does_not_end_it(transfers: tuple[object, ...] | None) -> None:
    seen = failed(FailureKind.REFUSED, 111, process=ProcessState.NEW, transfers=transfers)  # type: ignore[arg-type]

    assert healthy().sees(VOTED_OUT).sees(seen).keeps_seeing(SYNCED, 5.0).state == "inconsistent"


def test_a_transfer_before_it_was_voted_out_does_not_count() -> None:
    agent = Agent().sees(COPYING).keeps_seeing(SYNCED, 3.0).sees(VOTED_OUT).sees(DOWN).sees(SYNCED)

    assert agent.state == "inconsistent"


@pytest.mark.parametrize(
    "half",
    [galera(local_state="3"), galera(local_state="2"), galera(ready="OFF"), galera(cluster_status="non-Primary")],
)
def test_a_transfer_must_end_in_a_synced_member(half: Snapshot) -> None:
    agent = healthy().sees(VOTED_OUT).sees(COPYING).keeps_seeing(half, 3.0)

    assert agent.publication.trail.pins.inconsistent


def test_it_outlives_the_process() -> None:
    pins = healthy().sees(VOTED_OUT).publication.trail.pins

    assert Agent(pins=pins).sees(SYNCED).told("writer", "any") == "inconsistent inconsistent"


def test_ack_ends_it_and_says_so() -> None:
    agent = healthy().sees(VOTED_OUT).keeps_seeing(SYNCED, 3.0)

    assert acks(agent) == ("inconsistent",)
    assert agent.keeps_seeing(SYNCED, 1.0).up("writer")
    assert acks(agent) == ()


def test_ack_does_not_help_while_the_server_still_says_so() -> None:
    agent = healthy().sees(VOTED_OUT)
    acks(agent)

    assert agent.sees(VOTED_OUT).state == "inconsistent"


# --- wsrep_off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [WSREP_OFF, PROVIDER_GONE, galera(on=0)], ids=["off", "gone", "wsrep_on=0"])
def test_a_node_without_wsrep_serves_nothing_until_ack(off: Snapshot) -> None:
    agent = healthy().keeps_seeing(off, 60.0, every=0.5)
    assert (agent.state, agent.told(*ROLES)) == ("wsrep_off", " ".join(["wsrep_off"] * 5))

    assert acks(agent) == ("wsrep_off",)
    agent.keeps_seeing(off, 1.0)
    assert (agent.state, agent.told(*ROLES)) == ("primary", "up not_galera up up up")
    assert agent.publication.trail.pins.plain


def test_that_it_is_plain_outlives_the_process() -> None:
    assert Agent(pins=Pins(plain=True, cluster_uuid=UUID)).sees(WSREP_OFF).state == "primary"


def test_wsrep_that_comes_back_makes_it_a_galera_node_again() -> None:
    agent = healthy().sees(WSREP_OFF)
    acks(agent)
    agent.sees(WSREP_OFF).sees(SYNCED)
    assert (agent.state, agent.publication.trail.pins.plain) == ("synced", False)

    assert agent.sees(WSREP_OFF).state == "wsrep_off"


def test_ack_does_not_make_plain_what_is_configured_as_galera() -> None:
    agent = healthy(SYNCED, replace(POLICY, topology=Topology.GALERA)).sees(PROVIDER_GONE)
    assert acks(agent) == ()

    assert agent.keeps_seeing(PROVIDER_GONE, 5.0).told(*ROLES) == " ".join(["wsrep_off"] * 5)


# --- another cluster ------------------------------------------------------------------------------------------------

OTHER_UUID = "11111111-2222-3333-4444-555555555555"
OTHER = galera(cluster_state_uuid=OTHER_UUID)


def test_only_ack_with_cluster_lets_another_cluster_in() -> None:
    agent = healthy().keeps_seeing(OTHER, 3.0)
    assert acks(agent) == ()
    assert agent.keeps_seeing(OTHER, 3.0).says("writer") == "other_cluster"

    assert acks(agent, cluster=True) == ("other_cluster",)
    assert agent.keeps_seeing(OTHER, 1.0).up("writer")
    assert agent.publication.trail.pins.cluster_uuid == OTHER_UUID


def test_the_pinned_cluster_outlives_the_process() -> None:
    assert Agent(pins=Pins(galera=True, cluster_uuid=UUID)).sees(OTHER).says("any") == "other_cluster"


def test_a_node_that_was_voted_out_pins_no_cluster_of_its_own_meanwhile() -> None:
    agent = Agent(pins=Pins(galera=True, inconsistent=True)).sees(VOTED_OUT)

    assert agent.publication.trail.pins.cluster_uuid is None


# --- reloads with questions -----------------------------------------------------------------------------------------


def asks(agent: Agent, role: str, **parameters: str) -> str:
    key, stricter = tightened(agent.memory.plan.roles[role], parameters)
    plan = Plan(agent.memory.plan.policy, (*agent.memory.plan.extra, (key, stricter)))
    agent.memory = adapt(agent.memory, plan, agent.wall)
    return key


def test_a_question_is_answered_at_once_by_the_last_facts() -> None:
    agent = healthy(replica(slave_row(Seconds_Behind_Master=8)))
    before = dict(agent.publication.verdicts)

    assert agent.says(asks(agent, "reader", max_lag="5s")) == "replica_lagging"
    assert agent.says(asks(agent, "reader", max_lag="9s")) == "up"
    assert all(agent.publication.verdicts[name] is verdict for name, verdict in before.items())


def test_a_question_keeps_its_hold_while_others_come_and_go() -> None:
    agent = healthy(REPLICA)
    key = asks(agent, "reader", max_lag="5s")
    agent.sees(replica(slave_row(Seconds_Behind_Master=7)))
    asks(agent, "reader", max_lag="6s")

    assert agent.says(key) == "up/replica_lagging"
    assert agent.keeps_seeing(replica(slave_row(Seconds_Behind_Master=7)), 1.0).says(key) == "replica_lagging"


@pytest.mark.parametrize("last", [DOWN, failed(FailureKind.TIMEOUT, process=ProcessState.STOPPED)])
def test_a_question_about_a_server_that_is_away_is_down(last: Snapshot) -> None:
    agent = healthy(REPLICA).sees(last)

    assert not agent.up(asks(agent, "reader", max_lag="5s"))
    assert agent.verdict("reader").reasons


def test_a_question_before_the_first_sample_is_starting() -> None:
    agent = Agent()

    assert agent.says(asks(agent, "reader", max_lag="5s")) == "starting"


def test_a_question_during_a_hold_is_held_as_the_others_are() -> None:
    agent = healthy(REPLICA).sees(LOGIN_REFUSED)

    assert agent.says(asks(agent, "reader", max_lag="5s")) == "up/auth_error"


def test_a_reload_forgets_questions_and_keeps_latches_and_weights() -> None:
    agent = healthy().sees(VOTED_OUT).sees(SYNCED)
    key = asks(agent, "reader", max_lag="5s")
    agent.reloads(with_role("reader", max_lag_seconds=12.0))

    assert key not in agent.publication.verdicts
    assert agent.sees(SYNCED).state == "inconsistent"


def test_a_reload_raises_no_weight_at_once() -> None:
    agent = healthy().sees(galera(Threads_connected="140")).sees(SYNCED)
    assert agent.weight("reader") == 20

    agent.reloads(replace(POLICY, roles=(*POLICY.roles, Role(name="own", base=Base.READER))))
    assert (agent.weight("reader"), agent.up("own")) == (20, True)


# --- more than one of them ------------------------------------------------------------------------------------------


def test_a_node_that_was_voted_out_and_has_lost_wsrep_takes_two_words() -> None:
    agent = healthy().sees(galera(local_state="5")).sees(WSREP_OFF)
    assert agent.state == "wsrep_off"

    assert acks(agent) == ("wsrep_off",)
    agent.keeps_seeing(WSREP_OFF, 1.0)
    assert (agent.state, agent.told(*ROLES)) == (
        "inconsistent",
        "inconsistent not_galera " + "inconsistent " * 2 + "inconsistent",
    )

    assert acks(agent) == ("inconsistent",)
    assert agent.keeps_seeing(WSREP_OFF, 1.0).told(*ROLES) == "up not_galera up up up"


def test_a_second_ack_forgets_nothing_of_the_first() -> None:
    agent = healthy().sees(WSREP_OFF)
    acks(agent)
    agent.sees(WSREP_OFF)
    assert acks(agent) == ()
    assert agent.keeps_seeing(WSREP_OFF, 1.0).state == "primary"


@pytest.mark.parametrize("meanwhile", [DOWN, failed(FailureKind.TIMEOUT)])
def test_nobody_acknowledges_what_is_not_shown(meanwhile: Snapshot) -> None:
    agent = healthy().sees(galera(local_state="5")).keeps_seeing(meanwhile, 5.0, every=0.5)
    assert acks(agent) == ()
    assert agent.publication.trail.pins.inconsistent
