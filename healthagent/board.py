"""The one mutable cell: what is published now. The monitor writes it, everybody else reads it."""

from collections.abc import Callable

from healthagent.clock import now
from healthagent.decide import due_at, expire, valid_until
from healthagent.model import Publication

__all__ = ["Board"]


class Board:
    """`current()` is always the same object until something changes: renderers may keep what they made of it."""

    def __init__(self, publication: Publication, max_age_seconds: float, clock: Callable[[], float] = now):
        self._clock = clock
        self._followers: list[Callable[[], None]] = []
        self._publication = self._told = publication
        self._max_age, self._valid_until = max_age_seconds, float("inf")
        self.publish(publication, max_age_seconds)

    def publish(self, publication: Publication, max_age_seconds: float) -> None:
        self.current()  # what has expired by now was told last, even if nobody has asked
        self._publication, self._told, self._max_age = publication, publication, max_age_seconds
        self._valid_until = valid_until(publication, max_age_seconds)
        self._age()
        self._call()

    def follow(self, follower: Callable[[], None]) -> None:
        """Calls `follower` after each publication and each expiry that is met; it must be quick and raise nothing."""
        self._followers.append(follower)

    def current(self) -> Publication:
        """What may be told now: verdicts on facts older than max_age have fallen, whatever the monitor does."""
        if self._age():
            self._call()
        return self._told

    def _age(self) -> bool:
        """Whether what was told until now has expired."""
        at = self._clock()
        if at <= self._valid_until:
            return False
        self._told = expire(self._publication, self._max_age, at)
        # once expired, only the passing of stale's own limit can change it again
        later = valid_until(self._told, self._max_age)
        self._valid_until = later if later > at else float("inf")
        return True

    def _call(self) -> None:
        for follower in self._followers:
            follower()

    @property
    def valid_until(self) -> float:
        """Until when what current() has told stands, if nothing is published; infinity: for ever."""
        return self._valid_until

    @property
    def due_at(self) -> float:
        """When current() is to be asked at the latest, so that an expiry is told to all; infinity: never."""
        return max(self._valid_until, due_at(self._told, self._max_age))
