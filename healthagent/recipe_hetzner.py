"""The nodes and the intervals -> hcloud commands for a Hetzner load balancer. hetzner-examples tell more."""

from collections.abc import Iterable, Sequence

from healthagent.budget import HetznerPlan
from healthagent.nodes import Node

__all__ = ["hetzner_text"]

FILE = """\
# Names as `hcloud` knows them: adapt them here. (Dedicated servers in a vSwitch have none: add-target --ip ADDRESS.)
balancer=mariadb
network=private
zone=eu-central
servers=({names})  # {addresses}
set -euo pipefail

# Before anything is made: are all of them there?
hcloud network describe "$network" >/dev/null
for server in "${{servers[@]}}"; do hcloud server describe "$server" >/dev/null; done

# Sessions last: least_connections evens out what round_robin would not. There are no weights.
hcloud load-balancer create --name "$balancer" --type lb11 --network-zone "$zone" --algorithm-type least_connections
hcloud load-balancer attach-to-network --network "$network" "$balancer"
# A database has no business on the internet.
hcloud load-balancer disable-public-interface "$balancer"

# A service is checked by a connect to its own port until update-service says otherwise, and MariaDB counts connects
# that do not log in: so the targets come last, when the checks are right.
{services}
# The balancer sends traffic to a new target before its first check: add a node only when it is well.
for server in "${{servers[@]}}"; do
    hcloud load-balancer add-target "$balancer" --server "$server" --use-private-ip
done
"""
SERVICE = """\
hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port {listen} --destination-port {port}
hcloud load-balancer update-service "$balancer" --listen-port {listen} \\
    --health-check-protocol http --health-check-port {agent_port} \\
    --health-check-http-path /{role} --health-check-http-status-codes 200 \\
    --health-check-interval {interval}s --health-check-timeout {timeout}s --health-check-retries {retries}
"""
WARNING = """\
ATTENTION: port 3306 leads to every node that says 200 to /writer. In a Galera cluster without an elected writer that
is every healthy one: sessions that change the same rows on two nodes end in a deadlock error (1213) for one of them.
For a single writer put HAProxy nodes behind the load balancer instead (`healthagent config haproxy`). In a replicating
pair only the primary is writable, and all is well.
"""


def hetzner_text(nodes: Sequence[Node], plan: HetznerPlan, head: Iterable[str], *, one_writer: bool) -> str:
    """A shell script: writes on port 3306, reads on 3307. `one_writer`: there cannot be more, as in replication."""
    first = nodes[0]
    said = [*head, *([] if one_writer else [*WARNING.splitlines(), ""])]
    services = (
        SERVICE.format(
            listen=listen,
            port=first.port,
            agent_port=first.agent_port,
            role=role,
            interval=plan.interval,
            timeout=plan.timeout,
            retries=plan.retries,
        )
        for listen, role in ((3306, "writer"), (3307, "reader"))
    )
    return (
        "#!/usr/bin/env bash\n"
        + "".join(f"# {line}".rstrip() + "\n" for line in said)
        + FILE.format(
            names=" ".join(node.name for node in nodes),
            addresses=", ".join(node.address for node in nodes),
            services="".join(services),
        )
    )
