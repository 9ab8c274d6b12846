"""The nodes and the intervals -> a configuration for HAProxy. Values in, text out. haproxy-examples tell more."""

from collections.abc import Iterable, Sequence

from healthagent.budget import HAProxyPlan
from healthagent.kinds import spoken_address
from healthagent.nodes import Node

__all__ = ["haproxy_text"]

FILE = """\
global
    # This balancer's name in "peers" below: another one on each balancer.
    localpeer lb1
    log /dev/log local0

defaults
    mode tcp
    log global
    # One log line for each server that changes, with the agent's reason.
    option log-health-checks
    option clitcpka
    option srvtcpka
    timeout connect 2s
    # Not shorter than MariaDB's wait_timeout (8 h).
    timeout client 8h
    timeout server 8h
    timeout check {check}ms
    default-server check port {agent_port} inter {inter}ms fastinter {fastinter}ms downinter {inter}ms fall 2 rise 2

# The balancers tell each other which server is the writer; a single one passes it on to itself at a reload.
peers balancers
    peer lb1 127.0.0.1:10000
    # peer lb2 192.0.2.6:10000

# Adapt the addresses that applications connect to.
frontend writer
    bind 127.0.0.1:3307
    default_backend writer

frontend reader
    bind 127.0.0.1:3308
    default_backend reader

# All writes go to ONE node: the first that is up, and to that one for as long as it is up (the table of one entry).
backend writer
    option httpchk
    http-check send meth GET uri /writer ver HTTP/1.1 hdr Host healthagent
    http-check expect status 200
    stick-table type integer size 1k nopurge peers balancers
    stick on int(1)
    default-server on-marked-down shutdown-sessions
{writers}

# Reads go to all nodes{by_weight}.
backend reader
    balance {balance}
    option redispatch
    option httpchk
    http-check send meth GET uri /reader ver HTTP/1.1 hdr Host healthagent
    http-check expect status 200
{weights}{readers}

# A page for people, with the agent's reasons.
frontend stats
    mode http
    bind 127.0.0.1:8404
    timeout client 10s
    stats enable
    stats uri /
    stats refresh 2s
"""
WEIGHTS = """\
    # The share that each can take at the moment. agent-check never stands alone: without an answer HAProxy goes on with
    # the last one, for ever. weight 100: the percentage is taken of it and rounded down.
    # agent-port is the one of the agent that printed this; where another node's is not, say so at its server.
    default-server agent-check agent-port {port} agent-inter {inter}ms weight 100
"""


def haproxy_text(nodes: Sequence[Node], plan: HAProxyPlan, head: Iterable[str], *, reader_port: int | None) -> str:
    """A complete file: a writer with backups, and readers. `reader_port`: agent-check for the role reader; None: no
    weights. `head` is said on top, as comments.
    """
    # the agent's port of most; others are named at their server
    ports = [node.agent_port for node in nodes]
    usual = max(ports, key=ports.count)
    servers = [_server(node, usual) for node in nodes]
    weighed = reader_port is not None
    return _comment(head) + FILE.format(
        check=plan.check,
        inter=plan.inter,
        fastinter=plan.fastinter,
        agent_port=usual,
        by_weight=", by their weights" if weighed else "",
        balance="roundrobin" if weighed else "leastconn",
        weights=WEIGHTS.format(port=reader_port, inter=plan.inter) if weighed else "",
        writers="\n".join([servers[0], *(f"{server} backup" for server in servers[1:])]),
        readers="\n".join(servers),
    )


def _server(node: Node, usual: int) -> str:
    port = "" if node.agent_port == usual else f" port {node.agent_port}"
    return f"    server {node.name} {spoken_address(node.address, node.port)}{port}"


def _comment(lines: Iterable[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
