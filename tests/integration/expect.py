"""What an agent says of its node, in the words of a balancer."""

import time
from typing import Any

from lab import Agent, LabError, wait_until

# Shown at the end of the test run: what was measured, for people.
FIGURES: list[str] = []

ROLES = ("any", "writer", "reader")


def says(agent: Agent, role: str) -> str:
    """`200` or `503 reason`: status and reason phrase, which is what HAProxy shows."""
    answer = agent.get(f"/{role}")
    return "200" if answer.status == 200 else f"{answer.status} {answer.reason}"


def state(agent: Agent) -> dict[str, Any]:
    document: dict[str, Any] = agent.get("/state").json()
    return document


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


def measured(text: str) -> None:
    FIGURES.append(text)
