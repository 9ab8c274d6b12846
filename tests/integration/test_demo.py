"""`make demo` for real, in a lab of its own: the tour to its end, and staying up until Ctrl-C."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import wait_until
from tests.binaries import need
from tests.integration.expect import measured

ROOT = Path(__file__).parents[2]
TOUR_SECONDS, TABLE_SECONDS = 300, 90


def environment() -> dict[str, str]:
    """As of a terminal: outside of this lab, and not below the `make` that may have started us."""
    return {key: value for key, value in os.environ.items() if key != "LAB_DIR" and not key.startswith("MAKE")}


def marked(text: str) -> list[int]:
    """The processes, of every namespace below ours, whose command line has the text."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(int(entry.name))
    return found


def network_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def networks() -> set[str]:
    """The network namespaces that any process is in."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(network_of(int(entry.name)))
            except OSError:
                continue
    return found


def test_the_tour() -> None:
    need("make", "mariadbd", "haproxy", "rsync")
    done = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TOUR_SECONDS, check=False
    )
    output = done.stdout
    assert done.returncode == 0, output + done.stderr
    assert re.search(r"^ n1 +synced( +up 100){6} +UP +UP$", output, re.MULTILINE), output
    for line in (
        r"n3 /writer +503 desynced",
        r"HAProxy reader/n3 +DOWN +(L7STS/503|agent:) desynced",
        r"n1 /writer +503 read_only",
        r"HAProxy writer/n1 +DOWN +(L7STS/503|agent:) read_only",
        r"the client +writes on n2",
        r"n2 /reader +503 down",
        r"the client +writes on n1",
        r"n2 /writer +200 OK",
        r"HAProxy writer/n2 +UP +L7OK/200",
    ):
        assert re.search(rf"^ +\d+ ms  {line}$", output, re.MULTILINE), f"{line}\n{output}"
    assert ", 0 lost." in output
    assert max(map(len, output.splitlines())) <= 100, "fits a terminal"


class Played:
    """`make demo TOUR=0`, its output, and what it printed of itself."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            # A process group of its own: that is what a terminal's Ctrl-C goes to.
            self.make = subprocess.Popen(
                ["make", "demo", "TOUR=0"],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def says(self, text: str, timeout: float) -> None:
        def said() -> bool:
            assert self.make.poll() is None, self.output
            return text in self.output

        wait_until(said, timeout, f"`{text}`", logs=[self.log])

    @property
    def lab(self) -> Path:
        return Path(self.find(r"^  LAB=(\S+)$"))

    def find(self, pattern: str) -> str:
        found = re.search(pattern, self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def shell(self, label: str) -> str:
        """Runs the command that stands after the label, after the assignments, as a reader would."""
        lines = [self.find(r"^  (LAB=.*)$"), self.find(r"^  (NS=.*)$"), self.find(rf"^  {label} +(.+)$")]
        script = "\n".join(lines)
        done = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        return done.stdout

    def interrupt(self) -> None:
        os.killpg(self.make.pid, signal.SIGINT)
        self.make.wait(30)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    need("make", "mariadbd", "mariadb", "haproxy", "rsync", "curl", "nsenter", "pgrep", "pkill")
    played = Played(tmp_path / "output")
    try:
        played.says("HAProxy writer", TABLE_SECONDS)
        measured(f"make demo: first table after {time.monotonic() - played.started:.1f} s")
        played.says("Enter:", 5)
        yield played
    finally:
        if played.make.poll() is None:
            played.interrupt()


def test_what_it_prints_for_playing_works_and_ctrl_c_leaves_nothing(played: Played) -> None:
    assert "OK writer weight=100 state=synced" in played.shell("ask an agent")
    assert "HTTP/1.1 200 OK" in played.shell("as HAProxy asks it")
    assert "writer,n1,UP,L7OK," in played.shell("what HAProxy thinks")
    assert "n1" in played.shell("write through HAProxy")
    played.shell("change a server")
    wait_until(lambda: "desynced" in played.shell("ask an agent"), 10, "the agent sees the change")

    assert played.make.stdin is not None
    played.shell("crash a server")
    wait_until(lambda: "reasons=down" in played.shell("ask an agent"), 10, "the agent sees the crash")
    played.make.stdin.write(b"\n")
    played.make.stdin.flush()
    played.says("starting n1", 10)
    wait_until(lambda: played.output.count("HAProxy writer") == 2, 60, "the second table", logs=[played.log])

    lab, inside = played.lab, marked(str(played.lab))
    network = network_of(inside[0])
    assert len(inside) >= 7, "three servers, three agents, HAProxy"
    assert network != network_of(os.getpid())
    played.interrupt()
    assert not lab.exists()
    assert marked(str(lab)) == []
    assert network not in networks()
