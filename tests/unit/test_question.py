"""A request's parameters: they tighten, they never loosen, and what is wrong is named."""

from dataclasses import replace

import pytest

from healthagent.policy import Base, Role
from healthagent.question import known_parameters, tightened
from tests.build import POLICY, REPLICA, SYNCED, Agent, galera, replica, slave_row

READER = Role(name="reader", base=Base.READER)
WRITER = Role(name="writer", base=Base.WRITER)


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({"max_lag": "5s"}, 5.0),
        ({"lag": "500ms"}, 0.5),
        ({"max_lag": "1h"}, 10.0),
        ({"max_lag": "0s"}, 0.0),
        ({"max_lag": "8s", "lag": "5s"}, 5.0),
        ({"max_lag": "5s", "lag": "8s"}, 5.0),
    ],
)
def test_the_smaller_lag_counts(parameters: dict[str, str], limit: float) -> None:
    assert tightened(READER, parameters)[1].max_lag_seconds == limit


@pytest.mark.parametrize(
    ("own", "asked", "queue", "says"),
    [
        (None, "10", "11", "recv_queue"),
        (None, "10", "10", "up"),
        (None, "1000000000", "57", "recv_queue"),  # twice the live limit is 56
        (None, "1000000000", "56", "up"),
        (5, "10", "6", "recv_queue"),
        (100, "10", "11", "recv_queue"),
        (100, "1000", "101", "recv_queue"),
    ],
)
def test_the_smaller_queue_counts_and_the_live_limit_always(own: int | None, asked: str, queue: str, says: str) -> None:
    key, stricter = tightened(replace(READER, max_queue=own), {"max_queue": asked})
    policy = replace(POLICY, roles=(*POLICY.roles, replace(stricter, name=key)))

    assert Agent(policy).sees(galera(local_recv_queue=queue)).says(key) == says


@pytest.mark.parametrize("soft", [None, 2.0, 4.0, 9.9])
@pytest.mark.parametrize("asked", ["3s", "5s", "9.95s", "20s"])
@pytest.mark.parametrize("lag", range(12))
def test_a_question_never_gets_more_than_its_role(soft: float | None, asked: str, lag: int) -> None:
    role = replace(READER, soft_lag_seconds=soft)
    key, stricter = tightened(role, {"max_lag": asked})
    own = (*(known for known in POLICY.roles if known.name != "reader"), role, replace(stricter, name=key))
    agent = Agent(replace(POLICY, roles=own)).sees(replica(slave_row(Seconds_Behind_Master=lag)))

    assert agent.weight(key) <= agent.weight("reader")


def test_tags_are_added_to_those_of_the_role() -> None:
    role = replace(READER, tags=(("dc", "a"),))

    assert tightened(role, {"tag_rack": "7", "tag_dc": "b"})[1].tags == (("dc", "a"), ("dc", "b"), ("rack", "7"))
    assert tightened(WRITER, {"tag_dc": "a"})[1].tags == (("dc", "a"),)


def test_the_same_question_has_one_key_and_another_has_another() -> None:
    def key(**parameters: str) -> str:
        return tightened(READER, parameters)[0]

    assert key(max_lag="5s") == key(lag="5000ms") == key(max_lag="5s", lag="7s")
    assert key(tag_a="1", tag_b="2") == key(tag_b="2", tag_a="1")
    asked = [
        key(max_lag="5s"),
        key(max_lag="5.001s"),
        key(max_queue="5"),
        key(tag_a="1"),
        key(tag_a="1&tag_b=2"),
        key(tag_a="1", tag_b="2"),
        key(tag_a="1'&tag_b='2"),
        key(tag_a="'1'"),
    ]
    assert len(set(asked)) == len(asked)
    assert all(one.startswith("reader?") for one in asked)


def test_large_limits_that_differ_have_keys_that_differ() -> None:
    role = replace(READER, max_lag_seconds=1e8)

    assert tightened(role, {"max_lag": "1000000.1s"})[0] != tightened(role, {"max_lag": "1000000.2s"})[0]


@pytest.mark.parametrize(
    ("role", "parameters", "says"),
    [
        (READER, {"max_lag": "5"}, "parameter 'max_lag' is '5': must be a duration such as 500ms, 5s or 10m"),
        (READER, {"lag": "-5s"}, "parameter 'lag' is '-5s': must be a duration such as 500ms, 5s or 10m"),
        (READER, {"lag": ""}, "parameter 'lag' is '': must be a duration such as 500ms, 5s or 10m"),
        (READER, {"max_queue": "1e3"}, "parameter 'max_queue' is '1e3': must be a whole number from 0 to 1000000000"),
        (READER, {"max_queue": "\u0661"}, "must be a whole number from 0 to 1000000000"),
        (READER, {"max_queue": "1000000001"}, "must be a whole number from 0 to 1000000000"),
        (READER, {"tag_dc": ""}, "parameter 'tag_dc' is '': must be 1 to 64 printable letters"),
        (READER, {"tag_dc": "x" * 65}, "must be 1 to 64 printable letters"),
        (READER, {"tag_dc": "a\nb"}, "must be 1 to 64 printable letters"),
        (READER, {"tag_": "a"}, "unknown parameter 'tag_'; /reader takes format, max_lag, lag, max_queue, tag_KEY"),
        (READER, {"TAG_dc": "a"}, "unknown parameter 'TAG_dc'"),
        (READER, {"donor": "true"}, "unknown parameter 'donor'"),
        (WRITER, {"max_lag": "5s"}, "unknown parameter 'max_lag'; /writer takes format, tag_KEY"),
        (WRITER, {"max_queue": "5"}, "unknown parameter 'max_queue'; /writer takes format, tag_KEY"),
    ],
)
def test_errors_name_key_and_value_and_what_would_be_right(role: Role, parameters: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match="parameter") as caught:
        tightened(role, parameters)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 200


def test_every_base_takes_tags_and_only_readers_take_limits() -> None:
    for base in Base:
        known = known_parameters(Role(name="own", base=base))
        assert "tag_KEY" in known
        assert ("max_lag" in known) == (base is Base.READER)


@pytest.mark.parametrize(("tags", "says"), [((("dc", "a"),), "up"), ((), "tag_mismatch")])
def test_a_question_about_tags(tags: tuple[tuple[str, str], ...], says: str) -> None:
    key, stricter = tightened(READER, {"tag_dc": "a"})
    policy = replace(POLICY, roles=(*POLICY.roles, replace(stricter, name=key)), tags=tags)

    assert Agent(policy).sees(SYNCED).says(key) == says
    assert Agent(policy).sees(REPLICA).says(key) == says
