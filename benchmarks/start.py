"""How long programs take: the daemon until its first verdict, `healthagent check` beside curl.

lab/enter python -m benchmarks.start
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import on_client_cpu
from benchmarks.report import Section, markdown, spread
from benchmarks.rivals import STOCK, UVLOOP, Build, agent_beside, builds, first_verdict_seconds, wait_up
from lab import Galera, GaleraNode, LabError

__all__ = ["sections"]

STARTS = 10
RUNS = 40
DEBIAN_PYTHON = Path("/usr/bin/python3")


def sections() -> list[Section]:
    """The tables of this subject."""
    builds()
    with on_client_cpu(), Galera(1) as cluster:
        cluster.start()
        return [_starts(cluster.nodes[0]), _checks(cluster.nodes[0])]


def _starts(node: GaleraNode) -> Section:
    rows = []
    for build in (UVLOOP, STOCK):
        taken = []
        for _ in range(STARTS):
            with agent_beside(node, build) as agent:
                taken.append(1000 * first_verdict_seconds(agent))
        rows.append((f"`serve`, venv {build.name}", spread(taken, "{:.0f}"), str(STARTS)))
    return Section(
        title="Start",
        method="From the start of the process until `/writer` is 200, asked every 2 ms; the server is up.",
        columns=("what", "ms: median (least-greatest)", "runs"),
        rows=tuple(rows),
    )


def _checks(node: GaleraNode) -> Section:
    with agent_beside(node, STOCK).start() as agent:
        wait_up([agent])
        socket = str(agent.control_socket)
        commands = _commands(socket)
        found = _alternating(commands)
    rows = []
    for name, taken in found.items():
        ratio = [one / curl for one, curl in zip(taken, found["curl"], strict=True)]
        rows.append((name, spread(taken, "{:.1f}"), spread(ratio), str(len(taken))))
    return Section(
        title="healthagent check",
        method="From the start of the process to its end, one after the other in each round. `curl`: "
        "`curl -s --unix-socket SOCKET http://x/writer`. The last line is the interpreter alone.",
        columns=("command", "ms: median (least-greatest)", "ratio to curl", "runs"),
        rows=tuple(rows),
    )


def _commands(socket: str) -> dict[str, tuple[list[str], Mapping[str, str]]]:
    """By name the command line and what it needs in its environment."""
    check = ["check", "writer", "--socket", socket]
    curl = shutil.which("curl") or "/usr/bin/curl"
    commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "curl": ([curl, "-s", "--unix-socket", socket, "http://x/writer"], {}),
        "`healthagent check`, pip's script": ([str(STOCK.program), *check], {}),
        "`python -m healthagent check`": ([str(STOCK.python), "-m", "healthagent", *check], {}),
    }
    python = str(STOCK.python)
    if _runs_here(STOCK):
        python = str(DEBIAN_PYTHON)
        commands["the same, Debian's python3, no venv"] = (
            [python, "-m", "healthagent", *check],
            {"PYTHONPATH": str(STOCK.packages)},
        )
    commands[f"`{python} -c pass`"] = ([python, "-c", "pass"], {})
    return commands


def _runs_here(build: Build) -> bool:
    """Whether Debian's own Python is one that the project runs with."""
    name = build.packages.parent.name  # python3.11
    return DEBIAN_PYTHON.exists() and DEBIAN_PYTHON.resolve().name == name


def _alternating(commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]]) -> dict[str, list[float]]:
    """Milliseconds of each run; the first round only warms the caches."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS + 1):
        for name, (argv, environment) in commands.items():
            found[name].append(_milliseconds(argv, environment))
    return {name: taken[1:] for name, taken in found.items()}


def _milliseconds(argv: Sequence[str], environment: Mapping[str, str]) -> float:
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), {**os.environ, **environment}, file_actions=silent)
    status = os.waitpid(pid, 0)[1]
    taken = time.perf_counter() - began
    if status:
        raise LabError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return 1000 * taken


if __name__ == "__main__":
    sys.stdout.write(markdown(sections()))
