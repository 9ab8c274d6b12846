"""One event in each form. Whatever stands in its texts, a form is one line, and nothing in it looks like another field.

text     2026-01-31T12:00:00.000 WARNING role reader up -> down weight=0 reasons=...
logfmt   time=2026-01-31T12:00:00.000Z level=warning event=role_change role=reader ... msg="role reader up ..."
json     {"time": ..., "level": "warning", "event": "role_change", "message": ..., "role": "reader", ...}
journal  a datagram of journald's own protocol, or `<4>` and logfmt
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from healthagent.events import KIND_TEXT, Event, Value, spoken
from healthagent.render import moment

__all__ = ["LINE_LIMIT", "Line", "as_json", "datagram", "logfmt", "prefixed", "text"]

# of bytes: journald breaks what comes on a stream at 48 KiB, and the second part would look like a line of its own
LINE_LIMIT = 32768
# characters of each text and items of each list, the most that fits; as it is where that does
CUTS = ((4000, 128), (4000, 32), (400, 32), (40, 32), (8, 32))
# sd-daemon(3), syslog(3)
PRIORITIES = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}
# of lists, which journald has one by one
ONE_OF = {"reasons": "reason", "gates": "gate", "errors": "error"}
BARE = re.compile(r"[^\s\"=\\]+")


@dataclass(frozen=True, slots=True)
class Line:
    """An event and when it was, in seconds of the wall clock."""

    event: Event
    wall: float


def text(line: Line) -> bytes:
    """For a terminal: local time, level, sentence."""
    here = datetime.fromtimestamp(line.wall).isoformat(timespec="milliseconds")
    return _fitting(line, lambda event: _ended(f"{here} {event.level.name} {plain(event.says)}"))


def logfmt(line: Line) -> bytes:
    """`key=value`, what is more than one word as a JSON string."""
    head = f"time={moment(line.wall)} level={line.event.level.name.lower()}"
    return _fitting(line, lambda event: _ended(f"{head} {_pairs(event)}"))


def prefixed(line: Line) -> bytes:
    """For journald on standard error: it takes the level from the `<4>` (sd-daemon(3)), and has the time itself."""
    return _fitting(line, lambda event: _ended(f"<{PRIORITIES[event.level]}>{_pairs(event)}"))


def as_json(line: Line) -> bytes:
    """One object; numbers and lists are such."""
    head = {"time": moment(line.wall), "level": line.event.level.name.lower(), "event": line.event.kind.value}
    return _fitting(line, lambda event: _ended(json.dumps(head | {"message": event.says} | _known(event))))


def datagram(line: Line) -> bytes:
    """journald's native protocol: every field as it is, newlines included; a list is its field several times."""
    return _fitting(line, lambda event: b"".join(_field(key, said) for key, said in _fields(event, line.wall)))


def plain(says: str) -> str:
    """What moves the cursor, ends a line or changes the direction of writing is written as JSON would."""
    return says if says.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in says)


def quoted(value: Value) -> str:
    """As it is where that is one word, else a JSON string."""
    said = spoken(value)
    if said.isprintable() and BARE.fullmatch(said):
        return said
    return plain(json.dumps(said, ensure_ascii=False))


def _pairs(event: Event) -> str:
    pairs = [f"{name}={quoted(value)}" for name, value in _known(event).items()]
    return " ".join([f"event={event.kind}", *pairs, f"msg={quoted(event.says)}"])


def _fields(event: Event, wall: float) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", plain(event.says)
    yield "MESSAGE_ID", KIND_TEXT[event.kind].message_id
    yield "PRIORITY", str(PRIORITIES[event.level])
    yield "SYSLOG_IDENTIFIER", "healthagent"
    yield "EVENT", event.kind.value
    yield "TIME", moment(wall)
    for name, value in _known(event).items():
        for item in value if isinstance(value, tuple) else (value,):
            yield ONE_OF.get(name, name).upper(), spoken(item)


def _field(key: str, said: str) -> bytes:
    """`KEY=value`; where that has newlines KEY, the length in 8 bytes and the value."""
    value = said.encode("utf-8", "backslashreplace")
    if b"\n" not in value:
        return b"%s=%s\n" % (key.encode(), value)
    return b"%s\n%s%s\n" % (key.encode(), len(value).to_bytes(8, "little"), value)


def _ended(said: str) -> bytes:
    return f"{said}\n".encode("utf-8", "backslashreplace")


def _known(event: Event) -> dict[str, Value]:
    """What is not known, and a list of nothing, are not told; JSON has no infinity."""
    odd = (math.inf, -math.inf)
    known = {name: value for name, value in event.fields.items() if value not in (None, ())}
    return {name: str(value) if value in odd or value != value else value for name, value in known.items()}


def _fitting(line: Line, form: Callable[[Event], bytes]) -> bytes:
    """The event in that form, its texts and lists cut until it is at most LINE_LIMIT bytes."""
    whole = (line.event,) if _characters(line.event) <= LINE_LIMIT else ()
    for event in chain(whole, (_cut(line.event, length, items) for length, items in CUTS)):
        rendered = form(event)
        if len(rendered) <= LINE_LIMIT:
            break
    return rendered


def _characters(event: Event) -> int:
    """At least so many bytes it takes: what is far too long is not written out only to find that."""
    values = (event.says, *event.fields.values())
    texts = (text for value in values for text in (value if isinstance(value, tuple) else (value,)))
    return sum(len(text) for text in texts if isinstance(text, str))


def _cut(event: Event, length: int, items: int) -> Event:
    def short(said: str) -> str:
        return said if len(said) <= length else f"{said[: length - 3]}..."

    def shorter(value: Value) -> Value:
        if isinstance(value, tuple):
            more = (f"... and {len(value) - items} more",) if len(value) > items else ()
            return (*(short(item) for item in value[:items]), *more)
        return short(value) if isinstance(value, str) else value

    fields = {name: shorter(value) for name, value in event.fields.items()}
    return replace(event, says=short(event.says), fields=fields)
