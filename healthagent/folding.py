"""A bound for the log: what is told again and again is told once, and then counted.

Every kind of event has a rule. What is beyond it is held back; the newest of it is told when the time is over, with how
many there were. The clock comes in as a parameter, in seconds of any clock that only goes forward.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from healthagent.events import Event, Kind
from healthagent.forms import Line

__all__ = ["FLOOD", "GROWTH", "REPEATED", "Folding"]


class Rule(NamedTuple):
    """`burst` lines within `seconds`; where it goes on, that time is ten times as long, at most `longest`."""

    burst: int
    seconds: float
    longest: float


FLOOD = Rule(20, 60.0, 60.0)
REPEATED = Rule(1, 60.0, 3600.0)
GROWTH = 10
# of these the same sentence is no news; all others tell of a change, or answer to what somebody has done
SAME_SENTENCE = (Kind.LISTENER, Kind.STATE_DIR, Kind.FAULT, Kind.OTHER)
MOST_SENTENCES = 256

Key = tuple[Kind, str]


@dataclass(slots=True)
class Window:
    rule: Rule
    since: float
    seconds: float
    told: int = 0
    held: int = 0
    last: Line | None = None

    @property
    def until(self) -> float:
        return self.since + self.seconds


class Folding:
    """`due()` is to be asked before `take()`, and at `due_at`."""

    def __init__(self) -> None:
        self._windows: dict[Key, Window] = {}

    def take(self, line: Line, now: float) -> bool:
        """Whether it is to be told now."""
        windows = [self._windows.setdefault(key, Window(rule, now, rule.seconds)) for key, rule in self._rules(line)]
        full = next((window for window in windows if window.told >= window.rule.burst), None)
        if full is not None:
            full.held, full.last = full.held + 1, line
            return False
        for window in windows:
            window.told += 1
        return True

    @property
    def due_at(self) -> float | None:
        """When something that was held back is to be told."""
        return min((window.until for window in self._windows.values() if window.held), default=None)

    def due(self, now: float) -> list[Line]:
        """What is to be told now of what was held back. What has been quiet is forgotten."""
        over = {key: window for key, window in self._windows.items() if window.until <= now}
        lines = []
        for key, window in over.items():
            if window.last is None:
                del self._windows[key]
                continue
            lines.append(_counted(window.last, window.held, now - window.since))
            seconds = min(window.seconds * GROWTH, window.rule.longest)
            self._windows[key] = Window(window.rule, now, seconds, told=1)
        return lines

    def rest(self, now: float) -> list[Line]:
        """All that was held back: nothing comes any more."""
        held = [window for window in self._windows.values() if window.last is not None]
        self._windows.clear()
        return [_counted(window.last, window.held, now - window.since) for window in held if window.last is not None]

    def _rules(self, line: Line) -> Iterator[tuple[Key, Rule]]:
        kind, event = line.event.kind, line.event
        if kind not in SAME_SENTENCE:
            yield (kind, _subject(event)), FLOOD
            return
        if (kind, event.says) in self._windows or len(self._windows) < MOST_SENTENCES:
            yield (kind, event.says), REPEATED
        yield (kind, ""), FLOOD


def _subject(event: Event) -> str:
    """A role, or a file, that goes up and down all the time must not hide the others."""
    if event.kind is Kind.ROLE_CHANGE:
        return str(event.fields.get("role"))
    return event.says if event.kind is Kind.TRACK_FILE else ""


def _counted(line: Line, count: int, seconds: float) -> Line:
    within = round(seconds)
    said = f"the last of {count} such lines within {within} s" if count > 1 else f"again within {within} s"
    fields = {**line.event.fields, "repeated": count, "within_seconds": within}
    return replace(line, event=replace(line.event, says=f"{line.event.says} ({said})", fields=fields))
