"""A node that was frozen: Synced, Primary, ready, and full of old rows.

The course of a long freeze is the one that was recorded: 6 s with the view of before, 2 s without a group, then a
member again with another view.
"""

import pytest

from healthagent import parse
from healthagent.model import FailureKind, ProcessState, Snapshot
from tests.build import DOWN, HUNG, LOGIN_REFUSED, PRIMARY, SYNCED, Agent, failed, galera, healthy

FROZEN = failed(FailureKind.TIMEOUT, process=ProcessState.STOPPED)
ALONE = galera(local_state="0", cluster_status="non-Primary", ready="OFF", cluster_conf_id="18446744073709551615")
REJOINED = galera(cluster_conf_id="5")
ROLES = ("any", "synced", "reader", "candidate", "writer")


def frozen_for(seconds: float, agent: Agent | None = None) -> Agent:
    return (agent or healthy()).keeps_seeing(FROZEN, seconds, every=0.5)


def up_after(agent: Agent, what: Snapshot, seconds: float) -> bool:
    return agent.keeps_seeing(what, seconds, every=0.1).up("writer")


def test_a_long_freeze_ends_with_another_view() -> None:
    agent = frozen_for(9.0).sees(SYNCED)
    assert agent.state == "thawed"
    assert agent.sees(SYNCED).told(*ROLES) == "thawed thawed thawed thawed thawed"
    for what, seconds in ((SYNCED, 5.5), (ALONE, 2.0)):
        for _ in range(round(seconds / 0.1)):
            agent.sees(what, after=0.1)
            assert not any(agent.up(role) for role in ROLES)
    assert up_after(agent, REJOINED, 0.7)


def test_a_freeze_that_ejected_nobody_ends_with_the_time_in_which_it_would_show() -> None:
    agent = frozen_for(4.5).sees(SYNCED)
    assert not up_after(agent, SYNCED, 7.9)
    assert up_after(agent, SYNCED, 0.7)


def test_it_does_not_end_while_the_group_forms_anew() -> None:
    agent = frozen_for(4.5).sees(SYNCED)
    assert not up_after(agent, galera(evs_state="GATHER"), 20.0)
    assert up_after(agent, SYNCED, 0.7)


def test_a_short_freeze_is_a_hang_like_any_other() -> None:
    """A busy machine must not look frozen: below 0.8 x the suspect timeout nothing is concluded."""
    agent = frozen_for(3.0).sees(SYNCED)
    assert agent.state == "synced"
    assert up_after(agent, SYNCED, 0.7)


def test_the_live_suspect_timeout_counts() -> None:
    options = "evs.suspect_timeout = PT15S; x = 1"
    slow = galera(provider_options=options)
    assert frozen_for(9.0, healthy(slow)).sees(slow).state == "synced"
    assert frozen_for(12.5, healthy(slow)).sees(slow).state == "thawed"


def test_an_agent_that_was_frozen_itself_knows_as_little() -> None:
    assert healthy().sees(SYNCED, after=9.0).state == "thawed"


def test_a_second_freeze_starts_it_anew() -> None:
    agent = frozen_for(9.0).sees(SYNCED)
    frozen_for(5.0, agent.keeps_seeing(SYNCED, 4.0)).sees(SYNCED)
    assert not up_after(agent, SYNCED, 7.9)
    assert up_after(agent, REJOINED, 0.7)


@pytest.mark.parametrize("what", [DOWN, LOGIN_REFUSED])
def test_an_error_that_only_a_running_or_a_dead_server_gives_is_no_freeze(what: Snapshot) -> None:
    agent = healthy().keeps_seeing(what, 30.0, every=0.5).sees(SYNCED)
    assert agent.state == "synced"


def test_a_view_that_has_changed_already_is_no_reason_to_wait() -> None:
    assert frozen_for(9.0).sees(REJOINED).state == "synced"


def test_outside_galera_nobody_is_thawed() -> None:
    assert frozen_for(30.0, healthy(PRIMARY)).sees(PRIMARY).state == "primary"


def test_hung_is_told_while_it_lasts() -> None:
    assert healthy().keeps_seeing(HUNG, 9.0, every=0.5).state == "hung"


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ("evs.suspect_timeout = PT5S; a = b", 5.0),
        ("a = PT1S;evs.suspect_timeout=PT0.5S", 0.5),
        ("evs.suspect_timeout = PT1M30S;", 90.0),
        ("evs.suspect_timeout = PT;", None),
        ("evs.suspect_timeout = 5;", None),
        ("xevs.suspect_timeoutx = PT5S;", None),
        ("", None),
        (None, None),
    ],
)
def test_durations_of_the_provider(options: str | None, seconds: float | None) -> None:
    assert parse.provider_seconds(options, "evs.suspect_timeout") == seconds
