"""One verdict -> text, JSON, headers, code and phrase, which all say the same."""

import json
from dataclasses import replace
from typing import Any

import pytest

from healthagent.decide import reports
from healthagent.facts import Progress
from healthagent.model import Status, Verdict
from healthagent.reasons import Reason, State
from healthagent.render import JSON_TYPE, TEXT_TYPE, refusal, role_answers, state_document, text_line, why_document
from tests.build import DOWN, LOGIN_REFUSED, SYNCED, Agent, galera, healthy, primary, replica, slave_row

UP = Verdict(role="writer", status=Status.UP, weight=100, state=State.SYNCED, reasons=(), since_wall=1_760_000_000.25)
CAPPED = Verdict(
    role="reader", status=Status.UP, weight=1, state=State.SYNCED, reasons=(Reason.CONNECTION_LIMIT,), since_wall=0.0
)
FALLEN = Verdict(
    role="writer",
    status=Status.DOWN,
    weight=0,
    state=State.DONOR_BLOCKING,
    reasons=(Reason.DONOR_BLOCKING, Reason.READ_ONLY),
    since_wall=1_760_000_000.0,
)
STARTING = Verdict(role="any", since_wall=0.0)


def document(verdict: Verdict) -> dict[str, Any]:
    found = json.loads(role_answers(verdict)[JSON_TYPE].body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (UP, "OK writer weight=100 state=synced"),
        (CAPPED, "OK reader weight=1 state=synced reasons=connection_limit"),
        (FALLEN, "FAIL writer weight=0 state=donor_blocking reasons=donor_blocking,read_only"),
        (STARTING, "FAIL any weight=0 state=unknown reasons=starting"),
    ],
)
def test_the_text_line(verdict: Verdict, line: str) -> None:
    assert text_line(verdict) == line
    assert role_answers(verdict)[TEXT_TYPE].body == f"{line}\n".encode()


def test_the_json_document() -> None:
    assert document(FALLEN) == {
        "role": "writer",
        "verdict": "down",
        "weight": 0,
        "state": "donor_blocking",
        "reasons": ["donor_blocking", "read_only"],
        "since": "2025-10-09T08:53:20.000Z",
    }


@pytest.mark.parametrize("media", [TEXT_TYPE, JSON_TYPE])
@pytest.mark.parametrize(
    ("verdict", "code", "phrase"),
    [(UP, 200, "OK"), (CAPPED, 200, "OK"), (FALLEN, 503, "donor_blocking"), (STARTING, 503, "starting")],
)
def test_the_reason_phrase_is_the_first_reason(verdict: Verdict, media: str, code: int, phrase: str) -> None:
    answer = role_answers(verdict)[media]

    assert (answer.code, answer.phrase) == (code, phrase)


@pytest.mark.parametrize("media", [TEXT_TYPE, JSON_TYPE])
def test_headers(media: str) -> None:
    assert role_answers(FALLEN)[media].headers == {
        "Cache-Control": "no-store",
        "Content-Type": f"{media}; charset=utf-8",
        "X-Healthagent-State": "donor_blocking",
        "X-Healthagent-Role": "writer",
        "X-Healthagent-Verdict": "down",
        "X-Healthagent-Weight": "0",
        "X-Healthagent-Reasons": "donor_blocking,read_only",
        "X-Load-Balancing-Endpoint-Weight": "0",
    }


def test_since_is_utc_with_milliseconds() -> None:
    assert document(UP)["since"] == "2025-10-09T08:53:20.250Z"


def test_a_refusal_in_text_and_json() -> None:
    text, as_json = (refusal("Bad Request", "unknown path", media) for media in (TEXT_TYPE, JSON_TYPE))

    assert (text.code, text.body) == (400, b"unknown path\n")
    assert json.loads(as_json.body) == {"error": "unknown path"}
    assert text.headers["Cache-Control"] == "no-store"


# --- /state ---------------------------------------------------------------------------------------------------------

KEYS = [
    *("version", "node", "state", "state_code", "since", "sample", "roles", "galera", "replication", "server"),
    *("admin", "writer", "peers", "balancers"),
]


