"""`healthagent replay FILE`: what was told, what another configuration would have told, and where they differ.

It needs no server and no daemon. A record is read while it is written, by whoever may read it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from healthagent import document
from healthagent.config import policy_of
from healthagent.course import Course, Difference, Event, StateTurn, Tally, Turn, differences, tally
from healthagent.errors import AskedWrongError, HealthagentError
from healthagent.forms import plain
from healthagent.model import Status
from healthagent.policy import Policy
from healthagent.record import Entry, Header
from healthagent.recordfile import DamagedError, read_record
from healthagent.render import moment
from healthagent.replay import Replay

__all__ = ["replay"]

OWN = "as recorded"


def replay(arguments: argparse.Namespace) -> int:
    """Prints it and returns 0; 1 where the record is damaged, with what stands before that.

    `file`, and `config`, `role` and `json`, which may be None.

    HealthagentError: the file cannot be read; AskedWrongError, ConfigError: usage, or a configuration.
    """
    other = None if arguments.config is None else policy_of(document.read(arguments.config), str(arguments.config))
    own = _Own(arguments.file)
    found = Replay([own.policy] if other is None else [own.policy, _always(other)])
    damage: list[str] = []
    found.run(_sound(arguments.file, damage))
    names = [OWN] if other is None else [OWN, str(arguments.config)]
    roles = list(dict.fromkeys(role for course in found.courses for role in course.roles))
    if arguments.role is not None and arguments.role not in roles:
        raise AskedWrongError(f"unknown role {arguments.role!r}; roles in this record: {', '.join(roles)}")
    shown = _Shown(found, dict(zip(names, found.courses, strict=True)), [arguments.role] if arguments.role else roles)
    notes = own.missing(other) + [f"{says}; what stands before it was replayed" for says in damage]
    if arguments.json:
        print(json.dumps(shown.document() | {"notes": notes}, indent=2))
    else:
        for note in notes:
            print(f"healthagent: {note}", file=sys.stderr)
        for line in shown.lines():
            print(line)
    return 1 if damage else 0


def _sound(file: Path, damage: list[str]) -> Iterator[Entry]:
    """What can be read; HealthagentError where that is nothing, else what is behind it goes to `damage`."""
    begun = False
    try:
        for entry in read_record(file):
            begun = True
            yield entry
    except (DamagedError, OSError) as error:
        says = plain(str(error)) if isinstance(error, DamagedError) else f"{file}: cannot be read: {error.strerror}"
        if not begun:
            raise HealthagentError(says) from error
        damage.append(says)


class _Own:
    """The policies that the record itself tells."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._header: Header | None = None
        self._policy: Policy | None = None

    def policy(self, header: Header) -> Policy:
        """The same object for the same settings."""
        if self._policy is None or self._header is None or self._header.config != header.config:
            source = f"{self._file}, configuration of healthagent {plain(header.version)}"
            self._policy = policy_of(document.retold(header.config, source), source)
        self._header = header
        return self._policy

    def missing(self, other: Policy | None) -> list[str]:
        """What the other configuration asks and the record does not hold."""
        probe = self._header.config.get("probe", {}) if self._header is not None else {}
        notes = []
        if other is not None and other.heartbeats and probe.get("heartbeat_table") is None:
            notes.append("no heartbeat table was read for this record, so that its lag is not known to the other one")
        if other is not None and any(role.write_probe for role in other.roles) and probe.get("write_table") is None:
            notes.append("no write probe was made for this record: what it would have found is not known")
        return notes


def _always(policy: Policy) -> Callable[[Header], Policy]:
    return lambda header: policy


