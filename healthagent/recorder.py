"""Keeps a record of what the probes bring, beside the loop: a disk that stands still or is full holds up nothing.

Entries wait in memory for some seconds and are written together, by a thread: so they pack better, and a thread costs
more than all the rest. What comes with a transition is written at once.
"""

from collections import deque
from itertools import groupby
from pathlib import Path

from healthagent import __version__, clock
from healthagent.config import Config, shown
from healthagent.errand import Errand
from healthagent.facts import Snapshot
from healthagent.logs import tell_of_file
from healthagent.lookout import Lookout
from healthagent.record import RELOAD, START, TURN, Ack, End, Entry, Header, Recording, Sample
from healthagent.recordfile import RecordFile
from healthagent.trail import Pins

__all__ = ["FLUSH_SECONDS", "MOST_WAITING", "Recorder"]

FLUSH_SECONDS = 10.0
HURRY_SECONDS = 0.2  # behind the write before at the soonest, however many transitions there are
LOOK_SECONDS = 2.0
CLOSE_SECONDS = 1.0
MOST_WAITING = 512  # entries in memory, of a disk that does not answer: minutes


class Recorder:
    """`adopt()` says where; without a file it does nothing. `close()` writes what is left.

    A file that cannot be written is told of and tried again: no verdict depends on it.
    """

    def __init__(self) -> None:
        self._desks: dict[Path, _Desk] = {}  # of every file that there was, the one now is `_desk`
        self._desk: _Desk | None = None
        self._run: float | None = None

    def adopt(self, config: Config, pins: Pins, wall: float) -> None:
        """From now on to the file of this configuration; `pins`: what is pinned now."""
        before, recording = self._desk, config.record
        path = recording.path if recording is not None else None
        if before is not None and before.path != path:
            before.leave(End(at=_now(), wall=wall))
        why = START if self._run is None else RELOAD if before is not None and before.path == path else TURN
        self._run = wall if self._run is None else self._run
        self._desk = None
        if recording is None:
            return
        self._desk = self._desks.setdefault(recording.path, _Desk(recording))
        self._desk.resize(recording)
        header = Header(
            why=why,
            at=_now(),
            wall=wall,
            run=self._run,
            version=__version__,
            server=config.login.where,
            config=shown(config),
            pins=pins,
        )
        self._desk.take(header, hurry=True)

    def sample(self, snapshot: Snapshot, wall: float, pins: Pins, *, turned: bool) -> None:
        """What a probe has brought, with the pins behind it; `turned`: a state or a verdict is not what it was."""
        if self._desk is not None:
            self._desk.take(Sample(snapshot=snapshot, wall=wall, pins=pins), hurry=turned)

    def acknowledged(self, wall: float, *, cluster: bool) -> None:
        """Somebody has acknowledged something; the next sample is judged so."""
        if self._desk is not None:
            self._desk.take(Ack(cluster=cluster, at=_now(), wall=wall))

    async def close(self, wall: float) -> None:
        """The program stops: a disk that answers gets it all, another one does not hold the stop up."""
        if self._desk is not None:
            self._desk.leave(End(at=_now(), wall=wall))
        self._desk = None
        for desk in self._desks.values():
            await desk.close()


class _Lost:
    """In the place of samples for which there was no room."""

    samples = 0


class _Desk:
    """What waits for one file, and the thread that takes it there."""

    def __init__(self, recording: Recording) -> None:
        self.path = recording.path
        self._file = RecordFile(recording)
        self._waiting: deque[Entry | _Lost] = deque()  # filled by the loop, emptied by the thread
        self._writing = Errand()
        self._left = False  # while something is written: the rest, too
        self._lookout = Lookout("record", seconds=LOOK_SECONDS)
        self._written_at = clock.now()
        self._hurry = False
        self._trouble = ""

    def resize(self, recording: Recording) -> None:
        self._file.resize(recording)

    def take(self, entry: Entry, *, hurry: bool = False) -> None:
        """To be written soon. Where the disk does not answer for long, the samples behind the first ones are lost."""
        if len(self._waiting) < MOST_WAITING or isinstance(entry, Header):
            self._waiting.append(entry)
        else:
            self._lose(isinstance(entry, Sample))
        self._hurry = self._hurry or hurry
        due = self._hurry or clock.now() - self._written_at >= FLUSH_SECONDS
        if due and self._writing.due(HURRY_SECONDS):
            self._hurry, self._written_at = False, clock.now()
            self._writing.run(self._write())

    def leave(self, end: End) -> None:
        """Nothing more comes for now."""
        self._waiting.append(end)
        if self._writing.under_way:
            self._left = True
        else:
            self._writing.run(self._write())

    async def close(self) -> None:
        await self._writing.wait(CLOSE_SECONDS)
        await self._writing.close()

    def _lose(self, samples: int) -> None:
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, _Lost):
            last = _Lost()
            self._waiting.append(last)
        last.samples += samples

    async def _write(self) -> None:
        await self._once()
        while self._left:
            self._left = False
            await self._once()

    async def _once(self) -> None:
        said = await self._lookout.look(self._carry)
        trouble, lost = said if said is not None else (f"has not answered for {LOOK_SECONDS:g} s", 0)
        if trouble and not self._trouble:
            tell_of_file(self.path, f"probe.record: {self.path}: {trouble}; it goes on when it can", trouble)
        elif self._trouble and not trouble:
            tell_of_file(self.path, f"probe.record: {self.path} is written again; {lost} samples were lost")
        self._trouble = trouble

    def _carry(self) -> tuple[str, int]:
        """In the thread: what waits goes to the file. What was in the way ("": nothing), and how many were lost."""
        entries, trouble, lost = [self._waiting.popleft() for _ in range(len(self._waiting))], "", 0
        for missing, some in groupby(entries, lambda entry: isinstance(entry, _Lost)):
            if missing:
                self._file.lose(sum(entry.samples for entry in some if isinstance(entry, _Lost)))
                continue
            try:
                lost += self._file.append([entry for entry in some if not isinstance(entry, _Lost)])
            except OSError as error:
                trouble = _spoken(error, self.path)
        return trouble, lost


def _spoken(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no directory {path.parent}; make it, or name a file in state_dir"
    if isinstance(error, PermissionError):
        return f"this user may not write there; name a file in a directory of its own, not {path.parent}"
    return str(error.strerror or error)


def _now() -> float:
    return round(clock.now(), 6)
