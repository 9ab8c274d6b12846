"""How fast checks are answered, beside nginx and a shell check: `lab/enter python -m benchmarks.load`.

Every server is pinned to one processor and the client to another; the database, which the agents go on probing, is on
the client's. A round asks each server once, one after the other, and a ratio is that of two runs of one round.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.knocking import AT_ONCE, Asked, knock, wrk
from benchmarks.machine import on_client_cpu
from benchmarks.report import Section, markdown, spread
from benchmarks.rivals import (
    STOCK,
    UVLOOP,
    Build,
    Clustercheck,
    Nginx,
    agent_beside,
    builds,
    busy_seconds,
    loop_of,
    questions,
    wait_up,
)
from lab import Agent, Galera, GaleraNode, Process

__all__ = ["sections"]

ROUNDS = 5
SECONDS = 2
RATE = 5000
SLOW_SECONDS = 3
PORTS = {UVLOOP: 9200, STOCK: 9210}
AGENT_CHECK_PORTS = {UVLOOP: 9201, STOCK: 9211}

Ask = Callable[[], Asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One server in one round."""

    asked: Asked
    cpu_seconds: float
    queries: int

    @property
    def cpu_ms_per_1000(self) -> float:
        return 1e6 * self.cpu_seconds / self.asked.checks


def measured(server: Process, ask: Ask, node: GaleraNode) -> Run:
    """What the server spent, and what the database was asked meanwhile by whomever."""
    with node.client() as client:
        queries, spent = questions(client), busy_seconds(server)
        asked = ask()
        return Run(asked=asked, cpu_seconds=busy_seconds(server) - spent, queries=questions(client) - queries - 1)


def rounds(servers: Mapping[str, tuple[Process, Ask]], node: GaleraNode) -> dict[str, list[Run]]:
    """All servers in turn, so many times; each round begins with another one."""
    names, found = list(servers), {name: list[Run]() for name in servers}
    for number in range(ROUNDS):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            server, ask = servers[name]
            found[name].append(measured(server, ask, node))
    return found


def table(title: str, method: str, found: Mapping[str, Sequence[Run]], limit: str = "nginx") -> Section:
    """Absolute figures as medians, and the ratios to `limit` of each round."""
    rows = []
    for name, runs in found.items():
        pairs = list(zip(runs, found[limit], strict=True))
        p50, p99 = (median(times) / 1000 for times in ([r.asked.p50_us for r in runs], [r.asked.p99_us for r in runs]))
        cells = [
            name,
            f"{median(run.asked.rate for run in runs):,.0f}",
            ratios([run.asked.rate / of.asked.rate for run, of in pairs]),
            f"{100 * median(run.cpu_seconds / run.asked.seconds for run in runs):.0f} %",
            f"{median(run.cpu_ms_per_1000 for run in runs):,.1f}",
            ratios([run.cpu_ms_per_1000 / of.cpu_ms_per_1000 for run, of in pairs]),
            f"{p50:.2f} / {p99:.2f}",
            ratios([run.asked.p99_us / of.asked.p99_us for run, of in pairs]),
            f"{median(run.queries / run.asked.checks for run in runs):.4f}",
        ]
        rows.append(tuple(cells))
    return Section(title=title, method=method, columns=COLUMNS, rows=tuple(rows))


def ratios(values: Sequence[float]) -> str:
    middle = median(values)
    return spread(values, "{:,.0f}" if middle >= 100 else "{:.2f}" if middle >= 0.1 else "{:.4f}")


COLUMNS = (
    "server",
    "checks/s",
    "ratio",
    "core busy",
    "CPU ms / 1000 checks",
    "ratio",
    "p50 / p99 ms",
    "ratio of p99",
    "queries / check",
)


