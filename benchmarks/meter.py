"""What the agent takes in the course of a soak, and whether it grows."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from benchmarks.machine import tree
from lab import Agent, GaleraNode, sql

__all__ = ["ALLOWANCES", "SLICES", "Meter", "Sample", "grown", "medians", "sessions"]

SAMPLE_SECONDS = 5.0
SLICES = 8  # of the time, in a report

Sample = tuple[float, dict[str, float]]  # when, and what was found by name

# what may lie between two medians and is no growth: a share, and an absolute number
ALLOWANCES: Mapping[str, tuple[float, float]] = {
    "RSS MiB": (0.02, 1.0),
    "files": (0.0, 4.0),
    "threads": (0.0, 0.0),
    "processes": (0.0, 0.0),
    "connections to the server": (0.0, 0.5),
}


class Meter:
    """What the agent takes, every few seconds."""

    def __init__(self, agent: Agent, node: GaleraNode) -> None:
        self._agent, self._node = agent, node
        self.samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            with suppress(OSError, LookupError):  # the agent is gone: the end of the run says so
                self.samples.append((time.monotonic(), self._sample()))

    def _sample(self) -> dict[str, float]:
        processes = tree(self._agent.pid)
        status = [Path(f"/proc/{pid}/status").read_text() for pid in processes]
        found = {
            "RSS MiB": sum(_field(text, "VmRSS") for text in status) / 1024,
            "files": float(len(list(Path(f"/proc/{self._agent.pid}/fd").iterdir()))),
            "threads": sum(_field(text, "Threads") for text in status),
            "processes": float(len(processes)),
        }
        with suppress(sql.Error):
            found["connections to the server"] = float(len(sessions(self._node)))
        return found


def medians(samples: Sequence[Sample], begin: float, end: float) -> dict[str, float]:
    """By name, of the samples of that part of the time, both between 0 and 1."""
    if not samples:
        return {}
    first, last = samples[0][0], samples[-1][0]
    inside = [sample for at, sample in samples if begin <= (at - first) / max(last - first, 1e-9) <= end]
    return {
        name: median(values) for name in ALLOWANCES if (values := [sample[name] for sample in inside if name in sample])
    }


def _field(status: str, name: str) -> float:
    return float(status.partition(f"{name}:")[2].split()[0])


def sessions(node: GaleraNode) -> list[sql.Row]:
    """Those of the agent: root by the socket, as the lab itself, whose own ask this very question."""
    return node.rows(
        "SELECT id FROM information_schema.processlist"
        " WHERE user = 'root' AND id <> CONNECTION_ID() AND command = 'Sleep'"
    )


def grown(samples: Sequence[Sample]) -> list[str]:
    """What has grown, in words."""
    if len(samples) < SLICES:
        return [f"only {len(samples)} samples: nothing is known of growth"]
    before, after = medians(samples, 0.25, 0.5), medians(samples, 0.75, 1.0)
    found = []
    for name, (share, number) in ALLOWANCES.items():
        if name in before and name in after and after[name] > before[name] * (1 + share) + number:
            found.append(f"{name}: {before[name]:.1f} in the second quarter, {after[name]:.1f} in the last")
    return found
