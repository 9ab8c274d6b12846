"""Tells systemd how the agent is, by one datagram each to $NOTIFY_SOCKET (sd_notify(3)); without one it says nothing.

Our own datagrams, not those of python3-systemd: these wait where systemd's queue is full, and the loop must not.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

from healthagent.board import Board
from healthagent.events import Event, Kind, Level
from healthagent.logs import tell
from healthagent.model import Publication, Status, Verdict

__all__ = ["Notifier", "status_line", "watchdog_seconds"]

BEAT_SECONDS = 5.0  # without a watchdog: for what found no room
RETRY_SECONDS = 0.5  # while the monitor stands still: it may go on at any moment
STATUS_LIMIT = 1000  # characters; systemd ignores what is longer than 4096 bytes (NOTIFY_BUFFER_MAX)
SHOWN_ROLES = ("writer", "reader", "any")


class Notifier:
    """`ready()` when the listeners are open, then whatever happens; `close()` at the end. Nothing here waits or raises.

    `turns`: whether the monitor goes on. Only then the watchdog is fed: a loop that turns around a monitor that is
    stuck has nothing to tell.
    """

    def __init__(self, board: Board, turns: Callable[[], bool], environment: Mapping[str, str] = os.environ) -> None:
        self._board, self._turns = board, turns
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog = watchdog_seconds(environment)
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._words: deque[str] = deque()
        self._shown: Publication | None = None
        self._told = self._trouble = ""
        self._stuck = False

    def ready(self, trouble: str = "") -> None:
        """It serves. `trouble`: why the last reload was refused, for `systemctl status`."""
        if self._address is None:
            return
        self._shown, self._trouble = None, trouble
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._board.follow(self._flush)
        self._say("READY=1")
        if self._timer is None:
            self._beat()

    def reloading(self) -> None:
        """It reads its configuration anew; `ready()` follows, whatever comes of it. The time is what tells systemd 253
        and later which of several reloads this is.
        """
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._timer = self._address = None

    def _say(self, words: str) -> None:
        if self._socket is not None:
            self._words.append(words)
            self._flush()

    def _flush(self) -> None:
        """All that has not been told yet, in its order; STATUS only if it is another one, and only the newest."""
        while self._words:
            if not self._send(self._words[0]):
                return
            self._words.popleft()
        publication = self._board.current()
        if publication is self._shown:
            return
        line = status_line(publication) + (f"; not reloaded: {self._trouble}" if self._trouble else "")
        if line == self._told or self._send(f"STATUS={_one_line(line)}"):
            self._shown, self._told = publication, line

    def _send(self, words: str) -> bool:
        """Whether it went; if not, it is tried again with the next beat."""
        if self._socket is None or self._address is None:
            return False
        try:
            self._socket.sendto(words.encode("utf-8", "replace"), self._address)
        except OSError:  # no room, or nobody there now
            return False
        return True

    def _beat(self) -> None:
        turns, rest = self._turns(), self._watchdog / 2 if self._watchdog is not None else BEAT_SECONDS
        self._flush()
        if self._watchdog is not None:
            if turns:
                self._send("WATCHDOG=1")
            elif not self._stuck:
                says = "no look at the server has ended for long: the watchdog of systemd is not fed any more"
                tell(Event(kind=Kind.FAULT, level=Level.ERROR, says=says))
            self._stuck = not turns
        rest = rest if turns else min(rest, RETRY_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(rest, self._beat)


def status_line(publication: Publication) -> str:
    """`synced: writer up 100, reader up 70, any up 100`; `replica: writer down (read_only), ...`."""
    roles = [_shown(publication.verdicts[role]) for role in SHOWN_ROLES if role in publication.verdicts]
    return f"{publication.state.word}: {', '.join(roles)}"


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """The time within which systemd wants to hear from this very process; None: it does not, or speaks of another."""
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
        pid = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and pid == os.getpid() else None


def _shown(verdict: Verdict) -> str:
    if verdict.status is Status.UP:
        return f"{verdict.role} up {verdict.weight}"
    reasons = ",".join(reason.word for reason in verdict.reasons)
    return f"{verdict.role} {verdict.status.value} ({reasons})"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:STATUS_LIMIT]


def _address(name: str) -> str | None:
    """A path, or a name in the abstract namespace, which begins with `@`; other kinds (vsock:) are not for services."""
    if not name.startswith(("/", "@")) or len(name) < 2:
        return None
    return "\0" + name[1:] if name.startswith("@") else name
