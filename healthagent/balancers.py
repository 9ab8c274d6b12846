"""What HAProxy says of this node with its checks (`http-check send-state`). It is shown and decides nothing.

Anybody can send that header: so what is kept is bounded in number and length, is printable, and is soon forgotten.
"""

import re
from dataclasses import dataclass

__all__ = ["FORGOTTEN_SECONDS", "MOST", "Balancers", "Heard", "Opinion", "opinion"]

MOST = 64  # pairs of a balancer and a server of it: far more than one node has
FORGOTTEN_SECONDS = 60.0  # slower than that nobody checks a database
CHARACTERS = 512
STATE = re.compile(r"(?:UP|DOWN|NOLB)(?: [0-9]{1,9}/[0-9]{1,9})?|no check")
PAIR = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a balancer thinks of one server: `name` is backend/server, `state` as HAProxy spells it, such as
    `DOWN 1/2`; weights and sessions of that server and of its whole backend.
    """

    node: str
    name: str
    state: str
    weight: int
    weight_total: int
    sessions: int
    sessions_total: int
    queue: int


def opinion(header: str) -> Opinion | None:
    """`UP; address=..; port=..; name=backend/server; node=lb1; weight=1/3; scur=0/7; qcur=0`; None: it is no such."""
    if len(header) > CHARACTERS or not (header.isascii() and header.isprintable()):
        return None
    state, *pairs = header.split("; ")
    said = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    weight, sessions = PAIR.fullmatch(said.get("weight", "")), PAIR.fullmatch(said.get("scur", ""))
    queue, name, node = said.get("qcur", ""), said.get("name", ""), said.get("node", "")
    if not (STATE.fullmatch(state) and weight and sessions and NUMBER.fullmatch(queue) and name and node):
        return None
    return Opinion(
        node=node,
        name=name,
        state=state,
        weight=int(weight[1]),
        weight_total=int(weight[2]),
        sessions=int(sessions[1]),
        sessions_total=int(sessions[2]),
        queue=int(queue),
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """`peer`: the address that the check came from; `role`: what it asked for; `at`: seconds of the agent's clock."""

    peer: str
    role: str
    at: float
    opinion: Opinion


class Balancers:
    """The last opinion of each balancer about each of its servers, the one heard longest ago first."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str, str], Heard] = {}

    def hear(self, peer: str, role: str, header: str, now: float) -> None:
        """Takes the header of one check; one that is malformed is ignored."""
        found = opinion(header)
        if found is None:
            return
        key = (peer, found.node, found.name)
        self._heard.pop(key, None)
        self._heard[key] = Heard(peer, role, now, found)
        if len(self._heard) > MOST:
            del self._heard[next(iter(self._heard))]

    def known(self, now: float) -> tuple[Heard, ...]:
        """Those that are not forgotten yet, in the order of their names."""
        fresh = {key: heard for key, heard in self._heard.items() if now - heard.at <= FORGOTTEN_SECONDS}
        self._heard = fresh
        return tuple(fresh[key] for key in sorted(fresh))
