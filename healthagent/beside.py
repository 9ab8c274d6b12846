"""All that is looked at beside the probe, each at a pace of its own and none of it awaited: facts.Beside.

There are no loops here. Whenever a probe has ended, what is due begins, and what has become known is handed over.
"""

import asyncio
import os

from healthagent.clientport import ClientPortCheck
from healthagent.errand import Errand
from healthagent.facts import Beside, Disk, Server, Snapshot
from healthagent.lookout import Lookout
from healthagent.process import ServerProcess
from healthagent.session import Login, Watch
from healthagent.writing import Writer

__all__ = ["Bystander"]

DISK_SECONDS = 5.0
# statvfs takes microseconds; on a network filesystem whose server is gone it never ends
DISK_LOOK_SECONDS, FIRST_LOOK_SECONDS = 1.0, 0.05


class DiskCheck:
    """Free space of the datadir's filesystem: unprivileged, as every directory above it may be searched."""

    def __init__(self) -> None:
        self._errand = Errand()
        self._lookout = Lookout("disk", seconds=DISK_LOOK_SECONDS)
        self._result: Disk | None = None

    async def first(self, datadir: str | None) -> None:
        """Waits for the first look, but not long: a role that asks for free space must not fall for a start of ours."""
        if self.look(datadir) is None and self._errand.under_way:
            await self._errand.wait(FIRST_LOOK_SECONDS)

    def look(self, datadir: str | None) -> Disk | None:
        """What is known by now; begins a look when one is due."""
        if datadir is None:
            return None
        if self._errand.due(DISK_SECONDS):
            self._errand.run(self._check(datadir))
        return self._result

    async def close(self) -> None:
        await self._errand.close()

    async def _check(self, datadir: str) -> None:
        self._result = await self._lookout.look(lambda: space(datadir))


def space(path: str) -> Disk | None:
    """The filesystem that `path` is on, or None if it cannot be seen. Blocks for as long as that filesystem does."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Disk(free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize)


class Bystander:
    """Client port, disk and writes of one server. `process`: what is known of its process and its datadir."""

    def __init__(self, login: Login, watch: Watch, process: ServerProcess, *, timeout_seconds: float) -> None:
        self._login, self._watch, self._process = login, watch, process
        self._client_port = ClientPortCheck(login, process, timeout_seconds=timeout_seconds)
        self._disk = DiskCheck()
        self._writer = Writer(login, watch, timeout_seconds=timeout_seconds)

    def relogin(self, login: Login, watch: Watch, timeout_seconds: float) -> None:
        """A changed login to the same server, or another watch."""
        self._client_port.relogin(login, timeout_seconds)
        self._writer.relogin(login, watch, timeout_seconds)
        self._login, self._watch = login, watch

    async def first(self, server: Server) -> None:
        """What a gate must not be without at the first sample; afterwards it takes no time. `server`: its facts."""
        looks = []
        if self._watch.disk and self._login.local:
            looks.append(self._disk.first(self._process.datadir))
        if self._watch.client_port_seconds is not None:
            looks.append(self._client_port.first(server))
        await asyncio.gather(*looks)

    @property
    def logins(self) -> set[asyncio.Task[None]]:
        """Those under way that end by themselves where the server answers."""
        return self._client_port.logins

    @property
    def connections(self) -> int:
        """To the server, opened or being opened."""
        return len(self.logins) + self._writer.connected

    def look(self, snapshot: Snapshot, *, spare: int) -> Beside:
        """What is known by now; takes no time. To be called once after each probe, with its snapshot. `spare`: how many
        connections may be opened; what finds none free waits for its next turn.
        """
        pace, before = self._watch.client_port_seconds, self.connections
        client_port = self._client_port.look(snapshot, pace, may_begin=spare > 0) if pace is not None else None
        spare -= self.connections - before
        return Beside(
            client_port=client_port,
            disk=self._disk.look(self._process.datadir) if self._watch.disk and self._login.local else None,
            write_probe=self._writer.look(snapshot, may_begin=self._writer.connected or spare > 0),
        )

    async def close(self) -> None:
        """Ends all of it."""
        await self._client_port.close()
        await self._disk.close()
        await self._writer.close()
