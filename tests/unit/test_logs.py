"""One line per event, as text, for journald, as JSON."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from healthagent import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def said(capsys: pytest.CaptureFixture[str], level: int = logging.WARNING, text: str = "role %s") -> str:
    logging.getLogger("healthagent.x").log(level, text, "writer")
    return capsys.readouterr().err


def test_text_has_the_time_and_the_level(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.configure("info", "auto")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} WARNING role writer\n", said(capsys))


@pytest.mark.parametrize(("level", "prefix"), [(logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>")])
def test_journald_gets_the_level_as_a_prefix_and_adds_the_time_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: int, prefix: str
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    logs.configure("info", "auto")

    assert said(capsys, level) == f"{prefix}role writer\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    document = json.loads(said(capsys))

    assert (document["level"], document["message"]) == ("warning", "role writer")
    assert document["time"].endswith("+00:00")


def test_an_exception_in_json_is_still_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("x").error("bad", exc_info=ValueError("why"))
    (line,) = capsys.readouterr().err.splitlines()

    assert "ValueError: why" in json.loads(line)["exception"]


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "text")

    assert said(capsys, logging.INFO) == ""


def test_configuring_again_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.configure("info", "text")

    assert len(said(capsys).splitlines()) == 1
