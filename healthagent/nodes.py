"""Which nodes there are: given by hand, by the peers of the configuration, or by Galera's own list. Values only."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import pairwise

from healthagent.errors import AskedWrongError
from healthagent.kinds import address, shown

__all__ = ["AGENT_PORT", "DATABASE_PORT", "Node", "given", "named", "of_members", "of_peers"]

DATABASE_PORT, AGENT_PORT = 3306, 9200
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")  # a server for HAProxy and for Hetzner
NODE_IS = "must be a name and an IP address, such as db1=10.0.0.11 or db1=10.0.0.11:3306"
BY_HAND = "name the nodes: --node db1=10.0.0.11 --node db2=10.0.0.12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A database and the agent beside it: one IP address, two ports."""

    name: str
    address: str
    port: int = DATABASE_PORT
    agent_port: int = AGENT_PORT


def given(text: str, agent_port: int = AGENT_PORT) -> Node:
    """`db1=10.0.0.11`, `db1=10.0.0.11:3307`, `db1=[fd00::11]:3306`; ValueError with what would be right."""
    name, equals, place = text.partition("=")
    if not equals or not NAME.fullmatch(name):
        raise ValueError(NODE_IS)
    try:
        host, port = _place(place)
    except ValueError:
        raise ValueError(NODE_IS) from None
    return Node(name=name, address=host, port=port, agent_port=agent_port)


def of_peers(own: str, own_agent_port: int, peers: Sequence[str], port: int = DATABASE_PORT) -> tuple[Node, ...]:
    """This node, whose address is `own`, and those of the peers' URLs, which may name it too."""
    agents = {(own, own_agent_port), *(address(url.removeprefix("http://")) for url in peers)}
    return named(Node(name="", address=host, port=port, agent_port=agent) for host, agent in agents)


def of_members(incoming: Sequence[str], agent_port: int = AGENT_PORT) -> tuple[Node, ...]:
    """The nodes of wsrep_incoming_addresses. An arbitrator's entry is empty there: it is no node."""
    found = []
    for entry in filter(None, incoming):
        try:
            host, port = _place(entry)
        except ValueError:
            # what a server says that does not know its own address, because nobody has told it
            raise AskedWrongError(
                f"a member of the cluster has told it the address {shown(entry)}, which is no IP address: "
                f"set wsrep_node_address on that server, or {BY_HAND}"
            ) from None
        found.append(Node(name="", address=host, port=port, agent_port=agent_port))
    if not found:
        raise AskedWrongError(f"no member of the cluster has told it an address: {BY_HAND}")
    return named(found)


def named(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """n1, n2 ... by address: whichever node prints the file, it is the same, and so is the order of its servers."""
    ordered = sorted(nodes, key=lambda node: (ip_address(node.address).version, int(ip_address(node.address))))
    for one, other in pairwise(ordered):
        if one.address == other.address:
            raise AskedWrongError(
                f"two nodes have the address {one.address}: which agent answers for which is not known"
            )
    return tuple(replace(node, name=f"n{number}") for number, node in enumerate(ordered, start=1))


def _place(text: str) -> tuple[str, int]:
    """IP address and port, 3306 where none is written. ValueError for all else: a zone (fe80::1%eth0), any address."""
    try:
        host, port = str(ip_address(text)), DATABASE_PORT
    except ValueError:
        host, port = address(text)
    if ip_address(host).is_unspecified or "%" in host:
        raise ValueError
    return host, port