class Stand:
    """The servers that are asked, all of them up; `stack` ends them."""

    def __init__(self, stack: ExitStack) -> None:
        cluster = stack.enter_context(Galera(1))
        cluster.start()
        self.node = cluster.nodes[0]
        self.agents = {build: stack.enter_context(self._agent(build)).start() for build in builds()}
        wait_up(list(self.agents.values()))
        self.nginx = stack.enter_context(Nginx(self.agents[UVLOOP].get("/writer"))).start()
        self.sizes = self.nginx.as_large_as(PORTS[UVLOOP])
        self.clustercheck = stack.enter_context(Clustercheck(self.node)).start()

    def _agent(self, build: Build) -> Agent:
        port = AGENT_CHECK_PORTS[build]
        return agent_beside(
            self.node, build, port=PORTS[build], agent_check={"listen": {f"127.0.0.1:{port}": "writer"}}
        )

    def _name(self, build: Build) -> str:
        loops = [loop_of(agent) for agent in self.agents.values()]
        name = f"healthagent, {loop_of(self.agents[build])}"
        return name if len(set(loops)) == len(loops) else f"{name} (venv {build.name})"

    def http(self, ask: Callable[[int], Asked]) -> dict[str, list[Run]]:
        return self._rounds(ask, Nginx.HTTP, PORTS)

    def agent_check(self, ask: Callable[[int], Asked]) -> dict[str, list[Run]]:
        return self._rounds(ask, Nginx.STREAM, AGENT_CHECK_PORTS)

    def _rounds(self, ask: Callable[[int], Asked], port: int, ports: Mapping[Build, int]) -> dict[str, list[Run]]:
        servers: dict[str, tuple[Process, Ask]] = {"nginx": (self.nginx, partial(ask, port))}
        for build, agent in self.agents.items():
            servers[self._name(build)] = (agent, partial(ask, ports[build]))
        return rounds(servers, self.node)

    def shell(self, ask: Callable[[int], Asked]) -> dict[str, list[Run]]:
        servers: dict[str, tuple[Process, Ask]] = {
            "nginx": (self.nginx, partial(ask, Nginx.HTTP)),
            "clustercheck under xinetd": (self.clustercheck, partial(ask, Clustercheck.PORT)),
        }
        return rounds(servers, self.node)


def sections() -> list[Section]:
    """The tables of this subject; LabError where something does not answer as it must."""
    with on_client_cpu(), ExitStack() as stack:
        stand = Stand(stack)
        return [
            table(
                "HTTP, a new connection for each check",
                f"`knock`, {AT_ONCE} at once, GET /writer with `Connection: close`, read to its end. nginx answers "
                f"{stand.sizes[0]} bytes, the agent {stand.sizes[1]}.",
                stand.http(partial(knock, seconds=SECONDS)),
            ),
            table(
                "HTTP, a new connection for each check, by wrk",
                f"`wrk -t1 -c{AT_ONCE} -H 'Connection: close'`: another client, the same question.",
                stand.http(partial(wrk, seconds=SECONDS)),
            ),
            table(
                "HTTP, kept connections",
                f"`knock -k`, {AT_ONCE} connections, the next request when the answer is there.",
                stand.http(partial(knock, seconds=SECONDS, keep=True)),
            ),
            table(
                f"HTTP, {RATE:,} new connections a second",
                "`knock -r`: each check is timed from the moment when it was due, so that none waits unseen.",
                stand.http(partial(knock, seconds=SLOW_SECONDS, rate=RATE)),
            ),
            table(
                "agent-check",
                f"`knock`, {AT_ONCE} at once, nothing sent, read to its end; nginx: `stream {{ return }}`.",
                stand.agent_check(partial(knock, seconds=SECONDS, speaks_first=True)),
            ),
            table(
                "A shell check under xinetd",
                f"`knock`, {AT_ONCE} at once, a new connection for each check. A check is two clients, each with one "
                "query and what it asks by itself.",
                stand.shell(partial(knock, seconds=SECONDS)),
            ),
        ]


if __name__ == "__main__":
    print(markdown(sections()))
