"""A real keepalived on a host of its own, with a configuration under test."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lab.hosts import Host
from lab.process import Process, lab_dir, wait_until

STATES = {
    "Entering BACKUP STATE": "BACKUP",
    "Entering MASTER STATE": "MASTER",
    "Entering FAULT STATE": "FAULT",
    ") entering FAULT state\n": "FAULT",  # as it starts; with a reason behind it in a line of its own
}
PROGRAM: tuple[str | Path, ...] = ("/usr/sbin/keepalived",)


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
        pids = [f"--{kind}={self.directory / kind}" for kind in ("pid", "vrrp_pid")]
        self._command = [*program, f"--use-file={self.file}", f"--config-id={identity}"]
        options = ["--dont-fork", "--log-console", "--log-detail", "--vrrp", *pids]
        super().__init__(host.inside(*self._command, *options), log=self.directory / "log")

    def start(self, *arguments: str) -> Self:
        """Returns when all of its instances are BACKUP, MASTER or in FAULT."""
        told = len(self.states())
        super().start(*arguments)
        instances = sum(line.startswith("vrrp_instance ") for line in self.file.read_text().splitlines())
        self.wait_until(lambda: len(self.states()) >= told + instances, 10, "has begun")
        return self

    def states(self) -> list[str]:
        """The states that its instances have entered, the oldest first."""
        return [state for line in self.log_lines() for mark, state in STATES.items() if mark in f"{line}\n"]

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
