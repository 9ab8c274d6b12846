"""What the benchmarks make of what they have measured; the measuring itself needs servers and `make bench`."""

import importlib
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import crowd
from benchmarks.crowd import Crowd, Places, Truth, WrongError, verdict
from benchmarks.meter import ALLOWANCES, grown
from benchmarks.report import Section, markdown, percentile, spread

README = Path(bench.__file__).with_name("README.md").read_text("utf-8")


@pytest.mark.parametrize("name", bench.SUBJECTS)
def test_every_subject_has_tables_and_is_documented(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").sections)
    assert f"| `{name}` |" in README


def test_an_unknown_subject_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["load", "laod"]) == 2
    assert "unknown subject 'laod'; must be one of load, " in capsys.readouterr().err


def test_a_subject_renews_its_own_part_of_the_results() -> None:
    first = bench.renewed("", "start", "Measured then.\n\n## Start\n\n| 1 |\n", ["- this machine"])
    both = bench.renewed(first, "load", "Measured now.\n\n## Load\n", ["- that machine"])
    assert both.index("- that machine") < both.index("<!-- load -->") < both.index("<!-- start -->")
    assert both.endswith("<!-- start -->\nMeasured then.\n\n## Start\n\n| 1 |\n")
    again = bench.renewed(both, "start", "Measured later.", ["- that machine"])
    assert "## Start" not in again
    assert "## Load" in again
    assert again.startswith(bench.HEAD)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 2.0, 3.0, 3.0]


def test_a_section_is_a_table() -> None:
    section = Section(title="Load", method="Twice.", columns=("a", "b"), rows=(("1", spread([3.0, 1.0, 2.0])),))

    assert markdown([section]) == "## Load\n\nTwice.\n\n| a | b |\n| --- | --- |\n| 1 | 2.00 (1.00-3.00) |\n"


def answer(code: str, verdict: str, weight: int, body: str, reasons: str = "") -> bytes:
    head = f"X-Healthagent-Verdict: {verdict}\r\nX-Healthagent-Weight: {weight}\r\nX-Healthagent-Reasons: {reasons}"
    return f"HTTP/1.1 {code}\r\n{head}\r\n\r\n{body}".encode()


def test_the_soak_reads_verdicts() -> None:
    assert verdict(answer("200 OK", "up", 100, "OK any weight=100"), "any") is True
    assert verdict(answer("503 hung", "down", 0, "FAIL any weight=0", "hung"), "any") is False
    assert verdict(answer("200 OK", "up", 100, ""), "any") is True, "HEAD"


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        answer("200 OK", "down", 100, "OK any weight=100"),
        answer("200 OK", "up", 0, "OK any weight=0"),
        answer("200 OK", "up", 100, "FAIL any weight=0"),
        answer("200 OK", "up", 100, "OK reader weight=100"),
        answer("503 hung", "down", 0, "FAIL any weight=0", "down"),
        answer("500 Internal Server Error", "down", 0, "FAIL any weight=0", "Internal Server Error"),
    ],
)
def test_the_soak_sees_answers_that_contradict_themselves(wrong: bytes) -> None:
    with pytest.raises(WrongError):
        verdict(wrong, "any")


def samples(*quarters: float) -> list[tuple[float, dict[str, float]]]:
    return [(float(n), dict.fromkeys(ALLOWANCES, quarters[n // 10])) for n in range(40)]


def test_the_soak_sees_what_grows() -> None:
    assert grown(samples(1, 2, 3, 4)[:3]) == ["only 3 samples: nothing is known of growth"]
    assert grown(samples(10, 50, 50, 50)) == [], "warming up is no growth"
    assert grown(samples(50, 50, 50, 40)) == []
    assert len(grown(samples(50, 50, 55, 60))) == len(ALLOWANCES)
    assert [text.partition(":")[0] for text in grown(samples(50, 50, 50, 52))] == [
        "threads",
        "processes",
        "connections to the server",
    ]


NOWHERE = Places(
    http=("127.0.0.1", 1),
    control=Path("control"),
    ports={},
    by_send=("127.0.0.1", 1),
    program=Path("healthagent"),
    tracks={},
)


@pytest.mark.parametrize("is_up", [True, False])
def test_the_soak_holds_each_answer_against_what_is_true(is_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "KINDS", {"GET": lambda places, role: is_up})
    client = Crowd(NOWHERE, Truth(), pause_seconds=0)

    client.check()
    client.truth.known(dict.fromkeys(crowd.ROLES, is_up))
    client.check()
    client.truth.known(dict.fromkeys(crowd.ROLES, not is_up))
    with pytest.raises(WrongError, match="which is not true"):
        client.check()


def test_a_check_during_which_the_truth_changes_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(places: Places, role: str) -> bool:
        client.truth.known(dict.fromkeys(crowd.ROLES, False))
        return True

    monkeypatch.setattr(crowd, "KINDS", {"GET": turns})
    client = Crowd(NOWHERE, Truth(), pause_seconds=0)

    client.truth.known(dict.fromkeys(crowd.ROLES, False))
    client.check()
    assert client.count["GET"] == 1
