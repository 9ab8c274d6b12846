"""python -m tests.recorder [CONDITION ...]   under lab/enter: records them, all by default
python -m tests.recorder --verdicts          anywhere: what the core of today says of the rows that are there
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from lab import LabError, sql
from lab.mariadb import SERVER
from lab.tree import in_tree
from tests.recorded.replay import replay
from tests.recorded.sample import RECORDED, dump, load
from tests.recorder import galera, replication
from tests.recorder.galera import Cluster
from tests.recorder.replication import Replicating
from tests.recorder.scene import Scene, Stage

# the servers, and what can be done to them
STAGES: tuple[tuple[type[Stage], Mapping[str, Callable[[Any, Scene, ExitStack], None]]], ...] = (
    (Cluster, galera.CONDITIONS),
    (Replicating, replication.CONDITIONS),
)


def main(arguments: list[str]) -> int:
    if arguments == ["--verdicts"]:
        for directory in sorted(path.parent for path in RECORDED.glob("*/*/rows.json")):
            _judge(directory)
        return 0
    known = {name for _, conditions in STAGES for name in conditions}
    if unknown := set(arguments) - known:
        print(f"no such condition: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    return 1 if _record_all(set(arguments) or known) else 0


def _record_all(wanted: set[str]) -> list[str]:
    """The names of those that could not be recorded."""
    missing = []
    for servers, conditions in STAGES:
        chosen = {name: does for name, does in conditions.items() if name in wanted}
        stage = servers()
        try:
            for name, does in chosen.items():
                started = time.monotonic()
                try:
                    said = _record(stage, name, does)
                except (LabError, sql.Error) as error:
                    missing.append(name)
                    stage.ruined = True
                    said = f"NOT RECORDED: {error}"
                print(f"{name}: {said} ({time.monotonic() - started:.0f} s)", flush=True)
        finally:
            stage.close()
    return missing


def _record(stage: Stage, name: str, does: Callable[[Any, Scene, ExitStack], None]) -> str:
    with stage.scene() as scene, ExitStack() as after:
        does(stage, scene, after)
    directory = RECORDED / _version() / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rows.json").write_text(dump(scene.samples), "utf-8")
    return _judge(directory)


def _judge(directory: Path) -> str:
    outcome = replay(load((directory / "rows.json").read_text("utf-8")))
    (directory / "verdict.json").write_text(json.dumps(outcome.as_json(), indent=1) + "\n", "utf-8")
    return f"{outcome.state}, up: {' '.join(sorted(outcome.up)) or '-'}"


@cache
def _version() -> str:
    """`10.11`: what the servers of this lab are."""
    says = subprocess.run(in_tree(SERVER, "--version"), capture_output=True, text=True, check=True).stdout
    found = re.search(r"Ver (\d+\.\d+)", says)
    assert found is not None, says
    return found[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
