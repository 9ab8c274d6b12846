"""A real keepalived on a host of its own, with a configuration under test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from lab.hosts import Host
from lab.process import Process


class Keepalived(Process):
    """The VRRP part of one keepalived in the foreground; `config` is the text of its file, `program` what to run."""

    def __init__(
        self, name: str, host: Host, config: str, *, program: Sequence[str | Path] = ("/usr/sbin/keepalived",)
    ) -> None:
        self.host = host
        self.file = host.directory / f"{name}.conf"
        self.file.write_text(config)
        # pid files of its own: it takes another one's for its own running already
        pids = [f"--{kind}={host.directory / f'{name}.{kind}'}" for kind in ("pid", "vrrp_pid")]
        options = ["--dont-fork", "--log-console", "--log-detail", "--vrrp", f"--use-file={self.file}", *pids]
        super().__init__(host.inside(*program, *options), log=host.directory / f"{name}.log")

    def start(self, *arguments: str) -> Self:
        """Returns when it has taken its configuration: its instances are BACKUP, MASTER or in FAULT."""
        told = len(self.states())
        super().start(*arguments)
        self.wait_until(lambda: len(self.states()) > told, 10, "enters a state")
        return self

    def states(self) -> list[str]:
        """The states that its instances have entered, the oldest first."""
        marks = {"Entering BACKUP STATE": "BACKUP", "Entering MASTER STATE": "MASTER", "Entering FAULT STATE": "FAULT"}
        return [state for line in self.log_lines() for mark, state in marks.items() if mark in line]
