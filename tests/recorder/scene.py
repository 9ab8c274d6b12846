"""The samples of one condition as they are taken, and the stage: the real servers that it happens to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

from healthagent import clock
from healthagent.session import Login
from lab import LabError, MariaDB, sql, wait_until
from tests.recorded.sample import Sample
from tests.recorder.eye import Eye

__all__ = ["LASTS_SECONDS", "Scene", "Stage", "beside", "failed", "session", "shows"]

BEFORE_SECONDS = 3.0
# Longer than every hold and every damping: the verdict that is recorded is the one that stays.
LASTS_SECONDS = 15.0
WITHIN_SECONDS = 60.0

Wanted = Callable[[Sample], object]


def shows(**values: object) -> Wanted:
    """Rows with these values."""
    return lambda sample: sample.rows is not None and all(sample.says(name) == values[name] for name in values)


def failed(sample: Sample) -> bool:
    """No connection."""
    return sample.failure is not None


class Scene:
    """One server in one condition."""

    def __init__(self, node: MariaDB) -> None:
        self.node = node
        self.samples: list[Sample] = []
        self._eye = Eye(node)

    def look_at(self, node: MariaDB, login: Login | None = None) -> None:
        """From now on at another server, or as another account."""
        self.close()
        self.node, self._eye = node, Eye(node, login)

    def close(self) -> None:
        self._eye.close()

    def before(self) -> Sample:
        """The server as it was."""
        return self.take(BEFORE_SECONDS)

    def take(self, seconds: float = LASTS_SECONDS, *, wanted: Wanted = bool, within: float = WITHIN_SECONDS) -> Sample:
        """The first sample that is wanted, as if the server went on like that for so many seconds."""
        last: list[Sample] = []

        def seen() -> bool:
            last[:] = [self._eye.look()]
            return bool(wanted(last[0]))

        try:
            wait_until(seen, within, "a sample as wanted", logs=[self.node.log])
        except LabError as error:
            raise LabError(f"{error}\nthe last one: {last}") from None
        self.samples.append(replace(last[0], lasts_seconds=seconds))
        return last[0]

    def watch(self, seconds: float, *, every: float = 1.0, until: Wanted | None = None) -> None:
        """The course of things: a sample each time, for so long or until one is as wanted, that one included."""
        ends = clock.now() + seconds
        while (started := clock.now()) < ends:
            sample = self._eye.look()
            _wait_for(started + every)
            self.samples.append(replace(sample, lasts_seconds=round(clock.now() - started, 3)))
            if until is not None and until(sample):
                return
        if until is not None:
            raise LabError(f"not within {seconds:g} s; the last one: {self.samples[-1:]}")

    def stay(self, seconds: float = LASTS_SECONDS) -> None:
        """The last sample goes on for so long."""
        self.samples[-1] = replace(self.samples[-1], lasts_seconds=seconds)


def _wait_for(due: float) -> None:
    wait_until(lambda: clock.now() >= due, due - clock.now() + 1, "time passes")


class Stage:
    """Real servers that are healthy when a condition begins. `ruined`: the next one needs new ones."""

    ruined = True

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        self._ready()
        with closing(Scene(self.target)) as scene:
            yield scene

    def _ready(self) -> None:
        if not self.ruined:
            with suppress(LabError, sql.Error):
                self.heal()
                return
        self.close()
        self.build()
        self.ruined = False

    @property
    def target(self) -> MariaDB:
        """The one that is looked at."""
        raise NotImplementedError

    def build(self) -> None:
        """New servers, started."""
        raise NotImplementedError

    def heal(self) -> None:
        """The same ones, as they were; LabError or an SQL error if that does not work."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def session(node: MariaDB, until: ExitStack, *statements: str) -> None:
    """A session that has said so much, and stays."""
    connection = until.enter_context(node.client())
    for statement in statements:
        sql.execute(connection, statement)


def beside(until: ExitStack, does: Callable[[], object]) -> None:
    """Runs in a thread; what it raises is raised at the end."""
    threads = until.enter_context(ThreadPoolExecutor())
    until.callback(threads.submit(does).result)
