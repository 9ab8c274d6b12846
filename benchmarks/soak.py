"""Whether anything grows, or a wrong answer comes, in an hour of checks, faults and reloads.

    lab/enter .venv-bench/uvloop/bin/python -m benchmarks.soak --minutes 60

A few hundred checks a second on every listener, each held against what is true of the server at that moment; meanwhile
the server is killed, frozen, stopped, made read-only and so on, in turn, and the configuration is reloaded. The exit
status is 1 when a wrong answer was seen, or memory, files, threads or connections grew: the median of the last quarter
of the time against that of the second one.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

from benchmarks.crowd import ROLES, UP, Crowd, Places, Truth
from benchmarks.machine import about
from benchmarks.meter import ALLOWANCES, SLICES, Meter, Sample, grown, medians, sessions
from benchmarks.report import Section, markdown
from benchmarks.rivals import STOCK, UVLOOP, Build, agent_beside, builds, wait_up
from lab import Agent, Galera, GaleraNode, LabError, sql

__all__ = ["main"]

DOWN = dict.fromkeys(ROLES, False)
READ_ONLY = {"any": True, "writer": False, "reader": True}
HOLD_SECONDS = 4.0
BACK_SECONDS = 75.0  # who has fallen often within ten minutes comes back after 60 s
AT_ONCE_SECONDS = 1.5  # for what a glance sees: 0.1 s, and as much as a busy machine may need
MAX_CONNECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to the server, what must be said then, within how many seconds, and how it is undone."""

    name: str
    do: Callable[[], object]
    undo: Callable[[], object]
    says: Mapping[str, bool | None]
    within: float = 3.0


@dataclass
class Course:
    """How long a fault took to be seen, and its end."""

    seen: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)


def faults(node: GaleraNode) -> list[Fault]:
    def again() -> None:
        node.bootstrap()
        node.wait_synced()

    def variable(
        name: str, bad: str, good: str, says: Mapping[str, bool | None], within: float = AT_ONCE_SECONDS
    ) -> Fault:
        return Fault(
            name=f"{name} = {bad}",
            do=lambda: node.execute(f"SET GLOBAL {name} = {bad}"),
            undo=lambda: node.execute(f"SET GLOBAL {name} = {good}"),
            says=says,
            within=within,
        )

    crowd: list[sql.Connection] = []

    def leave() -> None:
        while crowd:
            crowd.pop().close()

    return [
        Fault(name="kill -9", do=node.kill, undo=again, says=DOWN),
        variable("read_only", "ON", "OFF", READ_ONLY),
        Fault(name="SIGSTOP", do=node.freeze, undo=node.thaw, says=DOWN),
        variable("wsrep_reject_queries", "ALL", "NONE", DOWN),
        Fault(name="max_connections full", do=lambda: fill(node, crowd), undo=leave, says=UP),
        variable("wsrep_reject_queries", "ALL_KILL", "NONE", DOWN),
        Fault(name="clean stop", do=node.stop, undo=again, says=DOWN, within=5.0),
        variable("wsrep_desync", "ON", "OFF", DOWN, within=12.0),
        Fault(name="agent's sessions killed", do=lambda: kill_sessions(node), undo=lambda: None, says=UP),
    ]


def fill(node: GaleraNode, crowd: list[sql.Connection]) -> None:
    """Clients, until no other gets in."""
    with suppress(sql.Error):
        while len(crowd) <= MAX_CONNECTIONS:
            crowd.append(sql.connect(user="app", password="app", host=node.address, port=node.port, timeout=5))


def kill_sessions(node: GaleraNode) -> None:
    for row in sessions(node):
        with suppress(sql.Error):  # ended by itself meanwhile
            node.execute(f"KILL {row['id']}")


class Soak:
    """One run, from the first check to the last."""

    def __init__(self, agent: Agent, node: GaleraNode, crowd: Crowd) -> None:
        self.agent, self.node, self.crowd, self.truth = agent, node, crowd, crowd.truth
        self.courses: dict[str, Course] = {}
        self.reloads = 0

    def run(self, seconds: float) -> None:
        """All faults in turn, a reload between each two, until the time is over."""
        self._until(UP, BACK_SECONDS)
        end, plan = time.monotonic() + seconds, faults(self.node)
        while time.monotonic() < end:
            for fault in plan:
                if time.monotonic() >= end:
                    break
                self._suffer(fault)
                self._reload()

    def _suffer(self, fault: Fault) -> None:
        course = self.courses.setdefault(fault.name, Course())
        if fault.says is not UP:
            self.truth.unknown()
        fault.do()
        course.seen.append(self._until(fault.says, fault.within))
        time.sleep(HOLD_SECONDS)
        if fault.says is not UP:
            self.truth.unknown()
        fault.undo()
        course.back.append(self._until(UP, BACK_SECONDS))
        time.sleep(HOLD_SECONDS)

    def _until(self, says: Mapping[str, bool | None], seconds: float) -> float:
        """How long until that is said; from then on nothing else may be."""
        began = time.monotonic()

        def said() -> bool:
            return all(
                is_up is None or (self.agent.get(f"/{role}").status == 200) is is_up for role, is_up in says.items()
            )

        try:
            self.agent.wait_until(said, seconds, f"it says {says}")
        except LabError as error:
            if not self.agent.alive:
                raise
            self.crowd.wrong(f"{str(error).partition(chr(10))[0]}: {self.agent.get('/state').body}")
            self.truth.unknown()
            return time.monotonic() - began
        if self.truth.now != says:
            self.truth.known(says)
        return time.monotonic() - began

    def _reload(self) -> None:
        """A configuration that is refused, then one that is taken; the verdicts hold throughout."""
        self.reloads += 1
        good = self.agent.config
        lines = self._told("not reloaded: ")
        self.agent.config_file.write_text(json.dumps({**good, "nonsense": self.reloads}))
        self.agent.signal(signal.SIGHUP)
        self.agent.wait_until(lambda: self._told("not reloaded: ") > lines, 10, "a bad configuration is refused")
        lines = self._told(" reloaded: ")
        level = random.choice(["10m", "20m", "1h"])
        extra = [f"127.0.0.1:{9300 + self.reloads % 3}"] if self.reloads % 2 else []
        self.agent.configure(
            roles={f"own{self.reloads % 5}": {"base": "reader", "max_lag": level}},
            http={"listen": [self.agent.config["http"]["listen"][0], *extra]},
        )
        self.agent.signal(signal.SIGHUP)
        self.agent.wait_until(lambda: self._told(" reloaded: ") > lines, 10, "a good one is taken")

    def _told(self, what: str) -> int:
        return self.agent.log.read_text(errors="replace").count(what)


