"""What /proc shows of the database server: its process, and the state transfer scripts it has started.

Reading a file of /proc can block (cmdline takes the memory lock of a process that may be dying), so `look` runs in a
thread with a deadline. Everything here may be invisible (another host, hidepid, ProtectProc): then it is not known.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from healthagent import clock
from healthagent.diag import connections
from healthagent.facts import Evidence, ProcessState, Progress, Transfer
from healthagent.transfer import Receiving, endpoint, rsync_bytes

__all__ = ["ServerProcess", "listens"]

PROC = Path("/proc")
SERVER_NAMES = ("mariadbd", "mysqld")
SCRIPT_PREFIX = "wsrep_sst_"
SCRIPT_PID_FILE = "wsrep_sst.pid"  # in the datadir; donors write it, and rsync joiners
PF_EXITING = 0x4  # include/linux/sched.h; field 9 of /proc/PID/stat
MAX_ANCESTORS = 8
LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that matter; `started` (field 22) tells a reused pid."""

    pid: int
    name: str
    letter: str
    parent: int
    flags: int
    started: int


@dataclass(frozen=True, slots=True)
class Script:
    """A running wsrep_sst_* script."""

    stat: Stat
    arguments: list[str]
    transfer: Transfer


class ServerProcess:
    """Finds the server's process by what is known of it: the peer of our socket, its pid file, its datadir."""

    def __init__(self, datadir: str | None = None, pid_file: str | None = None) -> None:
        self.datadir = datadir
        self.pid_file = pid_file
        self._known: Stat | None = None
        self._served: tuple[int, int] | None = None
        self._guessed = False
        self._undecided = False
        self._receiving: tuple[tuple[int, int], Receiving] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if it is certain that it is ours."""
        return self._known.pid if self._known is not None and not self._guessed else None

    def adopt(self, pid: int | None) -> None:
        """The server that answers us now. None or 1 (a socket unit owns the socket): the pid file must tell."""
        stat = read_stat(pid) if pid is not None and pid > 1 else self._find()
        if stat is not None:
            self._known, self._served, self._guessed = stat, (stat.pid, stat.started), False

    def look(self, *, transfers: bool) -> Evidence:
        """The process now, and its transfers if asked. Blocks for as long as /proc does.

        A process that is merely the only candidate proves nothing against the server, nor that it sends nothing.
        """
        before = self._known
        stat = self._again(before) or self._find()
        if stat is None:
            gone = before is not None and not self._guessed and not self._undecided
            return Evidence(process=ProcessState.GONE if gone else None)
        self._known = stat
        state, scripts = self._state(stat), self._scripts(stat) if transfers else []
        sent = tuple(dict.fromkeys(script.transfer for script in scripts)) if transfers else None
        joiner = next((script for script in scripts if script.transfer.joiner), None)
        progress = self._progress(joiner) if transfers else None  # a look that does not ask forgets nothing
        if self._guessed:
            proves_nothing = state not in (ProcessState.ALIVE, ProcessState.NEW)
            return Evidence(process=None if proves_nothing else state, transfers=sent or None, progress=progress)
        return Evidence(process=state, transfers=sent, progress=progress)

    def _again(self, before: Stat | None) -> Stat | None:
        stat = read_stat(before.pid) if before is not None else None
        return stat if stat is not None and before is not None and stat.started == before.started else None

    def _state(self, stat: Stat) -> ProcessState:
        if stat.letter in "ZX" or stat.flags & PF_EXITING:
            return ProcessState.EXITING
        if stat.letter in "Tt":
            return ProcessState.STOPPED
        return ProcessState.ALIVE if self._served == (stat.pid, stat.started) else ProcessState.NEW

    def _find(self) -> Stat | None:
        self._guessed = self._undecided = False
        if self.pid_file is not None:
            stat = read_stat(_read_pid(Path(self.pid_file)))
            if stat is not None and stat.name in SERVER_NAMES:
                return stat
        servers = [stat for stat in map(read_stat, _pids()) if stat is not None and stat.name in SERVER_NAMES]
        ours = [stat for stat in servers if self._has_our_datadir(stat.pid) is True]
        maybe = [stat for stat in servers if self._has_our_datadir(stat.pid) is None]
        candidates = ours or maybe
        self._guessed = not ours and len(maybe) == 1
        self._undecided = len(candidates) > 1  # two containers may spell their datadirs alike
        return candidates[0] if len(candidates) == 1 else None

    def _has_our_datadir(self, pid: int) -> bool | None:
        """By its working directory (mariadbd changes to its datadir), else its arguments; None: cannot be seen."""
        if self.datadir is None:
            return None
        ours = os.path.realpath(self.datadir)
        try:
            return os.path.realpath((PROC / str(pid) / "cwd").readlink()) == ours
        except OSError:
            named = _option(_arguments(pid), "--datadir")
            return None if named is None else os.path.realpath(named) == ours

    def _scripts(self, server: Stat) -> list[Script]:
        named = _read_pid(Path(self.datadir) / SCRIPT_PID_FILE) if self.datadir is not None else None
        script = _script(read_stat(named))
        if script is not None:
            return [script]
        # Descendants first: the command line of every process on the host would cost more, and may block.
        stats = {stat.pid: stat for stat in map(read_stat, _pids()) if stat is not None}
        found = [_script(stat) for pid, stat in stats.items() if _descends(pid, server.pid, stats)]
        # the oldest first: a script forks copies of itself (pipelines, subshells)
        return sorted((script for script in found if script is not None), key=lambda script: script.stat.started)

    def _progress(self, joiner: Script | None) -> Progress | None:
        """What has come by now. A script started later is another transfer, and begins at 0."""
        if joiner is None:
            self._receiving = None
            return None
        stat = joiner.stat
        host, port = endpoint(_option(joiner.arguments, "--address"))
        key = (stat.pid, stat.started)
        if self._receiving is None or self._receiving[0] != key:
            started_at = stat.started / os.sysconf("SC_CLK_TCK")  # ticks since boot: the clock of healthagent.clock
            total = rsync_bytes(self.datadir) if self.datadir and joiner.transfer.method == "rsync" else None
            self._receiving = (key, Receiving(started_at=started_at, host=host, total_bytes=total))
        receiving, now = self._receiving[1], clock.now()
        receiving.add(connections(port) or (), now)
        return receiving.progress(now)


def read_stat(pid: int | None) -> Stat | None:
    """The process, or None if there is none or it cannot be seen."""
    if pid is None:
        return None
    try:
        line = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
        name, fields = line[line.index("(") + 1 : line.rindex(")")], line[line.rindex(")") + 2 :].split()
        return Stat(pid, name, fields[0], int(fields[1]), int(fields[6]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def _pids() -> list[int]:
    try:
        return [int(path.name) for path in PROC.iterdir() if path.name.isdecimal()]
    except OSError:
        return []


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii").strip())
    except (OSError, ValueError):
        return None


def _arguments(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _option(arguments: list[str], name: str) -> str | None:
    """The value of `--name value` or `--name=value`."""
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(name + "="):
            return argument[len(name) + 1 :]
    return None


def _script(stat: Stat | None) -> Script | None:
    arguments = _arguments(stat.pid) if stat is not None else []
    transfer = _transfer(arguments)
    return Script(stat, arguments, transfer) if stat is not None and transfer is not None else None


def _transfer(arguments: list[str]) -> Transfer | None:
    """`bash /usr//bin/wsrep_sst_rsync --role donor ... --bypass` -> a Transfer; anything else is none."""
    names = (Path(argument).name for argument in arguments[:2])
    script = next((name for name in names if name.startswith(SCRIPT_PREFIX)), None)
    role = _option(arguments, "--role")
    if script is None or " " in script or role not in ("donor", "joiner"):
        return None
    method = script.removeprefix(SCRIPT_PREFIX)
    return Transfer(joiner=role == "joiner", method=method, bypass="--bypass" in arguments)


def _descends(pid: int, ancestor: int, stats: Mapping[int, Stat]) -> bool:
    for _ in range(MAX_ANCESTORS):
        stat = stats.get(pid)
        if stat is None or stat.parent == ancestor:
            return stat is not None
        pid = stat.parent
    return False


def listens(pid: int, port: int, address: str | None) -> bool | None:
    """Whether `port` of `address` is in LISTEN in the network of that process; None: that cannot be seen.

    `address` is MariaDB's bind_address; where it is no single IP address, any address will do.
    """
    wanted = _single(address)
    seen = False
    for family in ("tcp", "tcp6"):
        try:
            with (PROC / str(pid) / "net" / family).open("r", encoding="ascii", errors="replace") as lines:
                next(lines, None)
                seen = True
                for line in lines:
                    local, _, state = line.split()[1:4]
                    if state != LISTEN:
                        break  # the kernel shows all listeners first; behind them may come a hundred thousand others
                    host, _, number = local.partition(":")
                    if int(number, 16) == port and _covers(_hex_address(host), wanted):
                        return True
        except (OSError, ValueError, IndexError):
            continue  # no IPv6 here, hidepid, or the process has just gone
    return False if seen else None


def _single(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address((address or "").partition(",")[0].strip())
    except ValueError:
        return None
    return None if found.is_unspecified else found


def _hex_address(text: str) -> IPv4Address | IPv6Address:
    """`0100007F` -> 127.0.0.1: words of 32 bits in the machine's own order."""
    raw = b"".join(struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8))
    address = ip_address(raw)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _covers(listening: IPv4Address | IPv6Address, wanted: IPv4Address | IPv6Address | None) -> bool:
    return wanted is None or listening.is_unspecified or listening == wanted
