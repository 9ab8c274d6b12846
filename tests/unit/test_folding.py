"""What is said again and again is counted; what changes is told, up to a bound."""

import pytest

from healthagent.events import Event, Kind, Level
from healthagent.folding import FLOOD, MOST_SENTENCES, Folding
from healthagent.forms import Line


class Log:
    """What is told of what is said, under a clock that moves only when told so."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.folding = Folding()
        self.told: list[str] = []

    def says(self, kind: Kind, says: str, **fields: str) -> None:
        self.told += [line.event.says for line in self.folding.due(self.now)]
        line = Line(Event(kind=kind, level=Level.WARNING, says=says, fields=fields), self.now)
        if self.folding.take(line, self.now):
            self.told.append(says)

    def passes(self, seconds: float) -> "Log":
        """As the outlet does: it sleeps until something is due."""
        until = self.now + seconds
        while (due := self.folding.due_at) is not None and due <= until:
            self.now = due
            self.told += [line.event.says for line in self.folding.due(due)]
        self.now = until
        return self

    def since(self) -> list[str]:
        told, self.told = self.told, []
        return told


@pytest.mark.parametrize("kind", [Kind.LISTENER, Kind.STATE_DIR, Kind.FAULT, Kind.OTHER])
def test_a_failure_is_told_once_and_then_counted_less_and_less_often(kind: Kind) -> None:
    log = Log()
    for _ in range(3 * 3600):
        log.says(kind, "no file")
        log.passes(1.0)

    first, *counts = log.since()
    assert first == "no file"
    assert counts == [
        "no file (the last of 59 such lines within 60 s)",
        "no file (the last of 600 such lines within 600 s)",
        "no file (the last of 3600 such lines within 3600 s)",
        "no file (the last of 3600 such lines within 3600 s)",
    ]


def test_what_has_been_quiet_is_news_again() -> None:
    log = Log()
    log.says(Kind.LISTENER, "no file")
    log.passes(61)
    log.says(Kind.LISTENER, "no file")

    assert log.since() == ["no file", "no file"]


def test_the_last_count_comes_when_it_is_over() -> None:
    log = Log()
    for _ in range(2):
        log.says(Kind.LISTENER, "no file")
        log.passes(10)
    assert log.since() == ["no file"]

    log.passes(40)
    assert log.since() == ["no file (again within 60 s)"]
    log.passes(10_000)
    assert (log.since(), log.folding.due_at) == ([], None)


def test_another_sentence_is_another_matter() -> None:
    log = Log()
    log.says(Kind.LISTENER, "no file")
    log.says(Kind.LISTENER, "no memory")
    log.says(Kind.STATE_DIR, "no file")

    assert log.since() == ["no file", "no memory", "no file"]


def test_sentences_that_are_never_the_same_have_a_bound_together() -> None:
    log = Log()
    for number in range(10_000):
        log.says(Kind.FAULT, f"failed to answer /{number}")
    told = log.since()
    assert len(told) == FLOOD.burst
    assert len(log.folding._windows) <= MOST_SENTENCES + len(Kind)

    log.passes(FLOOD.seconds)
    assert log.since() == [f"failed to answer /9999 (the last of {10_000 - FLOOD.burst} such lines within 60 s)"]


def test_a_role_that_flaps_is_told_twenty_times_a_minute_and_hides_no_other() -> None:
    log = Log()
    for number in range(600):  # ten a second, for a minute
        log.says(Kind.ROLE_CHANGE, f"reader {number}", role="reader")
        log.passes(0.1)
    log.says(Kind.ROLE_CHANGE, "writer down", role="writer")
    log.passes(60)

    told = log.since()
    assert told[:20] == [f"reader {number}" for number in range(20)]
    assert [line for line in told[20:] if "writer" in line] == ["writer down"]
    (count,) = [line for line in told[20:] if "writer" not in line]
    assert count == "reader 599 (the last of 580 such lines within 60 s)", "the last word is where it stands now"


@pytest.mark.parametrize("kind", [Kind.STATE_CHANGE, Kind.TRACK_FILE, Kind.RELOAD_FAILED, Kind.CONFIG_WARNING])
def test_the_same_change_twice_is_told_twice(kind: Kind) -> None:
    """A second fall is news, and whoever reloads again wants to see why it fails again."""
    log = Log()
    for _ in range(2):
        log.says(kind, "the same")

    assert log.since() == ["the same", "the same"]


def test_at_the_end_all_that_was_counted_is_told() -> None:
    log = Log()
    for _ in range(5):
        log.says(Kind.LISTENER, "no file")
    (line,) = log.folding.rest(log.now + 7)

    assert line.event.says == "no file (the last of 4 such lines within 7 s)"
    assert (line.event.fields["repeated"], line.event.fields["within_seconds"]) == (4, 7)
    assert log.folding.rest(log.now) == []
