"""Keeps in state_dir what must outlive this process: what a node was, and what somebody has to acknowledge.

A node that was a Galera node and shows no wsrep any more would take writes that nobody replicates: it must not look
like a healthy standalone server after a restart of the agent.
"""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from healthagent import clock
from healthagent.errand import Errand
from healthagent.events import Event, Kind, Level
from healthagent.logs import tell
from healthagent.lookout import Lookout
from healthagent.parse import uuid
from healthagent.policy import Topology
from healthagent.trail import Pins, Thaw

__all__ = ["Keeper", "PinFile"]

WRITE_SECONDS, RETRY_SECONDS = 5.0, 5.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class PinFile:
    """One small file; without a writable state_dir the memory lasts as long as the process."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "topology.json"
        self._failed = False

    def read(self) -> Pins:
        """What cannot be read must not turn into "never": it was a Galera node. What else was latched is lost."""
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return Pins()
        except (OSError, ValueError) as error:
            _warn(f"{self._path} cannot be read ({error}): taking this for a Galera node")
            return Pins(galera=True)
        if not isinstance(document, dict):
            _warn(f"{self._path} is not ours: taking this for a Galera node")
            return Pins(galera=True)
        return Pins(
            galera=document.get("topology") == Topology.GALERA.value,
            cluster_uuid=uuid(document.get("cluster_uuid")),
            inconsistent=document.get("inconsistent") is True,
            copying=document.get("copying") is True,
            plain=document.get("plain") is True,
            thaw=_thaw(document.get("thaw")),
        )

    def check(self) -> None:
        """Says at once that nothing can be kept, and not only when there is something. Nothing is written for it."""
        directory = self._path.parent
        found = next(it for it in (directory, *directory.parents) if os.access(it, os.F_OK))  # the rest is made
        if os.path.isdir(found) and os.access(found, os.W_OK | os.X_OK):  # noqa: PTH112
            return
        if not os.path.isdir(found):  # noqa: PTH112
            why = f"{found} is not a directory"
        elif os.statvfs(found).f_flag & os.ST_RDONLY:
            why = "Read-only file system (a service of systemd: ReadWritePaths=)"
        else:
            why = f"this user may not write to {found}"
        _warn(f"state_dir {directory}: {why}: a restart of the agent forgets what is held against this node")

    def write(self, pins: Pins) -> bool:
        """Replaces the file as a whole; false if that was not possible. The log says it once."""
        topology = Topology.GALERA.value if pins.galera else Topology.AUTO.value
        document = {"topology": topology, **{key: value for key, value in asdict(pins).items() if key != "galera"}}
        if document["thaw"] is not None:
            document["thaw"]["boot_id"] = _boot_id()
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(json.dumps(document) + "\n")
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine may leave an empty file
            temporary.replace(self._path)
        except OSError as error:
            if not self._failed:
                _warn(f"cannot remember in {self._path} what this node is: {error}")
            self._failed = True
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        self._failed = False
        return True


def _thaw(found: Any) -> Thaw | None:
    """Its clock counts from the start of the machine: of another one it says nothing, and its server is a new one."""
    if not isinstance(found, dict) or found.get("boot_id") != _boot_id():
        return None
    at, conf_id = found.get("at"), found.get("conf_id")
    if not isinstance(at, int | float) or not 0 <= at <= clock.now():
        return None
    return Thaw(at=float(at), conf_id=conf_id if isinstance(conf_id, int) else None)


def _warn(says: str) -> None:
    tell(Event(kind=Kind.STATE_DIR, level=Level.WARNING, says=says))


def _boot_id() -> str | None:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None


class Keeper:
    """Keeps the file as the pins are, in a thread: a disk that stands still must not stop the answers."""

    def __init__(self, file: PinFile) -> None:
        self._file = file
        self._errand = Errand()
        self._lookout = Lookout("pin", seconds=WRITE_SECONDS)
        self.pins = self._kept = file.read()
        self._tried: Pins | None = None

    def keep(self, pins: Pins) -> None:
        """To be called with every sample: a write that hangs is not followed by another one, until it has ended."""
        self.pins = pins
        if pins != self._kept and self._errand.due(RETRY_SECONDS if pins == self._tried else 0.0):
            self._tried = pins
            self._errand.run(self._write(pins))

    async def close(self) -> None:
        await self._errand.close()

    async def _write(self, pins: Pins) -> None:
        if await self._lookout.look(lambda: self._file.write(pins)):
            self._kept = pins
