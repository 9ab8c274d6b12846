"""What may be told, and until when: facts older than max_age never serve, whatever the monitor does."""

from healthagent.board import Board
from healthagent.model import Status
from tests.build import (
    DOWN,
    FULL,
    LOGIN_REFUSED,
    POLICY,
    PRIMARY,
    Agent,
    galera,
    healthy,
)

MAX_AGE = POLICY.max_age_seconds


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def board_of(agent: Agent) -> tuple[Board, Clock]:
    clock = Clock(agent.now)
    return Board(agent.publication, MAX_AGE, clock), clock


def told(board: Board, role: str) -> tuple[str, int, list[str]]:
    verdict = board.current().verdicts[role]
    return verdict.status.value, verdict.weight, [reason.word for reason in verdict.reasons]


def test_before_the_first_sample_every_role_is_down_starting() -> None:
    board, clock = board_of(Agent())
    for _ in range(2):
        for role in board.current().verdicts:
            assert told(board, role) == ("down", 0, ["starting"])
        assert board.current().state.word == "unknown"
        clock.now += 1_000_000


def test_a_verdict_is_told_for_max_age() -> None:
    board, clock = board_of(healthy())
    clock.now += MAX_AGE

    assert told(board, "writer") == ("up", 100, [])


def test_then_it_is_stale() -> None:
    board, clock = board_of(healthy())
    clock.now += MAX_AGE + 0.001

    assert board.current().state.word == "stale"
    for role in board.current().verdicts:
        assert told(board, role) == ("down", 0, ["stale"])


def test_what_was_down_becomes_stale_too() -> None:
    board, clock = board_of(healthy().sees(DOWN))
    clock.now += MAX_AGE + 0.001

    assert told(board, "any") == ("down", 0, ["stale"])


def test_stale_ends_with_the_next_sample() -> None:
    agent = healthy()
    board, clock = board_of(agent)
    clock.now += MAX_AGE + 10
    assert board.current().state.word == "stale"

    agent.sees(DOWN, after=MAX_AGE + 10)
    board.publish(agent.publication, MAX_AGE)
    assert told(board, "any") == ("down", 0, ["down"])


def test_stale_is_the_gate_fresh_and_comes_back_like_a_gate() -> None:
    """A server may have changed unseen: half a second and two samples, as with every other gate of this kind."""
    agent = healthy(PRIMARY)
    agent.sees(PRIMARY, after=MAX_AGE + 10)
    assert not agent.up("writer")

    assert agent.sees(PRIMARY).up("writer")


def test_a_held_login_falls_with_the_facts_and_keeps_its_reason() -> None:
    for failure, reason in ((LOGIN_REFUSED, "auth_error"), (FULL, "connection_limit")):
        agent = healthy()
        facts_at = agent.now
        agent.sees(failure).sees(failure)
        board, clock = board_of(agent)

        clock.now = facts_at + MAX_AGE
        assert told(board, "writer") == ("up", 100, [reason])
        clock.now += 0.001
        assert told(board, "writer") == ("down", 0, [reason])
        assert board.current().state.word == reason
        clock.now = agent.now + MAX_AGE + 0.001
        assert told(board, "writer") == ("down", 0, ["stale"])


def test_a_role_that_was_down_keeps_its_reason_when_the_others_fall() -> None:
    agent = healthy(galera(read_only=1)).sees(LOGIN_REFUSED).sees(LOGIN_REFUSED)
    board, clock = board_of(agent)
    clock.now = agent.now + 2.5

    assert "read_only" in told(board, "writer")[2]
    assert told(board, "reader") == ("down", 0, ["auth_error"])


def test_current_is_one_object_until_something_changes() -> None:
    board, clock = board_of(healthy())
    first = board.current()
    clock.now += 1.0
    assert board.current() is first

    clock.now += MAX_AGE
    stale = board.current()
    assert stale is not first
    clock.now += 1.0
    assert board.current() is stale


def test_since_is_when_the_verdict_fell_also_where_it_fell_by_age() -> None:
    agent = healthy()
    board, clock = board_of(agent)
    up_since = board.current().verdicts["writer"].since_wall
    clock.now += MAX_AGE + 5

    verdict = board.current().verdicts["writer"]
    assert verdict.status is Status.DOWN
    assert verdict.since_wall > up_since
