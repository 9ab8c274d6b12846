"""A real systemd-journald with a journal of its own, and what journalctl finds there."""

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from lab.process import LabError, Process, lab_dir

PROGRAM = Path("/lib/systemd/systemd-journald")
CONFIGURATION = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\n"
# What it writes to, and the catalog, are others in its mount namespace; $1 is the catalog, $2 its configuration.
PLACES = """
for place in /run/systemd /run/log /usr/lib/systemd/catalog /var/lib/systemd/catalog; do
    mount -t tmpfs none $place || exit
done
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
cp "$1" /usr/lib/systemd/catalog && printf '%s' "$2" >/run/systemd/journald.conf.d/lab.conf
journalctl --update-catalog && exec "$0"
"""
# as systemd starts a service: standard error is journald's stream, and JOURNAL_STREAM says so
SERVICE = 'JOURNAL_STREAM=$(stat --dereference --format=%d:%i /proc/self/fd/2) exec "$@"'


class Journald(Process):
    """One journald; `catalog` is the file for `journalctl -x`."""

    def __init__(self, catalog: Path, name: str = "journald") -> None:
        places = ["sh", "-c", PLACES, str(PROGRAM), str(catalog), CONFIGURATION]
        super().__init__(["unshare", "--mount", *places], log=lab_dir() / f"{name}.log")

    def start(self, *arguments: str) -> Self:
        """Returns when it takes messages."""
        super().start(*arguments)
        socket = Path(f"/proc/{self.pid}/root/run/systemd/journal/stdout")
        self.wait_until(socket.is_socket, 10, "its sockets")
        return self

    def inside(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` where this is the machine's journald; nsenter becomes the command."""
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", *map(str, argv)]

    def service(self, *argv: str | Path) -> list[str]:
        """The same, with the journal as standard error."""
        return self.inside("systemd-cat", "--identifier=service", "--", "sh", "-c", SERVICE, "sh", *argv)

    def read(self, *arguments: str) -> str:
        """What journalctl prints."""
        argv = self.inside("journalctl", "--directory=/run/log/journal", "--quiet", "--no-pager", *arguments)
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
        if done.returncode not in (0, 1):  # 1: nothing was found
            raise LabError(f"journalctl {' '.join(arguments)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """The entries with these fields (`ROLE=writer`), the oldest first; one that is there twice is a list."""
        return [json.loads(line) for line in self.read("--output=json", "--all", *matches).splitlines()]
