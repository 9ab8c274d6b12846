"""The agent-check line and the HTTP answer are of one verdict: they cannot disagree, whatever comes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from healthagent.agentcheck import AgentCheck
from healthagent.board import Board
from healthagent.facts import Snapshot
from healthagent.model import Status, Verdict
from healthagent.policy import Policy
from healthagent.reasons import Reason, State
from healthagent.render import JSON_TYPE, agent_line, role_answers
from tests.build import Agent
from tests.property.anything import POLICIES, STEPS

VERDICTS = st.builds(
    lambda status, weight, state, reasons: Verdict(
        role="writer",
        status=status,
        weight=weight if status is Status.UP else 0,
        state=state,
        reasons=tuple(dict.fromkeys(reasons)) or (() if status is Status.UP else (Reason.UNKNOWN,)),
    ),
    st.sampled_from(Status),
    st.integers(1, 100),
    st.sampled_from(State),
    st.lists(st.sampled_from(Reason), max_size=4),
)


def assert_as_http(line: str, verdict: Verdict) -> None:
    """up with a weight <=> 200 with that weight; down with a text <=> 503 with that reason phrase."""
    answer = role_answers(verdict)[JSON_TYPE]
    word, said = line.split(" ", 1)
    if verdict.status is Status.DRAIN:
        assert (line, answer.code) == ("up 0%", 503)
    elif word == "up":
        assert answer.code == 200
        assert said == f"{answer.headers['X-Healthagent-Weight']}%" != "0%"
    else:
        assert (word, answer.code) == ("down", 503)
        assert said == f"#{answer.phrase}"


@given(VERDICTS)
def test_one_verdict_one_answer(verdict: Verdict) -> None:
    line = agent_line(verdict, admin_words=False)
    assert_as_http(line, verdict)
    if verdict.status is not Status.DRAIN:
        assert agent_line(verdict, admin_words=True).replace(" ready", "", 1) == line


@given(POLICIES, STEPS, st.lists(st.floats(0, 5), min_size=1, max_size=8))
def test_what_a_port_says_is_what_http_says(
    policy: Policy, steps: list[tuple[Snapshot, float]], waits: list[float]
) -> None:
    agent = Agent(policy)
    now = agent.now
    board = Board(agent.publication, policy.max_age_seconds, lambda: now)
    check = AgentCheck(board, policy.roles, admin_words=False)
    for (what, after), wait in zip(steps, waits * len(steps), strict=False):
        agent.sees(what, after=after)
        now = agent.now
        board.publish(agent.publication, policy.max_age_seconds)
        for later in (0.0, wait):  # facts grow old between two samples
            now += later
            for role in policy.roles:
                verdict = board.current().verdicts[role.name]
                assert_as_http(check.line(role.name).decode("ascii").removesuffix("\n"), verdict)
                assert check.asked(role.name.encode()) == check.line(role.name)


@given(VERDICTS, VERDICTS)
def test_a_line_is_rendered_once_for_each_verdict(one: Verdict, other: Verdict) -> None:
    first = replace(Agent().publication, verdicts={"writer": one})
    board = Board(first, 3.0, lambda: 0.0)
    check = AgentCheck(board, (), admin_words=False)
    line = check.line("writer")
    board.publish(replace(first, wall_offset=1.0), 3.0)
    assert check.line("writer") is line
    board.publish(replace(first, verdicts={"writer": other}), 3.0)
    assert check.line("writer").decode() == agent_line(other, admin_words=False) + "\n"
