"""What the agent costs the server, and what it takes itself: `lab/enter python -m benchmarks.cost`.

Each round has three parts: without the agent, with it at rest, and with it while it is asked. A difference is that of
two parts of one round. CPU times are the kernel's own of the whole process, to the nanosecond; a server does some work
of its own, hence the part without the agent.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.knocking import knock
from benchmarks.machine import cpu_seconds, on_client_cpu, tree
from benchmarks.report import Section, markdown, spread
from benchmarks.rivals import UVLOOP, agent_beside, builds, questions, wait_up
from lab import Agent, Galera, MariaDB, Pair, sql

__all__ = ["sections"]

ROUNDS = 5
SECONDS = 5.0
SETTLE_SECONDS = 1.0  # after the first verdict: what is read once, and the first connections
RATE = 5000
COLUMNS = (
    "server",
    "agent",
    "statements/s",
    "server's CPU, % of a core",
    "more than without",
    "agent's CPU, % of a core",
    "agent's RSS MiB",
    "its connections",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a round; shares are of one core."""

    statements_per_second: float
    server_share: float
    agent_share: float = 0.0
    rss_mib: float = 0.0
    connections: int = 0


def part(server: MariaDB, agent: Agent | None, path: str | None) -> Part:
    """So many seconds, with checks of `path` meanwhile unless it is None."""
    with server.client() as client:
        return _part(server, client, agent, path)


def _part(server: MariaDB, client: sql.Connection, agent: Agent | None, path: str | None) -> Part:
    processes = tree(agent.pid) if agent else []
    statements, began = questions(client), time.monotonic()
    server_cpu, agent_cpu = cpu_seconds(server.pid), sum(map(cpu_seconds, processes))
    if path is None:
        time.sleep(SECONDS)
    else:
        knock(9200, seconds=SECONDS, rate=RATE, path=path, address=server.address)
    seconds = time.monotonic() - began
    server_cpu, agent_cpu = cpu_seconds(server.pid) - server_cpu, sum(map(cpu_seconds, processes)) - agent_cpu
    return Part(
        # what asks for the counter is one itself
        statements_per_second=(questions(client) - statements - 1) / seconds,
        server_share=server_cpu / seconds,
        agent_share=agent_cpu / seconds,
        rss_mib=sum(map(rss_mib, processes)),
        connections=connections(client) if agent else 0,
    )


def connections(client: sql.Connection) -> int:
    """All but the one that asks, replication and the server's own threads: the agent is the only client."""
    statement = (
        "SELECT id FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'repl', 'event_scheduler')"
    )
    return len(sql.rows(client, statement))


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0]) / 1024


def measured(server: MariaDB, path: str) -> list[tuple[Part, Part, Part]]:
    found = []
    for _ in range(ROUNDS):
        away = part(server, None, None)
        with agent_beside(server, UVLOOP).start() as agent:
            wait_up([agent], path)
            time.sleep(SETTLE_SECONDS)
            found.append((away, part(server, agent, None), part(server, agent, path)))
    return found


def rows(name: str, found: Sequence[tuple[Part, Part, Part]]) -> Iterator[tuple[str, ...]]:
    for number, what in enumerate(("none", "at rest", f"{RATE:,} checks/s")):
        parts = [of_round[number] for of_round in found]
        more = [100 * (of_round[number].server_share - of_round[0].server_share) for of_round in found]
        with_agent = (
            spread(more, "{:.2f}"),
            spread([100 * each.agent_share for each in parts]),
            f"{median(each.rss_mib for each in parts):.1f}",
            f"{max(each.connections for each in parts)}",
        )
        yield (
            name,
            what,
            spread([each.statements_per_second for each in parts], "{:.1f}"),
            spread([100 * each.server_share for each in parts]),
            *(with_agent if number else ("", "", "", "")),
        )


def sections() -> list[Section]:
    """The table of this subject."""
    builds()
    table: list[tuple[str, ...]] = []
    with on_client_cpu(), Galera(1) as cluster:
        cluster.start()
        table += rows("Galera node", measured(cluster.nodes[0], "/writer"))
    with on_client_cpu(), Pair() as pair:
        pair.start()
        table += rows("replica", measured(pair.replica, "/reader"))
    return [
        Section(
            title="Cost",
            method=f"{ROUNDS} rounds of three parts of {SECONDS:g} s: without an agent, with one at rest, and one "
            f"that is asked {RATE:,} times a second, a new connection each. The database does nothing else. Statements "
            "by the server's own counter `Questions`, the agent's RSS with its helpers.",
            columns=COLUMNS,
            rows=tuple(table),
        )
    ]


if __name__ == "__main__":
    print(markdown(sections()))
