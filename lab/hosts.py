"""Two hosts: network namespaces of their own, joined as by a cable."""

import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lab.process import Closing, LabError, Process, lab_dir, wait_until

__all__ = ["Cable", "Host"]

INTERFACE = "eth0"


class Host(Closing):
    """A network namespace that lives as long as a process in it. Processes and files are those of the lab."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.directory = lab_dir() / name
        self.directory.mkdir(exist_ok=True)
        self._holder = Process(["unshare", "--net", "sleep", "infinity"], log=self.directory / "log")
        self._monitor: Process | None = None

    def start(self) -> None:
        """The namespace, with its loopback device up."""
        self._holder.start()
        outside = Path("/proc/self/ns/net").readlink()
        self._holder.wait_until(lambda: self._network.readlink() != outside, 5, "a network of its own")
        self.ip("link", "set", "lo", "up")

    @property
    def _network(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def inside(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` in this host's network; nsenter becomes the command."""
        return ["nsenter", f"--net={self._network}", "--", *map(str, argv)]

    def ip(self, *arguments: str) -> str:
        done = subprocess.run(self.inside("ip", *arguments), check=False, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"ip {' '.join(arguments)} on {self.name}: {done.stderr.strip()}")
        return done.stdout

    def connect(self, pid: int | None = None) -> None:
        """One end of the cable becomes eth0; `pid` is of the host at its other end."""
        if pid is not None:
            self.ip("link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", str(pid))
        self.ip("address", "add", f"{self.address}/24", "dev", INTERFACE)
        self.ip("link", "set", INTERFACE, "up")
        # says when an address came or went, to the microsecond: polling could not
        self._monitor = Process(self.inside("ip", "-ts", "monitor", "address"), log=self.directory / "addresses")
        self._monitor.start()
        wait_until(self._hears, 5, "the kernel tells of addresses", logs=[self._monitor.log])

    def _hears(self) -> bool:
        """Whether the monitor has begun: by an address that comes and goes until it is told of."""
        for act in ("add", "del"):
            self.ip("address", act, "127.0.0.2/32", "dev", "lo")
        return bool(self.changes("127.0.0.2"))

    @property
    def pid(self) -> int:
        return self._holder.pid

    def has(self, address: str) -> bool:
        return f" {address}/" in self.ip("-o", "address")

    def changes(self, address: str) -> list[tuple[float, bool]]:
        """When the address came (True) or went, in seconds since the epoch, the oldest first."""
        assert self._monitor is not None
        found = []
        for line in self._monitor.log_lines():
            stamp, _, event = line.partition("] ")
            if stamp.startswith("[") and f" {address}/" in event:
                at = datetime.fromisoformat(stamp[1:]).timestamp()
                found.append((at, not event.startswith("Deleted ")))
        return found

    def changed(self, address: str, *, came: bool, since: float, timeout: float = 10) -> float:
        """Waits until the address has come, or gone, after `since`; when that was."""

        def found() -> float | None:
            return next((at for at, coming in self.changes(address) if coming is came and at >= since), None)

        return wait_until(found, timeout, f"{address} {'comes to' if came else 'leaves'} {self.name}")

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        self._holder.close()


class Cable(Closing):
    """Two hosts, 10.0.0.1 and 10.0.0.2, whose eth0 are the two ends of one cable."""

    def __init__(self, names: Sequence[str] = ("a", "b")) -> None:
        self.hosts = tuple(Host(f"host-{name}", f"10.0.0.{number}") for number, name in enumerate(names, start=1))

    def start(self) -> "Cable":
        for host in self.hosts:
            host.start()
        one, other = self.hosts
        one.connect(other.pid)
        other.connect()
        return self

    def close(self) -> None:
        for host in self.hosts:
            host.close()
