"""How far a state transfer to this node has come, from what its connections have received."""

import os
from collections.abc import Iterable

from healthagent.diag import Connection
from healthagent.facts import Progress

__all__ = ["DEFAULT_PORT", "Receiving", "endpoint", "rsync_bytes"]

DEFAULT_PORT = 4444
# the first seconds of a copy say nothing of its rate: the scripts shake hands, and files of a few bytes go first
RATE_SECONDS = 2.0
# what wsrep_sst_rsync sends of the datadir's own files; of its directories it sends all
RSYNC_FILES = ("ibdata", "undo", "ib_logfile", "aria_log")
MAX_FILES = 20_000


class Receiving:
    """One transfer. rsync comes in many connections, some one after the other: each counts with its most.

    What a connection brings after the last look at it is missed, so `done_bytes` is a lower bound, and never falls.
    """

    def __init__(self, *, started_at: float, host: str | None, total_bytes: int | None) -> None:
        self._started_at = started_at
        self._host = host
        self._total = total_bytes
        self._most: dict[tuple[str, int, int], int] = {}
        self._source: str | None = None
        self._first: tuple[float, int] | None = None

    def add(self, found: Iterable[Connection], now: float) -> None:
        """The connections to the transfer's port as they are now."""
        found = list(found)
        # behind a NAT the advertised address is none of ours: then whatever comes to that port
        for one in [one for one in found if one.local == self._host] or found:
            key = (one.remote, one.remote_port, one.inode)
            self._most[key] = max(self._most.get(key, 0), one.received_bytes)
            self._source = one.remote
        if self._most and self._first is None:
            self._first = (now, self._done)

    def progress(self, now: float) -> Progress:
        """`done_bytes` None until there was a connection: it may run where it cannot be seen."""
        if self._first is None:
            return Progress(started_at=self._started_at, total_bytes=self._total)
        if self._total is not None and self._done > self._total:
            self._total = None  # so it was none
        return Progress(
            source=self._source,
            done_bytes=self._done,
            total_bytes=self._total,
            started_at=self._started_at,
            end_at=self._end_at(now),
        )

    @property
    def _done(self) -> int:
        return sum(self._most.values())

    def _end_at(self, now: float) -> float | None:
        if self._total is None or self._first is None:
            return None
        since, before = self._first
        seconds, brought = now - since, self._done - before
        if seconds < RATE_SECONDS or brought <= 0:
            return None
        return now + (self._total - self._done) * seconds / brought


def rsync_bytes(datadir: str) -> int | None:
    """About what an rsync donor will send: as much as was here before, as it writes in place and deletes at the end.

    None: not all of it can be seen (a user other than the server's), or it is too much to look through. The other
    methods delete what was here first, and tell nobody how much will come (--progress 0, unless wsrep_debug is on).
    """
    total = files = 0
    try:
        with os.scandir(datadir) as entries:
            top = [entry for entry in entries if entry.is_dir() or entry.name.startswith(RSYNC_FILES)]
        for entry in top:
            names = [entry] if not entry.is_dir() else list(os.scandir(entry.path))
            files += len(names)
            if files > MAX_FILES:
                return None
            total += sum(name.stat().st_size for name in names if name.is_file())
    except OSError:
        return None
    return total or None


def endpoint(address: str | None) -> tuple[str | None, int]:
    """`10.0.0.12:4444/rsync_sst`, `[::1]:4444`, `10.0.0.12` -> host and port as the joiner's script listens."""
    text = (address or "").partition("/")[0].rpartition("@")[2]
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, ""
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else 0
    return host.strip("[]") or None, number or DEFAULT_PORT
