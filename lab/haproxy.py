"""A real HAProxy with a configuration under test, and a stats socket of the lab's own."""

import csv
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from lab.process import LabError, Process, lab_dir
from lab.tree import of_tree, trixie

# In a file of its own: HAProxy merges files, so the configuration under test is loaded as it stands.
LAB_CONFIG = "global\n    stats socket {socket} mode 600 level admin\n"


def programs() -> dict[str, list[str | Path]]:
    """How to run the HAProxy of Debian 12, and that of Debian 13 where `tools/install trixie` has made its tree."""
    found: dict[str, list[str | Path]] = {"Debian 12": ["haproxy"]}
    if (trixie() / "usr/sbin/haproxy").exists():
        found["Debian 13"] = of_tree(trixie(), "usr/sbin/haproxy")
    return found


class HAProxy(Process):
    """One haproxy in the foreground; `config` is the text, or the path of a file, and `program` what to run."""

    def __init__(
        self,
        config: str | Path,
        *,
        name: str = "haproxy",
        program: Sequence[str | Path] = ("haproxy",),
    ) -> None:
        self.directory = lab_dir() / name
        self.directory.mkdir(exist_ok=True)
        self.socket = self.directory / "stats"
        own, tested = self.directory / "lab.cfg", self.directory / "haproxy.cfg"
        own.write_text(LAB_CONFIG.format(socket=self.socket))
        tested.write_text(config.read_text() if isinstance(config, Path) else config)
        super().__init__([*program, "-db", "-f", own, "-f", tested], log=self.directory / "log")

    def start(self, *arguments: str) -> Self:
        """Returns when it answers on its stats socket; its servers are UP then, until the first checks."""
        super().start(*arguments)
        self.wait_until(self._answers, 10, "answers on the stats socket")
        return self

    def _answers(self) -> bool:
        try:
            return self._info("Pid") == str(self.pid)
        except OSError:
            return False

    def reload(self) -> None:
        """A new process takes over, and the old one ends with its last session; returns when the new one answers."""
        old, self._popen = self.pid, None
        self.start("-sf", str(old))

    def _info(self, key: str) -> str:
        found = re.search(rf"^{key}: (.*)$", self.command("show info"), re.MULTILINE)
        return found[1] if found else ""

    @property
    def version(self) -> str:
        """`HAProxy 2.6`."""
        return "HAProxy " + ".".join(self._info("Version").split(".")[:2])

    def command(self, text: str) -> str:
        """One command of the management guide, and its whole answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(text.encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as answer:
                return answer.read()

    def stat(self) -> list[dict[str, str]]:
        """The rows of `show stat`: FRONTEND, servers and BACKEND by their column names (pxname, svname, status ...)."""
        lines = self.command("show stat").removeprefix("# ").splitlines()
        return list(csv.DictReader(line for line in lines if line))

    def server(self, backend: str, name: str) -> dict[str, str]:
        """One row of stat()."""
        for row in self.stat():
            if (row["pxname"], row["svname"]) == (backend, name):
                return row
        raise LabError(f"no server {backend}/{name} in {self!r}")

    def wait_status(self, backend: str, name: str, status: str, timeout: float = 10) -> dict[str, str]:
        """Waits until the server's status starts so (`UP`, `DOWN`, `DOWN (agent)`); its row then."""

        def reached() -> dict[str, str] | None:
            row = self.server(backend, name)
            return row if row["status"].startswith(status) else None

        return self.wait_until(reached, timeout, f"{backend}/{name} is {status}")
