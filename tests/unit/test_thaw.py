"""A node that was frozen: Synced, Primary, ready, and full of old rows.

The course of a long freeze is the one that was recorded: 6 s with the view of before, 2 s without a group, then a
member again with another view.
"""

from dataclasses import replace

import pytest

from healthagent import parse
from healthagent.facts import FailureKind, ProcessState, Snapshot
from healthagent.trail import Pins, Thaw
from tests.build import DOWN, HUNG, LOGIN_REFUSED, PRIMARY, START, SYNCED, Agent, failed, galera, healthy

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


# --- a freeze and the agent's own life ------------------------------------------------------------------------------


def test_a_freeze_that_had_begun_before_the_agent_counts_however_long_it_was() -> None:
    agent = Agent().sees(FROZEN).sees(SYNCED)
    assert agent.told(*ROLES) == "thawed thawed thawed thawed thawed"
    assert not up_after(agent, SYNCED, 7.9)
    assert up_after(agent, SYNCED, 1.0)


def test_it_ends_with_another_view_than_the_first_one_seen() -> None:
    agent = Agent().sees(FROZEN).sees(SYNCED).sees(ALONE)
    assert up_after(agent, REJOINED, 1.0)


@pytest.mark.parametrize("first", [SYNCED, DOWN, LOGIN_REFUSED])
def test_a_timeout_after_a_sign_of_life_is_no_freeze_yet(first: Snapshot) -> None:
    assert up_after(Agent().sees(first).sees(FROZEN), SYNCED, 1.5)


def test_another_agent_goes_on_where_the_last_one_ended() -> None:
    before = frozen_for(9.0).sees(SYNCED)
    after = Agent(pins=before.memory.trail.pins)
    after.now = before.now
    assert after.sees(SYNCED).state == "thawed"
    assert up_after(after, REJOINED, 1.0)


def test_a_second_freeze_is_measured_by_the_view_before_the_first() -> None:
    agent = frozen_for(9.0).sees(SYNCED)
    frozen_for(9.0, agent).sees(ALONE)
    assert up_after(agent, REJOINED, 1.0)


def test_a_server_that_is_gone_meanwhile_comes_back_as_another_process() -> None:
    agent = frozen_for(9.0).sees(SYNCED).sees(DOWN)
    assert up_after(agent, SYNCED, 1.0)


@pytest.mark.parametrize("kind", [FailureKind.UNREACHABLE, FailureKind.LOCAL, FailureKind.TIMEOUT])
def test_what_is_no_word_of_the_server_hides_a_freeze(kind: FailureKind) -> None:
    agent = healthy().keeps_seeing(failed(kind), 9.0, every=0.5)
    assert agent.sees(SYNCED).state == "thawed"


@pytest.mark.parametrize("kind", [FailureKind.LOST, FailureKind.QUERY, FailureKind.LIMIT, FailureKind.LOGIN])
def test_a_server_that_says_anything_is_not_frozen(kind: FailureKind) -> None:
    agent = healthy().keeps_seeing(failed(kind), 9.0, every=0.5)
    assert agent.sees(SYNCED).state == "synced"


def test_a_provider_that_does_not_tell_its_group_state_is_not_waited_for_for_ever() -> None:
    agent = frozen_for(9.0).sees(SYNCED)
    assert up_after(agent, galera(evs_state=None), 9.0)


@pytest.mark.parametrize("kind", [FailureKind.LOST, FailureKind.QUERY, FailureKind.LIMIT, FailureKind.LOGIN])
def test_an_error_as_the_first_word_after_a_freeze_ends_nothing(kind: FailureKind) -> None:
    """All clients come back at once after a freeze: error 1040 is likely then."""
    assert frozen_for(9.0).sees(failed(kind), after=0.1).sees(SYNCED).state == "thawed"
    assert Agent().sees(FROZEN).sees(failed(kind), after=0.1).sees(SYNCED).state == "thawed"


def test_one_slow_login_at_the_start_is_no_freeze() -> None:
    assert Agent().sees(HUNG).sees(SYNCED).state == "synced"
    assert Agent().sees(HUNG).sees(HUNG).sees(SYNCED).state == "thawed"


def test_a_freeze_at_the_start_is_a_new_one_whatever_an_agent_before_has_left() -> None:
    old = Pins(galera=True, thaw=Thaw(at=START - 100, conf_id=2))
    assert Agent(pins=old).keeps_seeing(FROZEN, 20.0, every=1.0).sees(SYNCED).state == "thawed"


# --- glances between two probes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "glanced", "state"),
    [
        (6.0, 0.1, "synced"),  # answered until right before the probe
        (6.0, 3.9, "synced"),  # 0.8 x the suspect timeout of 5 s is 4 s
        (6.0, 4.1, "thawed"),
        (6.0, None, "thawed"),
        (3.0, None, "synced"),
        (3.0, 20.0, "synced"),  # a glance before the last probe takes nothing back
    ],
)
def test_a_server_that_answers_glances_is_not_frozen_however_far_apart_the_probes_are(
    every: float, glanced: float | None, state: str
) -> None:
    agent = healthy()
    for _ in range(4):
        glanced_at = None if glanced is None else agent.now + every - glanced
        agent.sees(replace(SYNCED, glanced_at=glanced_at), after=every)
        assert agent.state == state


@pytest.mark.parametrize("end", [SYNCED, LOGIN_REFUSED])
def test_glances_before_a_freeze_do_not_hide_it(end: Snapshot) -> None:
    agent = healthy()
    answered = replace(FROZEN, glanced_at=agent.now + 1.0)
    agent.sees(answered, after=2.0).sees(replace(end, glanced_at=answered.glanced_at), after=4.0).sees(SYNCED)
    assert agent.state == "thawed"
