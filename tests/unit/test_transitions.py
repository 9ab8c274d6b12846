"""What is told of a change, and with which values."""

import pytest

from healthagent.events import KIND_TEXT, Event, Kind, Level
from healthagent.facts import FailureKind
from healthagent.model import Publication
from healthagent.reasons import Gate
from healthagent.transitions import transitions
from tests.build import DOWN, Agent, failed, galera, healthy, primary, replica, slave_row, with_role


def change(agent: Agent, *samples: object, every: float = 0.5) -> list[Event]:
    """What is told while the agent sees these samples."""
    told = []
    for sample in samples:
        before = agent.publication
        agent.sees(sample, after=every)  # type: ignore[arg-type]
        told += transitions(before, agent.publication)
    return told


def of_role(events: list[Event], role: str) -> Event:
    (event,) = [event for event in events if event.fields.get("role") == role]
    return event


def test_nothing_is_told_of_what_stays() -> None:
    agent = healthy()
    assert change(agent, galera(), galera(), galera()) == []


def test_the_first_sample_tells_the_state_whatever_it_is() -> None:
    first, *roles = change(Agent(), galera())
    assert (first.kind, first.level, first.fields["old"], first.fields["new"]) == (
        Kind.STATE_CHANGE,
        Level.INFO,
        "unknown",
        "synced",
    )
    assert (
        first.says == "state unknown -> synced: local_state 4, comment Synced, cluster_status Primary, cluster_size 3"
    )
    assert (first.fields["ready"], first.fields["reject_queries"]) == (True, "NONE"), "what is usual is in the fields"
    assert {(event.fields["old"], event.fields["new"]) for event in roles} == {("starting", "up")}
    again, *roles = change(Agent(), failed(FailureKind.LOCAL))
    assert {(event.fields["old"], event.fields["new"]) for event in roles} == {("starting", "down")}
    assert again.says.startswith("state unknown -> unknown: failure local, ")


def test_a_fall_tells_the_state_with_its_values_and_then_every_role_with_its_gates() -> None:
    state, *roles = change(healthy(), galera(wsrep_cluster_status="non-Primary", wsrep_local_state=0, wsrep_ready=0))

    assert (state.level, state.fields["state"], state.fields["cluster_status"]) == (
        Level.WARNING,
        "non_primary",
        "non-Primary",
    )
    assert state.says.startswith("state synced -> non_primary: local_state 0, ")
    assert "cluster_status non-Primary, cluster_size 3" in state.says
    assert len(roles) >= 5
    writer = of_role(roles, "writer")
    assert (writer.kind, writer.level) == (Kind.ROLE_CHANGE, Level.WARNING)
    assert writer.fields["reasons"] == ("non_primary", "not_ready")
    assert writer.says.startswith("role writer up -> down weight=0 reasons=non_primary,")
    assert "primary_component non-Primary (limit Primary)" in writer.says
    gates = writer.fields["gates"]
    assert isinstance(gates, tuple)
    assert "primary_component" in gates
    assert (writer.fields["gate_primary_component"], writer.fields["gate_primary_component_limit"]) == (
        "non-Primary",
        "Primary",
    )


def test_a_lag_tells_what_it_is_and_what_it_may_be() -> None:
    agent = healthy(replica())
    events = change(agent, *[replica(slave_row(Seconds_Behind_Master=35))] * 4)
    reader = of_role(events, "reader")

    assert reader.says == "role reader up -> down weight=0 reasons=replica_lagging: lag 35s (seconds_behind) (limit 10)"
    assert (reader.fields["gates"], reader.fields["gate_lag"], reader.fields["gate_lag_limit"]) == (
        ("lag",),
        "35s (seconds_behind)",
        10.0,
    )
    (state,) = [event for event in events if event.kind is Kind.STATE_CHANGE]
    assert state.says.startswith("state replica -> replica_lagging: read_only no, log_bin yes, ")
    assert "io Yes, sql Yes, lag 35" in state.says


def test_a_return_is_no_warning() -> None:
    agent = healthy()
    change(agent, DOWN)
    events = change(agent, *[galera()] * 4)

    assert {event.level for event in events} == {Level.INFO}
    assert of_role(events, "any").says == "role any down -> up weight=10 reasons=none"


def test_a_failure_is_told_in_its_words() -> None:
    state = change(healthy(), DOWN)[0]
    assert (state.fields["failure"], state.fields["code"]) == ("refused", 2)
    assert state.says.endswith(str(state.fields["error"]))


def test_a_weight_alone_is_no_transition() -> None:
    agent = healthy(replica())
    assert change(agent, *[replica(slave_row(Seconds_Behind_Master=8))] * 10) == []
    assert agent.weight("reader") < 100


def test_a_question_with_parameters_is_not_told_of() -> None:
    agent = healthy()
    after = agent.publication
    question = {**after.verdicts, "reader?max_lag=5": after.verdicts["reader"]}
    assert transitions(after, Publication(state=after.state, snapshot=after.snapshot, verdicts=question)) == []


def test_draining_is_a_wish_and_no_warning() -> None:
    agent = healthy()
    before = agent.publication
    agent.reloads(with_role("reader", drain=True)).sees(galera())
    reader = of_role(transitions(before, agent.publication), "reader")

    assert reader.level is Level.INFO
    assert reader.says == "role reader up -> drain weight=0 reasons=draining"


def test_a_new_role_says_so() -> None:
    agent = healthy()
    before = agent.publication
    verdicts = {name: verdict for name, verdict in before.verdicts.items() if name != "reader"}
    old = Publication(state=before.state, snapshot=before.snapshot, verdicts=verdicts)
    assert of_role(transitions(old, before), "reader").fields["old"] == "new"


@pytest.mark.parametrize(
    "sample",
    [
        DOWN,
        failed(FailureKind.LOGIN, 1045),
        galera(wsrep_reject_queries="ALL"),
        galera(wsrep_local_state=2, wsrep_desync=1),
        primary(read_only=1),
        replica(slave_row(Last_SQL_Errno=1062, Last_SQL_Error="Duplicate\nentry", Slave_SQL_Running="No")),
    ],
)
def test_no_field_but_those_of_the_list(sample: object) -> None:
    gates = {f"gate_{gate}{limit}" for gate in Gate for limit in ("", "_limit")}
    for event in change(Agent(), sample) + change(healthy(), *[sample] * 30):
        assert set(event.fields) - gates <= set(KIND_TEXT[event.kind].fields)
