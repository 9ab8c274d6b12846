"""What one probe costs between the rows and the answers, and whether anything grows: `python -m benchmarks.core`.

CPU time of this process alone, the best of several rounds, so that a busy machine disturbs little: the figures of one
run are meant to be compared with each other, not with those of another machine. Each probe is assessed and decided, and
every verdict that has changed is rendered, in both media types, as the daemon does it.
"""

import gc
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from benchmarks.report import Section, markdown
from healthagent import parse
from healthagent.facts import Snapshot
from healthagent.judge import Memory, judge, starting
from healthagent.model import Verdict
from healthagent.render import role_answers
from tests.build import DOWN, GALERA_ROWS, HUNG, POLICY, PRIMARY, REPLICA, SYNCED, desynced, galera, replica, slave_row

INTERVAL_SECONDS = 0.5
WARM_PROBES, PROBES, ROUNDS = 100, 3_000, 5
GROWTH_PROBES, STAY = 100_000, 20  # each condition for twenty probes, so that holds end and gates rise

COURSES: dict[str, Sequence[Snapshot]] = {
    "synced, nothing changes": [SYNCED],
    "replica, nothing changes": [REPLICA],
    "primary, nothing changes": [PRIMARY],
    "desynced": [desynced()],
    "queue and connections move": [
        galera(local_recv_queue=str(7 * n), Threads_connected=str(90 + 10 * n), last_committed=str(n)) for n in range(6)
    ],
    "lag moves": [replica(slave_row(Seconds_Behind_Master=2 * n)) for n in range(6)],
    "every verdict turns at every probe": [SYNCED, galera(cluster_status="non-Primary"), DOWN],
}


class Rendering:
    """Renders what has changed, as the HTTP room does."""

    def __init__(self) -> None:
        self._rendered: dict[str, Verdict] = {}

    def render(self, memory: Memory) -> None:
        for key, verdict in memory.publication.verdicts.items():
            if self._rendered.get(key) is not verdict:
                self._rendered[key] = verdict
                role_answers(verdict)


def course(what: Sequence[Snapshot], count: int, start: float) -> list[Snapshot]:
    """So many probes, one interval apart."""
    stamped = enumerate(islice(cycle(what), count), start=1)
    return [replace(snapshot, sequence=n, ended_at=start + n * INTERVAL_SECONDS) for n, snapshot in stamped]


def microseconds(what: Sequence[Snapshot]) -> float:
    """CPU time of judge and render for one probe."""
    memory, rendering = starting(POLICY, 0.0), Rendering()
    for snapshot in course(what, WARM_PROBES, 0.0):
        memory = judge(memory, snapshot, snapshot.ended_at)
    probes = course(what, PROBES, WARM_PROBES * INTERVAL_SECONDS)
    began = time.process_time()
    for snapshot in probes:
        memory = judge(memory, snapshot, snapshot.ended_at)
        rendering.render(memory)
    return (time.process_time() - began) / PROBES * 1e6


def parse_microseconds() -> float:
    began = time.process_time()
    for _ in range(PROBES):
        parse.server(GALERA_ROWS)
        parse.galera(GALERA_ROWS)
    return (time.process_time() - began) / PROBES * 1e6


def sizes_bytes() -> list[int]:
    """Python's own memory while GROWTH_PROBES probes of everything there is go through, at moments of equal course."""
    everything = [snapshot for course in COURSES.values() for snapshot in course] + [HUNG, DOWN, SYNCED]
    lap = len(everything) * STAY
    memory, rendering, sizes = starting(POLICY, 0.0), Rendering(), []
    tracemalloc.start()
    for n in range(GROWTH_PROBES):
        snapshot = everything[n // STAY % len(everything)]
        memory = judge(memory, replace(snapshot, sequence=n + 1, ended_at=n * INTERVAL_SECONDS), n * INTERVAL_SECONDS)
        rendering.render(memory)
        if n % (GROWTH_PROBES // 10 // lap * lap) == lap - 1:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return sizes


def sections() -> list[Section]:
    """The tables of this subject."""
    rows = [(name, f"{min(microseconds(what) for _ in range(ROUNDS)):.0f}") for name, what in COURSES.items()]
    rows.append(("parse of a member's rows, beside that", f"{min(parse_microseconds() for _ in range(ROUNDS)):.0f}"))
    sizes = [f"{size / 1024:.1f}" for size in sizes_bytes()]
    return [
        Section(
            title="Core: from the rows of a probe to the answers",
            method=f"CPU time for one probe, {len(POLICY.roles)} roles, best of {ROUNDS} rounds of {PROBES} probes.",
            columns=("what the probes bring", "microseconds"),
            rows=tuple(rows),
        ),
        Section(
            title="Core: memory",
            method=f"KiB that it holds, at moments of equal course in {GROWTH_PROBES:,} probes.",
            columns=tuple(f"{n}" for n in range(1, len(sizes) + 1)),
            rows=(tuple(sizes),),
        ),
    ]


if __name__ == "__main__":
    print(markdown(sections()))