@contextmanager
def running(build: Build) -> Iterator[tuple[Agent, GaleraNode, Places]]:
    """A real member and an agent with every kind of listener beside it."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Galera(1, options={"max_connections": MAX_CONNECTIONS}))
        cluster.start()
        node = cluster.nodes[0]
        ports = {"writer": (node.address, 9201), "reader": (node.address, 9202)}
        by_send = (node.address, 9203)
        listen: dict[str, str | None] = {f"{host}:{port}": role for role, (host, port) in ports.items()}
        listen[f"{by_send[0]}:{by_send[1]}"] = None
        directory = cluster.nodes[0].directory.parent / "track"
        directory.mkdir()
        tracks = {role: directory / role for role in ROLES}
        files = [{"role": role, "path": str(path), "up": 0, "down": 1} for role, path in tracks.items()]
        agent = agent_beside(node, build, cpu=False, agent_check={"listen": listen}, keepalived={"track_files": files})
        stack.enter_context(agent).start()
        wait_up([agent])
        places = Places(
            http=agent.address,
            control=agent.control_socket,
            ports=ports,
            by_send=by_send,
            program=build.program,
            tracks=tracks,
        )
        yield agent, node, places


def report(soak: Soak, samples: Sequence[Sample], minutes: float, failures: Sequence[str]) -> list[Section]:
    parts = [medians(samples, n / SLICES, (n + 1) / SLICES) for n in range(SLICES)]
    series = [
        (
            f"{minutes * n / SLICES:.1f} - {minutes * (n + 1) / SLICES:.1f}",
            *(f"{part.get(name, 0):.1f}" for name in ALLOWANCES),
        )
        for n, part in enumerate(parts)
    ]
    suffered = [
        (
            name,
            str(len(course.seen)),
            *(f"{median(times):.2f} / {max(times):.2f}" for times in (course.seen, course.back)),
        )
        for name, course in soak.courses.items()
        if course.back
    ]
    checks = sum(soak.crowd.count.values())
    said = "; ".join(failures) if failures else "no wrong answer, and nothing grew"
    return [
        Section(
            title=f"Soak: {minutes:.0f} minutes",
            method=f"{checks:,} checks ({checks / minutes / 60:.0f} a second), {soak.reloads} reloads, as many refused:"
            f" **{said}**. Medians by time:",
            columns=("minutes", *ALLOWANCES),
            rows=tuple(series),
        ),
        Section(
            title="Soak: faults",
            method="Seconds until every role says so, over HTTP, from the moment when the fault is done; and from its "
            "end, which for a restart is the moment when the server is Synced. Polled every 15 ms.",
            columns=("fault", "times", "seen after, median / max s", "up again after, median / max s"),
            rows=tuple(suffered),
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--build", choices=[UVLOOP.name, STOCK.name], default=UVLOOP.name)
    options = parser.parse_args(arguments)
    if not options.minutes >= 1:
        parser.error(f"--minutes {options.minutes:g}: must be 1 or more")
    build = next(build for build in builds() if build.name == options.build)
    with running(build) as (agent, node, places):
        soak, meter = Soak(agent, node, Crowd(places, Truth())), Meter(agent, node)
        pid = agent.pid
        soak.crowd.start()
        meter.start()
        failures = []
        try:
            soak.run(options.minutes * 60)
        except (LabError, sql.Error) as error:
            failures.append(str(error))
        finally:
            soak.crowd.stop()
            meter.stop()
        failures += grown(meter.samples)
        if soak.crowd.wrong_count:
            failures.append(f"{soak.crowd.wrong_count} wrong answers")
        if not agent.alive or agent.pid != pid:
            failures.append("the agent has ended")
        failures += [line for line in agent.log_lines() if "Traceback" in line or "level=critical" in line][:5]
    print(*about([build.python]), "", markdown(report(soak, meter.samples, options.minutes, failures)), sep="\n")
    print(*(f"- {wrong}" for wrong in soak.crowd.wrongs), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
