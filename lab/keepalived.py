"""A real keepalived on a host of its own, with a configuration under test."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lab.hosts import Host
from lab.process import Process, lab_dir, wait_until
from lab.tree import of_tree

STATES = {
    "Entering BACKUP STATE": "BACKUP",
    "Entering MASTER STATE": "MASTER",
    "Entering FAULT STATE": "FAULT",
}
PROGRAM: tuple[str | Path, ...] = ("/usr/sbin/keepalived",)


def program_of(tree: Path) -> list[str | Path]:
    """The keepalived of another Debian's tree, with the directory that Debian 13's reads its build options from."""
    bind = 'mount --bind "$0" /etc/keepalived && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", bind, tree / "etc/keepalived", *of_tree(tree, "usr/sbin/keepalived")]


def adapted(example: Path, replacements: Mapping[str, str]) -> str:
    """The text of an example with paths and names of the lab. Each of them must be in it."""
    text = example.read_text()
    for old, new in replacements.items():
        assert old in text, f"{example} has no {old}"
        text = text.replace(old, new)
    return text


class Keepalived(Process):
    """The VRRP part of one keepalived in the foreground; `config` is the text of its file, `program` what to run.

    `identity` is whose lines it takes, of those that start with `@`: the host name, outside a lab.
    """

    def __init__(
        self, name: str, host: Host, config: str, *, identity: str, program: Sequence[str | Path] = PROGRAM
    ) -> None:
        self.host = host
        self.directory = lab_dir() / f"keepalived-{name}-{identity}"
        self.directory.mkdir(exist_ok=True)
        self.file = self.directory / "keepalived.conf"
        self.file.write_text(config)
        # pid files of its own: it takes another one's for its own running already
        self._pid_files = {kind: self.directory / kind for kind in ("pid", "vrrp_pid")}
        pids = [f"--{kind}={file}" for kind, file in self._pid_files.items()]
        self._command = [*program, f"--use-file={self.file}", f"--config-id={identity}"]
        options = ["--dont-fork", "--log-console", "--log-detail", "--vrrp", *pids]
        super().__init__(host.inside(*self._command, *options), log=self.directory / "log")
        self.log.unlink(missing_ok=True)  # of another one with this name

    def start(self, *arguments: str) -> Self:
        """Returns when it has taken its configuration and begun."""
        for file in self._pid_files.values():  # of one that was killed: its PID may be somebody else's by now
            file.unlink(missing_ok=True)
        told = self._begun()
        super().start(*arguments)
        self.wait_until(lambda: self._begun() > told, 10, "has begun")
        return self

    def _begun(self) -> int:
        return sum("Startup complete" in line for line in self.log_lines())

    def states(self) -> list[str]:
        """The states that its instances have entered, the oldest first."""
        return [state for line in self.log_lines() for mark, state in STATES.items() if mark in line]

    def said(self, text: str) -> bool:
        """Whether the text stands in a line of its log."""
        return any(text in line for line in self.log_lines())

    def reload(self) -> None:
        """SIGHUP; returns when the file has been read."""

        def read() -> int:
            return sum("Reloading" in line for line in self.log_lines())

        told = read()
        self.signal(signal.SIGHUP)
        wait_until(lambda: read() > told, 5, "has reloaded", logs=[self.log])

    def kill(self) -> int:
        """kill -9 of all of its processes: it takes no address back, and tells its peer nothing."""
        for child in self.children():  # else one that outlives its parent by a moment stops in good order
            os.kill(child.pid, signal.SIGSTOP)
        status = super().kill()
        self._kill_children()
        return status

    def close(self) -> None:
        """It would take a second to stop; its addresses are the host's until somebody takes them away."""
        if self.alive:
            self.kill()
        super().close()
