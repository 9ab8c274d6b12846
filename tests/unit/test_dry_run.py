"""A role that is judged and shown, and that nothing can go by."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from healthagent import config
from healthagent.agentcheck import AgentCheck
from healthagent.board import Board
from healthagent.decide import reports
from healthagent.errors import ConfigError
from healthagent.model import Status
from healthagent.policy import Base, Policy, Role
from healthagent.render import state_document
from healthagent.web import Web
from tests.build import ROLES, SYNCED, Agent

TRIAL = Role(name="trial", base=Base.WRITER, dry_run=True)
POLICY = Policy(roles=(*ROLES, TRIAL))


def loaded(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "healthagent.yaml"
    file.write_text(f"mysql: {{user: agent, socket: {tmp_path}/no.sock}}\n{text}")
    return config.load(file)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    (line,) = caught.value.lines()
    return line.partition("healthagent.yaml:")[2]


@pytest.fixture
def agent() -> Agent:
    return Agent(POLICY).keeps_seeing(SYNCED, 2)


@pytest.fixture
def board(agent: Agent) -> Board:
    return Board(agent.publication, 3.0, lambda: agent.now)


@pytest.fixture
def web(board: Board) -> Web:
    return Web(board, POLICY.roles, dict, lambda key, role: board.current(), lambda cluster: ())


def get(web: Web, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = make_mocked_request(method, path, headers=headers)
    answer = asyncio.run(web.handle(request, shelf=web.shelf()))
    assert isinstance(answer.body, bytes)
    return answer.status, answer.body.decode()


def test_it_is_judged_and_shown_as_any_role(agent: Agent) -> None:
    assert agent.verdict("trial").status is Status.UP
    assert reports(agent.publication, "trial")
    roles = state_document(agent.publication, now=agent.now, version="0", config={})["roles"]
    assert roles["trial"] | {"dry_run": False} == roles["writer"]
    assert [name for name, role in roles.items() if role["dry_run"]] == ["trial"]


@pytest.mark.parametrize("target", ["/trial", "/trial?max_lag=5s", "/trial?format=json", "/trial?tag_a=b"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_its_path_is_400_and_says_what_to_do(web: Web, target: str, method: str) -> None:
    status, body = get(web, target, method)
    assert status == 400
    if method == "GET":
        assert "trial is a dry run, nothing may go by it; /state and /why?role=trial tell its verdict" in body
        assert "without roles.trial.dry_run it is served" in body


def test_the_ready_answers_have_none_for_it(web: Web) -> None:
    assert web.prepared(b"GET /trial HTTP/1.0\r\n\r\n", "127.0.0.1", shelf=web.shelf()) is None
    assert web.prepared(b"GET /writer HTTP/1.0\r\n\r\n", "127.0.0.1", shelf=web.shelf()) is not None


def test_why_explains_it_and_an_unknown_path_does_not_name_it(web: Web) -> None:
    status, body = get(web, "/why?role=trial")
    assert (status, json.loads(body)[0]["gate"]) == (200, "fresh")
    status, body = get(web, "/nonsense")
    assert status == 400
    assert "trial" not in body


def test_agent_check_does_not_know_it(board: Board) -> None:
    check = AgentCheck(board, POLICY.roles, admin_words=False)
    assert check.asked(b"trial") == b"down #unknown\n"
    assert check.asked(b"writer") == b"up 100%\n"


def test_a_reload_puts_it_into_service_and_out_again(agent: Agent, web: Web, board: Board) -> None:
    serving = replace(POLICY, roles=(*ROLES, replace(TRIAL, dry_run=False)))
    agent.reloads(serving)
    board.publish(agent.publication, 3.0)
    web.adopt(serving.roles, drain_code=503)
    assert get(web, "/trial") == (200, "OK trial weight=100 state=synced\n")
    assert not agent.verdict("trial").dry_run

    agent.reloads(POLICY)
    board.publish(agent.publication, 3.0)
    web.adopt(POLICY.roles, drain_code=503)
    assert get(web, "/trial")[0] == 400
    assert web.prepared(b"GET /trial HTTP/1.0\r\n\r\n", "127.0.0.1", shelf=web.shelf()) is None
    assert agent.verdict("trial").dry_run


def test_it_costs_no_other_role_anything(agent: Agent) -> None:
    without = Agent(Policy(roles=ROLES)).keeps_seeing(SYNCED, 2)
    assert {name: agent.verdict(name) for name in without.publication.verdicts} == without.publication.verdicts


# --- configuration --------------------------------------------------------------------------------------------------


def test_a_role_of_ones_own_can_be_one(tmp_path: Path) -> None:
    found = loaded(tmp_path, "roles: {trial: {base: writer, dry_run: true}, other: {base: reader, dry_run: false}}\n")
    assert [role.name for role in found.policy.roles if role.dry_run] == ["trial"]
    assert config.shown(found)["roles"]["trial"]["dry_run"] is True
    assert config.shown(found)["roles"]["other"]["dry_run"] is False
    assert "dry_run" not in config.shown(found)["roles"]["writer"]


REFUSED = {
    "a built-in role": (
        "roles: {writer: {dry_run: true}}\n",
        "2: roles.writer.dry_run: only a role of your own takes it, such as delayed: {base: writer, dry_run: ...}",
    ),
    "no boolean": (
        "roles: {trial: {base: writer, dry_run: maybe}}\n",
        "2: roles.trial.dry_run: 'maybe': must be true or false",
    ),
    "a port of agent-check": (
        'roles: {trial: {base: writer, dry_run: true}}\nagent_check: {listen: {"127.0.0.1:9301": trial}}\n',
        "3: agent_check.listen.127.0.0.1:9301: trial is a dry run: nothing may go by it until roles.trial.dry_run is"
        " taken away; null: by agent-send",
    ),
    "a track file": (
        "roles: {trial: {base: writer, dry_run: true}}\n"
        "keepalived: {track_files: [{role: trial, path: /run/x, up: 1, down: 0}]}\n",
        "3: keepalived.track_files: /run/x: trial is a dry run: nothing may go by it until roles.trial.dry_run is"
        " taken away",
    ),
    "a base": (
        "roles: {trial: {base: writer, dry_run: true}, next: {base: trial}}\n",
        "2: roles.next.base: 'trial': must be one of any, synced, reader, candidate, writer",
    ),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_go_by_it_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert refused(tmp_path, text) == says