class _Shown:
    """`courses` by the name of what they were judged by; of `roles` alone."""

    def __init__(self, found: Replay, courses: dict[str, Course], roles: list[str]) -> None:
        self._found, self._courses, self._roles = found, courses, roles
        both = differences(*courses.values()) if len(courses) > 1 else ()
        self._differences = [one for one in both if one.role in roles]

    def document(self) -> dict[str, Any]:
        """Everything, with seconds as they are, and UTC."""
        found = self._found
        return {
            "from": moment(found.began_wall),
            "to": moment(found.ended_wall),
            "seconds": round(found.seconds, 3),
            "samples": found.samples,
            "events": [{"at": moment(event.wall), "event": event.word} for event in found.events],
            "courses": [
                {
                    "configuration": name,
                    "states": [
                        {"at": moment(it.wall), "from": it.before, "to": it.after, "message": it.message or None}
                        for it in course.states
                    ],
                    "turns": [_turn_document(turn) for turn in course.turns if turn.role in self._roles],
                    "roles": {
                        role: _tally_document(tally(course, role)) for role in self._roles if role in course.roles
                    },
                }
                for name, course in self._courses.items()
            ],
            "differences": [_difference_document(one) for one in self._differences],
        }

    def lines(self) -> Iterator[str]:
        """For people: what happened, the differences, and a table."""
        found, first, last = self._found, self._found.courses[0], self._found.courses[-1]
        yield f"# {moment(found.began_wall)} to {moment(found.ended_wall)}, {found.samples} samples"
        told: list[Event | StateTurn | Turn] = [
            *found.events,
            *first.states,
            *(turn for turn in first.turns if turn.role in self._roles),
            *(turn for turn in last.turns if turn.role in self._roles and turn.role not in first.roles),
        ]
        width = max(map(len, self._roles), default=0)
        # what came at the same moment stays in this order: the agent, the node, its roles
        yield from filter(None, (_line(one, width) for one in sorted(told, key=lambda one: one.at)))
        if len(self._courses) > 1:
            theirs = list(self._courses)[-1]
            yield ""
            yield f"# where {theirs} differs from what was recorded: {len(self._differences) or 'nowhere'}"
            for one in self._differences:
                yield _difference_line(one, width)
        yield ""
        yield from _table(
            [
                (role, name, tally(course, role))
                for role in self._roles
                for name, course in self._courses.items()
                if role in course.roles
            ]
        )


def _line(told: Event | StateTurn | Turn, width: int) -> str:
    """ "" for what needs no line: that a role is down before there was a sample, or that nobody tells it any more."""
    if isinstance(told, Event):
        return f"{moment(told.wall)}  {'agent':{width}}  {told.word}"
    if isinstance(told, StateTurn):
        message = f"  ({plain(told.message)})" if told.message else ""
        return f"{moment(told.wall)}  {'state':{width}}  {told.before} -> {told.after}{message}"
    if told.after is None or (told.before is None and told.after is Status.DOWN):
        return ""
    before = told.before.value if told.before is not None else "new"
    aged = "  (facts too old)" if told.aged else ""
    return f"{moment(told.wall)}  {told.role:{width}}  {before} -> {_said(told)}{aged}"


def _difference_line(one: Difference, width: int) -> str:
    span = f"{moment(one.wall)} to {moment(one.until_wall)} ({_spoken(one.seconds)})"
    before = one.one.after.value if one.one.after is not None else ""
    return f"{span}  {one.role:{width}}  {before}, would be {_said(one.other)}"


def _said(turn: Turn) -> str:
    """`up weight=100`, `down reasons=replica_lagging lag=12 (limit 10)`"""
    words = [turn.after.value if turn.after is not None else ""]
    if turn.after is Status.UP:
        words.append(f"weight={turn.weight}")
    if turn.reasons:
        words.append(f"reasons={','.join(reason.word for reason in turn.reasons)}")
    for facing in turn.facing:
        limit = "" if facing.limit is None else f" (limit {plain(str(facing.limit))})"
        words += [] if facing.value is None else [f"{facing.gate}={plain(str(facing.value))}{limit}"]
    return " ".join(words)


def _table(rows: Iterable[tuple[str, str, Tally]]) -> Iterator[str]:
    head = ("role", "by", "up", "drain", "down", "not told", "falls", "longest down")
    cells: list[tuple[str, ...]] = [head]
    for role, name, found in rows:
        whole = found.up + found.drain + found.down
        shares = [f"{100 * part / whole:.3f}%" if whole else "-" for part in (found.up, found.drain, found.down)]
        cells.append((role, name, *shares, _spoken(found.away), str(found.falls), _spoken(found.longest_down)))
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _spoken(seconds: float) -> str:
    """`250ms`, `12.4s`, `3h12m`"""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def _turn_document(turn: Turn) -> dict[str, Any]:
    return {
        "at": moment(turn.wall),
        "role": turn.role,
        "from": turn.before.value if turn.before is not None else None,
        "to": turn.after.value if turn.after is not None else None,
        "weight": turn.weight,
        "reasons": [reason.word for reason in turn.reasons],
        "gates": [asdict(facing) for facing in turn.facing],
        "facts_too_old": turn.aged,
    }


def _tally_document(found: Tally) -> dict[str, Any]:
    return {key: round(value, 3) for key, value in asdict(found).items()}


def _difference_document(one: Difference) -> dict[str, Any]:
    return {
        "role": one.role,
        "from": moment(one.wall),
        "to": moment(one.until_wall),
        "seconds": round(one.seconds, 3),
        "recorded": _turn_document(one.one),
        "would_be": _turn_document(one.other),
    }
