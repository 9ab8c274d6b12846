"""What an agent says of its node, in the words of a balancer."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import Agent, LabError, wait_until
from tests.figures import measured as measured

ROLES = ("any", "writer", "reader")


def says(agent: Agent, role: str) -> str:
    """`200` or `503 reason`: status and reason phrase, which is what HAProxy shows."""
    answer = agent.get(f"/{role}")
    return "200" if answer.status == 200 else f"{answer.status} {answer.reason}"


def state(agent: Agent) -> dict[str, Any]:
    document: dict[str, Any] = agent.get("/state").json()
    return document


def weight(agent: Agent, role: str) -> int:
    return int(agent.get(f"/{role}").headers["x-healthagent-weight"])


@contextmanager
def reloaded(agent: Agent, **overrides: Any) -> Iterator[None]:
    """The agent with other settings, told by SIGHUP; those of before afterwards."""
    before = agent.config
    agent.configure(**overrides)
    _reload(agent)
    try:
        yield
    finally:
        agent.config = before
        agent.configure()
        _reload(agent)


def _reload(agent: Agent) -> None:
    def said() -> int:
        return sum(" reloaded: " in line for line in agent.log_lines())

    told = said()
    agent.signal(signal.SIGHUP)
    wait_until(lambda: said() > told, 5, "reloaded", logs=[agent.log])


def expect(
    agent: Agent,
    *,
    any: str,
    writer: str,
    reader: str,
    synced: str | None = None,
    is_state: str | None = None,
    within: float = 8,
) -> float:
    """Waits until the agent says all of this at once; how many milliseconds that took."""
    wanted = {"any": any, "writer": writer, "reader": reader}
    if synced is not None:
        wanted["synced"] = synced
    if is_state is not None:
        wanted["state"] = is_state
    started = time.monotonic()
    heard: dict[str, str] = {}

    def reached() -> bool:
        heard.update({role: says(agent, role) for role in wanted if role != "state"})
        if is_state is not None:
            heard["state"] = state(agent)["state"]
        return heard == wanted

    try:
        wait_until(reached, within, f"{agent!r} says {wanted}")
    except LabError as error:
        raise AssertionError(f"{error}\nit says {heard}\n{agent.get('/state').body}") from None
    return 1000 * (time.monotonic() - started)


def down_everywhere(agent: Agent, reason: str, *, within: float = 8) -> float:
    """Every role 503 with this reason first, and the node's state is the one of that name."""
    said = f"503 {reason}"
    return expect(agent, any=said, writer=said, reader=said, synced=said, is_state=reason, within=within)


def up_everywhere(agent: Agent, *, within: float = 30) -> float:
    return expect(agent, any="200", writer="200", reader="200", within=within)


def replicating(agent: Agent, *, within: float = 8) -> float:
    """A replica that is well and read-only."""
    return expect(
        agent,
        any="200",
        writer="503 read_only",
        reader="200",
        synced="503 not_galera",
        is_state="replica",
        within=within,
    )


def gate(agent: Agent, role: str, name: str) -> dict[str, Any]:
    """What /why says of that gate of the role."""
    gates: list[dict[str, Any]] = agent.get(f"/why?role={role}").json()
    return next(gate for gate in gates if gate.get("gate") == name)
