"""What the tests of packages share: the checkout, and commands that have to succeed in it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """What it says; a failure shows all of that."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(what: str, directory: Path, *, version: str | None = None, source: Path = ROOT) -> list[Path]:
    """`packaging/build WHAT` into that directory; the files that it names."""
    env = {"OUT": str(directory), "BUILD": str(directory / "build")}
    if version is not None:
        env["HEALTHAGENT_VERSION"] = version
    said = run(source / "packaging/build", what, env=env, cwd=source)
    return [Path(line) for line in said.splitlines() if line.startswith(str(directory))]
