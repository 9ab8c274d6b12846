"""Whatever stands in an event: one line, that reads back as it was, with no field more."""

import json
import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healthagent.events import KIND_TEXT, Event, Kind, Level, Value, spoken
from healthagent.forms import LINE_LIMIT, Line, as_json, datagram, logfmt, prefixed, text
from tests.logfmt import parse

WALL = 1_790_000_000.123
FORGED = 'x" level=info event=started\nMESSAGE=forged\r\n<0>role=writer \x00\x1b[2J\u2028\u202e\udcff\U0001f600'
# of a server: anything, invalid UTF-8 as Python keeps it (lone surrogates) included
WORDS = st.text(max_size=60) | st.sampled_from([FORGED, "", " ", "=", "a=b", "\\", '\\"', "\udcff\udcfe", "é", "\n"])
NUMBERS = st.integers(-(2**64), 2**64) | st.floats() | st.booleans() | st.none()
VALUES = WORDS | NUMBERS | st.lists(WORDS, max_size=4).map(tuple)
NAMES = st.sampled_from(["role", "error", "gate_lag", "gate_lag_limit", "reasons", "code"])
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    says=WORDS,
    level=st.sampled_from(Level),
    fields=st.dictionaries(NAMES, VALUES, max_size=5),
)
ONE_LINE = re.compile(rb"[^\x00-\x1f\x7f]*\n")


def known(event: Event) -> dict[str, Value]:
    return {name: value for name, value in event.fields.items() if value not in (None, ())}


@given(EVENTS)
@example(Event(kind=Kind.OTHER, says=FORGED, fields={"error": FORGED, "role": FORGED}))
def test_every_form_but_the_datagram_is_one_line_of_utf_8(event: Event) -> None:
    for form in (text, logfmt, prefixed, as_json):
        line = form(Line(event, WALL))
        assert ONE_LINE.fullmatch(line), "one line, and nothing that moves a cursor"
        assert len(line.decode("utf-8").splitlines()) == 1, "not for those either who end lines at U+2028"


@given(EVENTS)
@example(Event(kind=Kind.OTHER, says=FORGED, fields={"error": FORGED, "role": FORGED}))
def test_logfmt_reads_back(event: Event) -> None:
    fields = parse(logfmt(Line(event, WALL)).decode()[:-1])
    assert fields == {
        "time": "2026-09-21T14:13:20.123Z",
        "level": event.level.name.lower(),
        "event": event.kind.value,
        **{name: spoken(value) for name, value in known(event).items()},
        "msg": event.says,
    }
    del fields["time"], fields["level"]
    level, behind = prefixed(Line(event, WALL)).decode()[:-1].split(">", 1)
    assert (level, parse(behind)) == (f"<{priority(event)}", fields)


@given(EVENTS)
@example(Event(kind=Kind.OTHER, says=FORGED, fields={"error": FORGED, "gate_lag": math.inf}))
def test_json_reads_back(event: Event) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    document = json.loads(as_json(Line(event, WALL)), parse_constant=refuse)
    del document["time"]
    expected = {"level": event.level.name.lower(), "event": event.kind.value, "message": event.says}
    for name, value in known(event).items():
        odd = isinstance(value, float) and not math.isfinite(value)
        expected[name] = str(value) if odd else list(value) if isinstance(value, tuple) else value  # type: ignore[assignment]
    assert document == expected


@given(EVENTS)
@example(Event(kind=Kind.OTHER, says=FORGED, fields={"error": FORGED, "role": f"writer\nROLE={FORGED}"}))
def test_the_datagram_reads_back(event: Event) -> None:
    """As journald reads it: https://systemd.io/JOURNAL_NATIVE_PROTOCOL"""
    fields = by_journald(datagram(Line(event, WALL)))
    assert "\n" not in fields[0][1], "a message is one line in journalctl"
    assert [(name, value) for name, value in fields[1:] if name != "TIME"] == [
        ("MESSAGE_ID", KIND_TEXT[event.kind].message_id),
        ("PRIORITY", str(priority(event))),
        ("SYSLOG_IDENTIFIER", "healthagent"),
        ("EVENT", event.kind.value),
        *(
            ({"reasons": "REASON"}.get(name, name.upper()), in_utf_8(spoken(item)))
            for name, value in known(event).items()
            for item in (value if isinstance(value, tuple) else (value,))
        ),
    ]


@pytest.mark.parametrize("filling", ["a", "\n", "\x00", "\U000f0000", '"', "é", "a\n"])
def test_a_line_has_a_bound_and_still_reads_back(filling: str) -> None:
    says = filling * 100_000
    fields: dict[str, Value] = {f"gate_{number}": says for number in range(60)}
    fields["errors"] = (says,) * 1000
    line = Line(Event(kind=Kind.RELOAD_FAILED, says=says, fields=fields), WALL)
    for form in (text, logfmt, prefixed, as_json, datagram):
        assert len(form(line)) <= LINE_LIMIT
    read = parse(logfmt(line).decode()[:-1])
    assert set(read) == {"time", "level", "event", "msg", *fields}
    assert read["msg"].endswith("...")
    assert says.startswith(read["msg"].removesuffix("..."))
    assert len(by_journald(datagram(line))) >= len(fields)


def test_the_time_of_text_is_that_of_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    line = text(Line(Event(kind=Kind.STARTED, says="it\nis é"), WALL)).decode()
    here = datetime.fromtimestamp(WALL).isoformat(timespec="milliseconds")
    assert line == f"{here} INFO it\\nis é\n"
    assert logfmt(Line(Event(kind=Kind.STARTED, says="x"), WALL)).startswith(
        b"time=" + datetime.fromtimestamp(WALL, UTC).isoformat(timespec="milliseconds")[:-6].encode() + b"Z "
    )


def priority(event: Event) -> int:
    return {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}[event.level.name]


def in_utf_8(said: str) -> str:
    return said.encode("utf-8", "backslashreplace").decode()


def by_journald(message: bytes) -> list[tuple[str, str]]:
    found = []
    while message:
        line, _, rest = message.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            length = int.from_bytes(rest[:8], "little")
            name, value, rest = line, rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        found.append((name.decode(), value.decode()))
        message = rest
    return found
