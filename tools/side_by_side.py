"""Runs the tests with real servers in shares side by side, each in a network and a process tree of its own (lab/enter):
the servers mostly wait for each other, and so do the tests.

    python -m tools.side_by_side [PYTEST_ARGUMENT ...]

The first share speaks at once, what the others say comes behind it, and all that was measured at the end. The exit
status is that of the first share that did not pass. Without root there is nothing to enter: one ordinary run, whose
tests skip.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SHARES = 3
ROOT = Path(__file__).parents[1]
TESTS = "tests/integration"
PYTEST = (sys.executable, "-m", "pytest")
# How long each file takes, roughly; it decides only how evenly they are shared out.
SECONDS: Mapping[str, int] = {
    "agent_check": 85,
    "beside": 65,
    "demo": 60,
    "detection": 75,
    "galera_gates": 110,
    "galera_states": 115,
    "galera_transfers": 75,
    "haproxy_examples": 30,
    "httpchk": 25,
    "keepalived": 130,
    "latches": 35,
    "lost_writes": 105,
    "prometheus": 110,
    "recipes": 25,
    "record": 50,
    "replication": 40,
    "replication_gates": 75,
    "thaw": 60,
}
OTHER_SECONDS = 20
NO_TESTS = 5  # pytest's exit status where none is left, for example by -k


def seconds(file: str) -> int:
    return SECONDS.get(Path(file).stem.removeprefix("test_"), OTHER_SECONDS)


def shared_out(files: Sequence[str], number: int) -> list[list[str]]:
    """The longest file first, each to the share that has least to do; within a share in the order of `files`."""
    shares: list[list[str]] = [[] for _ in range(number)]
    for file in sorted(files, key=seconds, reverse=True):
        min(shares, key=lambda share: sum(map(seconds, share))).append(file)
    return [sorted(share, key=files.index) for share in shares]


class Share:
    """One pytest in a lab of its own; `directory` takes what it says, where it is not to speak at once."""

    def __init__(self, name: str, files: Sequence[str], arguments: Sequence[str], directory: Path, aloud: bool) -> None:
        self._figures, self._log = directory / f"{name}.figures", directory / f"{name}.log"
        cache = f"cache_dir=.pytest_cache/{name}"  # two would overwrite each other's
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["lab/enter", *PYTEST, "-o", cache, *arguments, *files],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=None if aloud else log,
                stderr=None if aloud else subprocess.STDOUT,
                env={**os.environ, "HEALTHAGENT_FIGURES": str(self._figures)},
            )

    def wait(self) -> int:
        """Its exit status, when it has ended and been heard."""
        status = self.process.wait()
        sys.stdout.write(self._log.read_text(errors="replace"))
        sys.stdout.flush()
        return status

    @property
    def figures(self) -> str:
        return self._figures.read_text() if self._figures.exists() else ""


def run(files: Sequence[str], arguments: Sequence[str], directory: Path) -> int:
    shares: list[Share] = []
    try:
        for number, some in enumerate(shared_out(files, SHARES)):
            shares.append(Share(f"share{number}", some, arguments, directory, aloud=number == 0))
        statuses = [share.wait() for share in shares]
    finally:  # Ctrl-C and SIGTERM too: lab/enter takes all that is below it along
        for share in shares:
            share.process.terminate()
            share.process.wait()
    print("\n" + " measured ".center(80, "="))
    print("".join(share.figures for share in shares), end="")
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return failed[0] if failed else min(statuses)


def main(arguments: Sequence[str]) -> int:
    if os.geteuid() != 0:
        return subprocess.run([*PYTEST, *arguments, TESTS], cwd=ROOT, check=False).returncode
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / TESTS).glob("test_*.py"))
    with tempfile.TemporaryDirectory() as directory:
        return run(files, arguments, Path(directory))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
