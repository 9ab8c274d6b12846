"""`config haproxy|keepalived|hetzner|prometheus`: gathers the nodes and the settings, and prints what fits them.

The nodes come from --node, else from `peers` and this node, else from Galera's list: that of the running daemon, and
where none answers, that of the server itself.
"""

import argparse
import asyncio
import json
import pwd
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

from healthagent import budget, nodes
from healthagent.client import NoAnswerError, ask
from healthagent.config import Config, load
from healthagent.document import default_path
from healthagent.errors import AskedWrongError, UnreachableError
from healthagent.kinds import address, spoken
from healthagent.nodes import Node
from healthagent.policy import Topology
from healthagent.probe import Probe
from healthagent.recipe_haproxy import haproxy_text
from healthagent.recipe_hetzner import hetzner_text
from healthagent.recipe_keepalived import TRACK, Address, keepalived_text
from healthagent.recipe_prometheus import prometheus_text

__all__ = ["haproxy", "hetzner", "keepalived", "prometheus"]

WRITTEN_BY = "Written by `healthagent config {command}`: print it anew when nodes or settings change."


def haproxy(arguments: argparse.Namespace) -> int:
    """A writer with backups, and readers by weight."""
    config, agent = _settings(arguments)
    plan = budget.haproxy(agent, arguments.detect_within)
    found, source = _nodes(arguments, config)
    readers = [entry for entry in config.agent_ports if entry.role == "reader"]
    port = next((entry.port for entry in readers if _reached(entry.host, _far(found))), None)
    head = _head("haproxy", arguments.detect_within, plan.parts, agent, "HAProxy", source)
    print(haproxy_text(found, plan, head, reader_port=port), end="")
    return 0


def keepalived(arguments: argparse.Namespace) -> int:
    """An address that follows the writer, for this node."""
    config, agent = _settings(arguments)
    plan = budget.keepalived(agent, arguments.detect_within)
    found, source = _nodes(arguments, config, by_http=False)
    if len(found) < 2:
        raise AskedWrongError(f"an address can only move between two nodes or more, and {found[0].name} is alone")
    if len({ip_interface(text).version for text in (arguments.vip, *(node.address for node in found))}) > 1:
        raise AskedWrongError("--vip and the addresses of the nodes must all be IPv4, or all IPv6")
    if str(ip_interface(arguments.vip).ip) in [node.address for node in found]:
        raise AskedWrongError(f"--vip {arguments.vip}: a node has this address; it must be one that no node has")
    where = Address(
        vip=arguments.vip, interface=arguments.interface, router_id=arguments.router_id, priority=arguments.priority
    )
    head = _head("keepalived", arguments.detect_within, plan.parts, agent, "keepalived", source)
    text = keepalived_text(
        found,
        _this(found, arguments.this),
        where,
        plan,
        head,
        program=_program(),
        socket=arguments.socket or config.control.socket,
        user=_script_user(),
        tracked=TRACK in config.track_files,
    )
    print(text, end="")
    return 0


def hetzner(arguments: argparse.Namespace) -> int:
    """hcloud commands: writes on port 3306 of the load balancer, reads on 3307."""
    config, agent = _settings(arguments)
    plan = budget.hetzner(agent, arguments.detect_within)
    found, source = _nodes(arguments, config)
    if len({(node.port, node.agent_port) for node in found}) > 1:
        raise AskedWrongError("a Hetzner service has one port for all its targets: these nodes have different ones")
    head = _head("hetzner", arguments.detect_within, plan.parts, agent, "Hetzner", source)
    one_writer = config.policy.topology in (Topology.ASYNC, Topology.STANDALONE)
    print(hetzner_text(found, plan, head, one_writer=one_writer), end="")
    return 0


def prometheus(arguments: argparse.Namespace) -> int:
    """All agents as targets of one job, with the name of their cluster."""
    config, agent = _settings(arguments)
    plan = budget.prometheus(agent, arguments.detect_within)
    found, source = _nodes(arguments, config)
    head = _head("prometheus", arguments.detect_within, plan.parts, agent, "Prometheus", source)
    print(prometheus_text(found, plan, head, cluster=arguments.cluster), end="")
    return 0


def _settings(arguments: argparse.Namespace) -> tuple[Config, budget.Agent]:
    config = load(arguments.config or default_path())
    return config, budget.Agent(interval_seconds=config.interval_seconds, timeout_seconds=config.timeout_seconds)


def _head(
    command: str, within: float, parts: tuple[budget.Part, ...], agent: budget.Agent, balancer: str, source: str
) -> list[str]:
    """What stands on top of the file: the budget, with its parts."""
    interval, timeout = spoken(agent.interval_seconds), spoken(agent.timeout_seconds)
    return [
        WRITTEN_BY.format(command=command),
        f"Nodes: {source}.",
        "",
        f"Detection budget: {spoken(within)} asked for, {spoken(budget.reached(parts))} reached.",
        *(f"  {line}" for line in budget.table(parts, balancer)),
        f"The agent's part is for the worst moment and the slowest answer (probe.interval {interval}, probe.timeout",
        f"{timeout}); where the server answers at once, it says so within {spoken(agent.prompt)}. What has to last",
        "before it counts, such as lag or a queue, lasts longer by that: docs/gates.md says how long.",
        "",
    ]


# --- the nodes -------------------------------------------------------------------------------------------------------


