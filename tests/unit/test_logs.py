"""What comes out on standard error, or goes to journald; the forms themselves are in test_forms."""

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthagent import logs, sinks
from healthagent.events import KIND_TEXT, Event, Kind, Level
from healthagent.forms import LINE_LIMIT, Line, as_json
from tests import logfmt

FALL = Event(
    kind=Kind.ROLE_CHANGE,
    level=Level.WARNING,
    says="role reader up -> down",
    fields={"role": "reader", "weight": 0, "reasons": ("replica_lagging", "recv_queue"), "gate_lag": 12.5},
)


@pytest.fixture(autouse=True)
def _restore_logging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(sinks, "JOURNAL_SOCKET", tmp_path / "no journald")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logs.close()
    root.handlers[:], root.level = handlers, level


def by_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is as if journald had opened it."""
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


def said(capfd: pytest.CaptureFixture[str], event: Event = FALL) -> str:
    logs.tell(event)
    logs.close()
    return capfd.readouterr().err


def test_logfmt_where_it_is_no_terminal_and_not_the_journal(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    (line,) = logfmt.lines(said(capfd))

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "event": "role_change",
        "role": "reader",
        "weight": "0",
        "reasons": "replica_lagging,recv_queue",
        "gate_lag": "12.5",
        "msg": "role reader up -> down",
    }


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, its = os.openpty()
    before = os.dup(2)
    os.dup2(its, 2)
    try:
        logs.configure("info", "auto")
        logs.tell(FALL)
        logs.close()
    finally:
        os.dup2(before, 2)
    shown = os.read(terminal, 1000).decode()
    for descriptor in (terminal, its, before):
        os.close(descriptor)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} WARNING role reader up -> down\r\n", shown)


@pytest.mark.parametrize(("level", "prefix"), [(Level.ERROR, 3), (Level.WARNING, 4), (Level.INFO, 6)])
def test_without_its_socket_the_journal_gets_the_level_as_a_prefix(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level, prefix: int
) -> None:
    by_journal(monkeypatch)
    logs.configure("info", "auto")

    assert said(capfd, Event(kind=Kind.STOPPED, level=level, says="it is over")) == (
        f'<{prefix}>event=stopped msg="it is over"\n'
    )


def test_the_journal_gets_fields(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        by_journal(monkeypatch)
        monkeypatch.setattr(sinks, "JOURNAL_SOCKET", tmp_path / "socket")
        logs.configure("info", "auto")
        assert said(capfd) == "", "nothing twice"
        fields = [line.partition("=") for line in journald.recv(65536).decode().splitlines()]

    known = [(name, value) for name, _, value in fields if name != "TIME"]
    assert known == [
        ("MESSAGE", "role reader up -> down"),
        ("MESSAGE_ID", KIND_TEXT[Kind.ROLE_CHANGE].message_id),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "healthagent"),
        ("EVENT", "role_change"),
        ("ROLE", "reader"),
        ("WEIGHT", "0"),
        ("REASON", "replica_lagging"),
        ("REASON", "recv_queue"),
        ("GATE_LAG", "12.5"),
    ]


@pytest.mark.parametrize("stream", ["", "8:1234", "nonsense"])
def test_the_variable_of_another_stream_proves_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """It is inherited by what systemd-run, a shell or a test starts with another standard error."""
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    logs.configure("info", "auto")

    assert said(capfd).startswith("time=")


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    document = json.loads(said(capfd))

    assert (document["level"], document["event"], document["message"]) == ("warning", "role_change", FALL.says)
    assert (document["reasons"], document["gate_lag"]) == (["replica_lagging", "recv_queue"], 12.5)
    assert document["time"].endswith("Z")


def test_a_fault_is_one_line_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    try:
        raise ValueError("why\nlevel=info")
    except ValueError as error:
        logs.fault("failed to answer /any", error)
    logs.close()
    (line,) = logfmt.lines(capfd.readouterr().err)

    assert line["msg"] == "failed to answer /any: ValueError('why\\nlevel=info')"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: why\nlevel=info\n")


def test_a_library_is_heard_too(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    logging.getLogger("asyncio").info("not to be heard")
    logging.getLogger("aiohttp.server").error("bad %s", "luck", exc_info=ValueError("why"))
    logging.getLogger("aiohttp.server").error("%d of %d", 1)
    logging.getLogger("aiohttp.server").log(99, "loud")
    logs.close()
    first, second, third = logfmt.lines(capfd.readouterr().err)

    assert (first["event"], first["logger"], first["msg"]) == ("other", "aiohttp.server", "bad luck")
    assert "ValueError: why" in first["exception"]
    assert second["msg"] == "%d of %d"
    assert third["level"] == "critical"


def test_what_is_below_the_level_is_not_said(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "text")

    assert said(capfd, Event(kind=Kind.STARTED, says="started")) == ""


def test_form_and_level_can_change_at_any_time(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("error", "json")
    logs.tell(FALL)
    logs.configure("info", "logfmt")
    logs.tell(FALL)
    logs.configure("info", "logfmt")

    assert [line["msg"] for line in logfmt.lines(said(capfd))] == [FALL.says, FALL.says]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_told_by_somebody(kind: Kind) -> None:
    rooms = [path for path in Path(logs.__file__).parent.glob("*.py") if path.stem not in ("events", "folding")]
    assert any(f"Kind.{kind.name}" in path.read_text("utf-8") for path in rooms)


def test_what_a_library_says_at_the_very_end_is_not_written_by_python(capfd: pytest.CaptureFixture[str]) -> None:
    """`logging` alone would write it to standard error, and wait for who reads that."""
    logs.configure("info", "logfmt")
    logs.close()
    logging.getLogger("asyncio").error("Task exception was never retrieved")

    assert capfd.readouterr().err == ""


def test_a_reload_with_many_errors_tells_them_all_while_they_fit_and_else_how_many_more() -> None:
    few = tuple(f"/etc/h.yaml:{number}: roles.r{number}: unknown key" for number in range(120))
    for errors in (few, tuple(f"{error}{'x' * 400}" for error in few) * 3):
        event = Event(kind=Kind.RELOAD_FAILED, level=Level.ERROR, says="; ".join(errors), fields={"errors": errors})
        line = json.loads(as_json(Line(event, 0.0)))
        if errors is few:
            assert (line["errors"], line["message"]) == ([*few], event.says)
        else:
            assert len(as_json(Line(event, 0.0))) <= LINE_LIMIT
            assert line["errors"][-1] == f"... and {len(errors) - len(line['errors']) + 1} more"
            assert line["message"].endswith("...")
