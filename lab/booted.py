"""A Debian that systemd has booted: a container of systemd-nspawn on a tree of `tools/install booted`.

The tree is never written to: each machine has an overlay of its own, in memory. Inside `lab/enter` nothing outlives it:
the processes end with the lab's, the overlay is mounted in the lab alone, and the janitor removes the cgroups. The
program is the tree's own, so that nothing of systemd needs to be installed here.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from lab.process import LabError, Process, lab_dir, wait_until
from lab.tree import of_tree

__all__ = ["SUITES", "Machine", "booted"]

SUITES = ("bookworm", "trixie")
BOOT_SECONDS = 60.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
# Puts itself into a cgroup of its own, and hides what nspawn would leave behind in /run; then it becomes the program.
ENTER = 'echo $$ >"$0/cgroup.procs" && mount -t tmpfs -o mode=0755 lab-run /run && exec "$@"'

Answer = subprocess.CompletedProcess[str]


def booted(suite: str) -> Path:
    """Where `tools/install booted` puts that tree, whether it is there or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
    return Path(os.environ.get("HEALTHAGENT_BOOTED") or f"{cache}/healthagent/booted") / suite


def cgroups() -> Path:
    """Where the unified hierarchy is mounted: cgroups(7)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(place)
    raise LabError("no cgroup2 is mounted here: systemd cannot boot")


class Machine(Process):
    """One machine of that suite, with a network of its own, in which there is nobody else."""

    def __init__(self, suite: str) -> None:
        tree, self.suite = booted(suite), suite
        self._directory = Path(tempfile.mkdtemp(prefix=f"{suite}.", dir=lab_dir()))
        self._cgroup = cgroups() / f"{lab_dir().name}.{self._directory.name}"
        nspawn = of_tree(tree, "usr/bin/systemd-nspawn")
        # `--keep-unit` and `--register=no`: there is no systemd here that would make a unit of it
        flags = ["--quiet", f"--directory={self._directory}/root", "--boot", "--private-network"]
        flags += ["--register=no", "--keep-unit", "--console=pipe"]
        super().__init__(
            ["unshare", "--mount", "/bin/sh", "-c", ENTER, self._cgroup, *nspawn, *flags],
            log=lab_dir() / f"{self._directory.name}.console",
            env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        self._tree = tree
        self._leader = 0

    def start(self, *arguments: str) -> Self:
        """Returns when systemd has started all that it starts at boot."""
        scratch = self._directory
        _do("mount", "-t", "tmpfs", "-o", "mode=0755,size=3G", "lab-machine", str(scratch))
        for name in ("upper", "work", "root"):
            (scratch / name).mkdir()
        layers = f"lowerdir={self._tree},upperdir={scratch}/upper,workdir={scratch}/work"
        _do("mount", "-t", "overlay", "-o", layers, "lab-machine", str(scratch / "root"))
        # Without one this would be a first boot, which enables every unit that there is: machine-id(5)
        (scratch / "root/etc/machine-id").write_text(f"{uuid4().hex}\n")
        self._cgroup.mkdir()
        super().start(*arguments)
        self._leader = self.wait_until(self._find_leader, BOOT_SECONDS, "the machine has a PID 1")
        self.wait_until(self._is_up, BOOT_SECONDS, "the machine is up")
        return self

    def _find_leader(self) -> int | None:
        """systemd, as seen from here: the child whose own PID namespace calls it 1."""
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if numbers[-1] == "1" and Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
        return None

    def _is_up(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def command(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` in the machine."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--pid", "--uts", "--net", "--ipc", "--cgroup"]
        return [*enter, "--root", "--wdns=/", "--", *map(str, argv)]

    def run(self, *argv: str | Path, check: bool = True, stdin: str = "", timeout: float = 60) -> Answer:
        """Runs `argv` in the machine, as root. LabError where it fails, unless that is asked for."""
        answer = subprocess.run(
            self.command(*argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env=ENVIRONMENT,
        )
        if check and answer.returncode != 0:
            raise LabError(
                f"{' '.join(map(str, argv))} ended with {answer.returncode}:\n{answer.stdout}{answer.stderr}"
            )
        return answer

    def path(self, inside: str) -> Path:
        """A file of the machine, as it is seen from here; /run too."""
        return Path(f"/proc/{self._leader}/root") / inside.lstrip("/")

    def put(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def bring(self, file: Path) -> str:
        """Copies a file into the machine's root directory; its name there."""
        shutil.copy(file, self.path("/"))
        return f"/{file.name}"

    def systemctl(self, *arguments: str, check: bool = True) -> Answer:
        return self.run("systemctl", *arguments, check=check)

    def unit(self, name: str) -> Mapping[str, str]:
        """The properties of a unit, as `systemctl show` gives them."""
        lines = self.systemctl("show", name).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """All that the unit, and systemd about it, has ever logged."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--unit", unit, "--output=json", "--all").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Pulls the plug: all of its processes at once, its disk, its cgroups."""
        if self._popen is not None:
            (self._cgroup / "cgroup.kill").write_text("1")
            self.signal(signal.SIGKILL)
            self.wait()
        if self._directory.is_mount():
            _do("umount", "--lazy", str(self._directory / "root"))
            _do("umount", "--lazy", str(self._directory))
        if self._cgroup.exists():
            wait_until(self._emptied, 10, f"the cgroups of {self!r} are empty")

    def _emptied(self) -> bool:
        """Removes the cgroups from the deepest on; a process that is still dying keeps its own."""
        groups = sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True)
        try:
            for group in (*groups, self._cgroup):
                group.rmdir()
        except OSError:
            return False
        return True


def _do(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