def _nodes(arguments: argparse.Namespace, config: Config, *, by_http: bool = True) -> tuple[tuple[Node, ...], str]:
    """The nodes, and where they come from, for the head. `by_http`: their agents must be reached from outside."""
    if arguments.node:
        for what in ("name", "address"):
            if len({getattr(node, what) for node in arguments.node}) < len(arguments.node):
                raise AskedWrongError(f"--node: two nodes have the same {what}")
        return _with_agents(arguments.node, config) if by_http else tuple(arguments.node), "named by --node"
    if config.peers:
        own, agent_port = _own_agent(config)
        found = nodes.of_peers(own, agent_port, config.peers, _database_port(config))
        return found, "this one and the `peers` of its configuration"
    members = nodes.of_members(_incoming(arguments, config))
    if by_http:
        members = _with_agents(members, config)
    return members, "the members of the cluster when this was printed; one that was away then is missing"


def _with_agents(found: Sequence[Node], config: Config) -> tuple[Node, ...]:
    """With the port of this node's agent, for all of them."""
    _, port = _listener(config, _far(found))
    return tuple(replace(node, agent_port=port) for node in found)


def _far(found: Sequence[Node]) -> str:
    """An address that another machine has, if there is one: balancers are there, too."""
    return next((node.address for node in found if not ip_address(node.address).is_loopback), found[0].address)


def _listener(config: Config, beside: str) -> tuple[str, int]:
    """The entry of http.listen that a balancer finds from there."""
    found = next((place for place in config.listen if _reached(place[0], beside)), None)
    if found is None:
        host = config.listen[0][0]
        raise AskedWrongError(f"http.listen: no balancer beside {beside} reaches {host}: listen elsewhere, too")
    return found


def _reached(listens: str, beside: str) -> bool:
    """Whether what listens there is found from beside that address: a loopback one is on its own machine alone."""
    return ip_address(listens).is_unspecified or ip_address(listens).is_loopback is ip_address(beside).is_loopback


def _own_agent(config: Config) -> tuple[str, int]:
    """Where the peers find this node: the address it listens on, or the one that the kernel uses towards them."""
    peer, _ = address(config.peers[0].removeprefix("http://"))
    host, port = _listener(config, peer)
    if not ip_address(host).is_unspecified:
        return host, port
    try:
        return _source(peer), port
    except OSError as error:
        raise AskedWrongError(f"no way to the peer {peer} ({error.strerror}): {nodes.BY_HAND}") from error


def _source(host: str) -> str:
    """The address that the kernel would send from to that one: the same one, if it is this machine's."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # of a datagram socket this sends nothing
        return str(probe.getsockname()[0])


def _database_port(config: Config) -> int:
    return nodes.DATABASE_PORT if config.login.socket else config.login.port


def _incoming(arguments: argparse.Namespace, config: Config) -> list[str]:
    """Galera's list of its members, as the daemon or the server has it; a node without quorum has its side alone."""
    path = arguments.socket or config.control.socket
    try:
        state = json.loads(ask(str(path), "/state").body)
        galera, unseen = state["galera"], None if state["server"] else state["state"]
        found = (galera["cluster_status"], [str(entry) for entry in galera["incoming_addresses"]]) if galera else None
        who = f"the agent behind {path}"
    except NoAnswerError as error:
        if arguments.socket is not None:
            raise UnreachableError(str(error)) from error
        found, unseen = asyncio.run(_probed(config)), None
        who = f"the server behind {config.login.where}"
    except (ValueError, TypeError, KeyError) as error:
        raise UnreachableError(f"{path}: what answers there is no agent, or one of another version") from error
    if unseen is not None:
        raise AskedWrongError(
            f"no nodes are known, {who} has not seen its server yet (state {unseen}): see to that, or {_what_to_do()}"
        )
    if found is None:
        raise AskedWrongError(f"no nodes are known, {who} is in no Galera cluster: {_what_to_do()}")
    if found[0] != "Primary":
        raise AskedWrongError(f"{who} is not in the primary component, and does not know all nodes: {_what_to_do()}")
    return found[1]


async def _probed(config: Config) -> tuple[str | None, list[str]] | None:
    """Status of the component and members, by one probe; None outside Galera."""
    probe = Probe(config.login, timeout_seconds=config.timeout_seconds)
    try:
        snapshot = await probe.sample()
    finally:
        await probe.close()
    if snapshot.failure is not None:
        why = f"no agent answers, nor does the server ({snapshot.failure.message})"
        raise AskedWrongError(f"no nodes are known, {why}: {_what_to_do()}")
    galera = snapshot.galera
    return None if galera is None else (galera.cluster_status, list(galera.incoming_addresses))


def _what_to_do() -> str:
    return f"put the other nodes' agents into peers, or {nodes.BY_HAND}"


# --- this node -------------------------------------------------------------------------------------------------------


def _this(found: Sequence[Node], name: str | None) -> Node:
    """The node that this machine is: the one with an address of this machine."""
    if name is not None:
        chosen = [node for node in found if name in (node.name, node.address)]
    else:
        chosen = [node for node in found if _is_local(node.address)]
    if len(chosen) != 1:
        names = ", ".join(f"{node.name} ({node.address})" for node in found)
        why = f"no node is called {name}" if name else f"{len(chosen)} of the nodes have an address of this machine"
        raise AskedWrongError(f"{why}: say which one it is by --this NAME, out of {names}")
    return chosen[0]


def _is_local(host: str) -> bool:
    try:
        return _source(host) == host
    except OSError:  # no way there
        return False


def _program() -> str:
    """keepalived has no PATH, and runs nothing that others than root could write."""
    started = Path(sys.argv[0])
    if started.name == "healthagent" and started.is_file():
        return str(started.resolve())
    return shutil.which("healthagent") or "/usr/bin/healthagent"


def _script_user() -> str:
    """Who may ask the daemon by its control socket: its own user, where there is one."""
    try:
        return pwd.getpwnam("healthagent").pw_name
    except KeyError:
        return "root"