def state(agent: Agent, *, later: float = 0.25) -> dict[str, Any]:
    document = state_document(agent.publication, now=agent.now + later, version="1.2.3", config={"source": "x"})
    found = json.loads(json.dumps(document, allow_nan=False))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "agent",
    [Agent(), healthy(), healthy().sees(DOWN), Agent().sees(LOGIN_REFUSED), healthy(replica()), healthy(primary())],
)
def test_every_promised_key_is_there(agent: Agent) -> None:
    found = state(agent)

    assert set(KEYS) <= set(found)
    assert {"sequence", "age_seconds", "duration_seconds"} <= set(found["sample"])
    for role in found["roles"].values():
        assert {"verdict", "weight", "reasons", "since", "factors"} <= set(role)


def test_state_of_a_member() -> None:
    found = state(healthy())

    assert (found["node"], found["version"], found["state"], found["state_code"]) == ("n2", "1.2.3", "synced", 17)
    assert found["sample"]["sequence"] == 6
    assert found["sample"]["age_seconds"] == 0.25
    assert found["galera"]["cluster_size"] == 3
    assert found["server"]["version"] == "10.11.19-MariaDB-deb12-log"
    assert found["roles"]["writer"]["verdict"] == "up"


def test_state_before_the_first_sample() -> None:
    found = state(Agent())

    assert (found["state"], found["node"], found["galera"], found["writer"]) == ("unknown", None, None, None)
    assert found["sample"]["age_seconds"] is None
    assert found["roles"]["any"]["reasons"] == ["starting"]


def test_state_of_a_replica() -> None:
    found = state(healthy(replica(slave_row(Connection_name="a", Seconds_Behind_Master=None))))

    assert found["galera"] is None
    assert [row["connection"] for row in found["replication"]] == ["a"]
    assert found["replication"][0]["lag_seconds"] is None


def test_state_tells_why_a_probe_failed() -> None:
    found = state(healthy().sees(LOGIN_REFUSED))

    assert found["sample"]["failure"] == {"kind": "login", "code": 1045, "message": "login 1045"}
    assert found["process"] == {"state": None, "transfers": None, "progress": None}


def test_state_tells_how_far_a_transfer_has_come() -> None:
    progress = Progress(source="10.0.0.11", done_bytes=5, started_at=1.0)
    found = state(healthy().sees(replace(DOWN, evidence=replace(DOWN.evidence, progress=progress))))
    told = found["process"]["progress"]
    assert (told["from"], told["done_bytes"], told["total_bytes"], told["estimated_end"]) == (
        "10.0.0.11",
        5,
        None,
        None,
    )


# --- /why -----------------------------------------------------------------------------------------------------------


def why(agent: Agent, role: str) -> dict[str, dict[str, Any]]:
    return {gate["gate"]: gate for gate in why_document(reports(agent.publication, role), None)}


def test_why_lists_every_gate_of_the_role() -> None:
    assert list(why(healthy(), "writer")) == [
        *("fresh", "reachable", "answering", "login", "room"),
        *("client_port", "wsrep_on", "primary_component", "ready", "same_cluster", "accepting", "thaw"),
        *("state", "donor", "desync", "flow", "writable", "progress", "membership", "restarts"),
    ]
    assert list(why(healthy(replica()), "reader")) == [
        *("fresh", "reachable", "answering", "login", "room"),
        *("client_port", "state", "replica_threads", "lag", "link", "replica_error"),
    ]


def test_why_names_what_failed_with_value_and_limit() -> None:
    gate = why(healthy().sees(galera(cluster_status="non-Primary")), "writer")["primary_component"]

    assert (gate["passed"], gate["reason"]) == (False, "non_primary")
    assert (gate["value"], gate["limit"]) == ("non-Primary", "Primary")


def test_why_shows_a_gate_that_waits() -> None:
    agent = healthy().sees(galera(read_only=1)).sees(SYNCED, after=0.1)
    gate = why(agent, "writer")["writable"]

    assert (gate["passed"], gate["pending"], gate["reason"]) == (False, True, "read_only")


def test_why_says_since_when() -> None:
    agent = healthy().sees(galera(read_only=1)).keeps_seeing(galera(read_only=1), 5.0)

    assert why(agent, "writer")["writable"]["since"] == "2025-10-09T08:53:23.500Z"
    assert why(agent, "writer")["ready"]["since"] == "2025-10-09T08:53:20.500Z"


def test_what_passed_has_no_reason() -> None:
    assert {gate["reason"] for gate in why(healthy(), "writer").values()} == {None}
