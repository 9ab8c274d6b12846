"""What a replay tells of a record, and what the log of the agent that wrote it has."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import Agent
from tests import logfmt


def replay(file: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "healthagent", "replay", str(file), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def replayed(file: Path, *argv: str) -> dict[str, Any]:
    done = replay(file, *argv, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def logged(agent: Agent) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Transitions of roles and of the state, as the log has them; before the first sample a role counts as down."""
    lines = [logfmt.parse(line) for line in agent.log_lines()]
    roles: list[tuple[str, ...]] = [
        (
            line["role"],
            line["old"].replace("starting", "down"),
            line["new"],
            line["weight"],
            line.get("reasons", "none"),
        )
        for line in lines
        if line["event"] == "role_change" and (line["old"], line["new"]) != ("starting", "down")
    ]
    return roles, [(line["old"], line["new"]) for line in lines if line["event"] == "state_change"]


def told(course: dict[str, Any]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The same as a replay tells it, which also has what is no transition: that an agent starts or stops."""
    roles: list[tuple[str, ...]] = [
        (turn["role"], turn["from"] or "new", turn["to"], str(turn["weight"]), ",".join(turn["reasons"]) or "none")
        for turn in course["turns"]
        if turn["to"] is not None and (turn["from"] is not None or turn["reasons"] != ["starting"])
    ]
    return roles, [(state["from"], state["to"]) for state in course["states"]]
