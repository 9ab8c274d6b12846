"""A record through the same judge as the daemon's: what it told, or would have told by another configuration.

Also what it tells between two samples, when facts grow too old. There are no rules here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from healthagent.course import Course, Event, Facing, StateTurn, Turn
from healthagent.decide import due_at, expire, reports, turned, valid_until
from healthagent.judge import Memory, acknowledge, adapt, judge, repinned, starting
from healthagent.model import Publication
from healthagent.plan import Plan
from healthagent.policy import Policy
from healthagent.record import GAP, RELOAD, START, TURN, Ack, End, Entry, Header, Sample

__all__ = ["Replay"]

# The clock counts from the boot of the machine: behind another one the wall clock has to say how long it was away.
SAME_BOOT_SECONDS = 5.0


class Replay:
    """`policies`: what each course is judged by; it may depend on the header in force.

    `began_wall`, `ended_wall`: first and last entry. `seconds`: between them, by the clock that does not jump.
    """

    def __init__(self, policies: Sequence[Callable[[Header], Policy]]) -> None:
        self._tellers = [_Teller(policy) for policy in policies]
        self.events: list[Event] = []
        self.samples = 0
        self.began_wall = self.ended_wall = self.seconds = 0.0
        self._at: float | None = None  # of the last entry, by the clock of its machine
        self._header: Header | None = None  # in force; None: nobody is there
        self._turn: Header | None = None  # of a file that may go on where the last one has ended
        self._sequence = 0

    @property
    def courses(self) -> tuple[Course, ...]:
        """In the order of the policies; complete behind run()."""
        return tuple(teller.course for teller in self._tellers)

    def run(self, entries: Iterable[Entry]) -> None:
        """Through all of them. What `entries` or a policy raises comes through."""
        for entry in entries:
            match entry:
                case Header():
                    self._head(entry)
                case Sample():
                    self._sample(entry)
                case Ack():
                    self._pass(entry.at, entry.wall)
                    self._tell("acknowledged")
                    for teller in self._tellers:
                        teller.acknowledge(cluster=entry.cluster)
                case End():
                    self._pass(entry.at, entry.wall)
                    self._stop("stopped")
        for teller in self._tellers:
            teller.close(self.seconds, self.ended_wall)

    def _head(self, header: Header) -> None:
        goes_on = self._header is not None and self._header.run == header.run
        if goes_on and header.why == TURN:
            self._turn = header
        elif goes_on and header.why == RELOAD:
            self._pass(header.at, header.wall)
            self._tell("reloaded")
            self._header = header
            for teller in self._tellers:
                teller.reload(header, self.seconds)
        else:
            self._begin(header)

    def _begin(self, header: Header) -> None:
        """With no memory of what was before but the pins."""
        if self._header is not None:
            self._stop("lost samples" if header.why == GAP else "ended")
        if self._at is None:
            self.began_wall = header.wall
        else:
            self.seconds += _away_seconds(header.at - self._at, header.wall - self.ended_wall)
        self._at, self.ended_wall, self._header, self._turn = header.at, header.wall, header, None
        self._tell("started" if header.why == START else "recording")
        for teller in self._tellers:
            teller.start(header, self.seconds)

    def _sample(self, sample: Sample) -> None:
        snapshot = sample.snapshot
        if self._turn is not None and snapshot.sequence != self._sequence + 1:
            self._begin(self._turn)  # what was between the two files is not there
        self._turn, self._sequence = None, snapshot.sequence
        self._pass(snapshot.ended_at, sample.wall)
        self.samples += 1
        for teller in self._tellers:
            teller.sample(sample, self.seconds)

    def _pass(self, at: float, wall: float) -> None:
        """Time passes, and facts grow old."""
        if self._at is not None:
            self.seconds += max(0.0, at - self._at)
        self._at, self.ended_wall = at, wall
        for teller in self._tellers:
            teller.age(at, self.seconds)

    def _stop(self, word: str) -> None:
        self._tell(word)
        self._header = None
        for teller in self._tellers:
            teller.stop(self.seconds, self.ended_wall)

    def _tell(self, word: str) -> None:
        self.events.append(Event(at=self.seconds, wall=self.ended_wall, word=word))


def _away_seconds(clock: float, wall: float) -> float:
    same_boot = clock >= 0 and abs(clock - wall) < SAME_BOOT_SECONDS
    return clock if same_boot else max(0.0, wall)


class _Teller:
    """One policy's course. `at` is the clock of the machine, `seconds` that of the replay."""

    def __init__(self, policy: Callable[[Header], Policy]) -> None:
        self._policy_of = policy
        self._memory: Memory | None = None
        self._told = NOTHING
        self._server = ""
        self._max_age = 0.0
        self.course = Course()

    def start(self, header: Header, seconds: float) -> None:
        policy = self._adopt(header)
        self._memory = starting(policy, header.wall, header.pins)
        self._tell(self._memory.publication, seconds, header.wall)

    def reload(self, header: Header, seconds: float) -> None:
        """As the daemon does it: of the same server all is remembered."""
        before = self._server
        policy, memory = self._adopt(header), self._memory
        if memory is not None and header.server == before:
            self._memory = adapt(memory, Plan(policy), header.wall)
        else:
            self._memory = starting(policy, header.wall, memory.trail.pins if memory is not None else header.pins)
        self._tell(self._memory.publication, seconds, header.wall)

    def sample(self, sample: Sample, seconds: float) -> None:
        if self._memory is not None:
            self._memory = judge(self._memory, sample.snapshot, sample.wall)
            self._tell(self._memory.publication, seconds, sample.wall)

    def acknowledge(self, *, cluster: bool) -> None:
        if self._memory is not None:
            self._memory = repinned(self._memory, acknowledge(self._memory, cluster=cluster)[0])

    def age(self, at: float, seconds: float) -> None:
        """What is told until then, while nothing new comes: as the monitor has the board do it."""
        publication = self._memory.publication if self._memory is not None else NOTHING
        if publication.snapshot is None:
            return
        last = publication.snapshot.ended_at + self._max_age
        limits = (due_at(publication, self._max_age), last) if last < at else (valid_until(publication, self._max_age),)
        for limit in limits:
            if limit < at:
                aged = expire(publication, self._max_age, math.nextafter(limit, math.inf))
                self._tell(aged, seconds - (at - limit), limit + publication.wall_offset, aged=True)

    def stop(self, seconds: float, wall: float) -> None:
        """Nobody tells anything any more."""
        self._memory = None
        self._tell(replace(NOTHING, state=self._told.state), seconds, wall)
        self._told = NOTHING

    def close(self, seconds: float, wall: float) -> None:
        """The end of the record: what was told last lasts until here."""
        self.course.seconds, self.course.wall = seconds, wall

    def _adopt(self, header: Header) -> Policy:
        policy = self._policy_of(header)
        self._server, self._max_age = header.server, policy.max_age_seconds
        return policy

    def _tell(self, publication: Publication, seconds: float, wall: float, *, aged: bool = False) -> None:
        before, self._told = self._told, publication
        if before.state is not publication.state:
            failure = publication.snapshot.failure if publication.snapshot is not None else None
            self.course.states.append(
                StateTurn(
                    at=seconds,
                    wall=wall,
                    before=before.state.word,
                    after=publication.state.word,
                    message=failure.message if failure is not None else "",
                )
            )
        for role in (role for role in before.verdicts if role not in publication.verdicts):
            status = before.verdicts[role].status
            self.course.turns.append(Turn(at=seconds, wall=wall, role=role, before=status, after=None))
        for role in turned(before, publication):
            self.course.turns.append(_turn(role, before, publication, seconds, wall, aged=aged))


def _turn(role: str, before: Publication, after: Publication, seconds: float, wall: float, *, aged: bool) -> Turn:
    was, verdict = before.verdicts.get(role), after.verdicts[role]
    return Turn(
        at=seconds,
        wall=wall,
        role=role,
        before=was.status if was is not None else None,
        after=verdict.status,
        weight=verdict.weight,
        reasons=verdict.reasons,
        facing=tuple(
            Facing(gate=report.gate.value, value=report.finding.value, limit=report.finding.limit)
            for report in reports(after, role)
            if report.reason is not None
        ),
        aged=aged,
    )


NOTHING = Publication()
