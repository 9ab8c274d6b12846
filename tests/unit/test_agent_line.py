"""One verdict -> the line of HAProxy's agent-check."""

import pytest

from healthagent.model import Status, Verdict
from healthagent.reasons import Reason
from healthagent.render import agent_line

DONOR = (Reason.DONOR_BLOCKING, Reason.READ_ONLY)


@pytest.mark.parametrize(
    ("status", "weight", "reasons", "plain", "with_admin_words"),
    [
        (Status.UP, 100, (), "up 100%", "up ready 100%"),
        (Status.UP, 70, (Reason.FLOW_CONTROL,), "up 70%", "up ready 70%"),
        (Status.UP, 1, (Reason.CONNECTION_LIMIT,), "up 1%", "up ready 1%"),
        (Status.DRAIN, 0, DONOR, "up 0%", "up drain"),
        (Status.DRAIN, 0, (), "up 0%", "up drain"),
        (Status.DOWN, 0, DONOR, "down #donor_blocking", "down ready #donor_blocking"),
        (Status.DOWN, 0, (Reason.STALE,), "down #stale", "down ready #stale"),
    ],
)
def test_the_agent_line(
    status: Status, weight: int, reasons: tuple[Reason, ...], plain: str, with_admin_words: str
) -> None:
    verdict = Verdict(role="writer", status=status, weight=weight, reasons=reasons)
    assert agent_line(verdict, admin_words=False) == plain
    assert agent_line(verdict, admin_words=True) == with_admin_words


def test_before_the_first_sample() -> None:
    assert agent_line(Verdict(role="writer"), admin_words=False) == "down #starting"


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("admin_words", [False, True])
def test_haproxy_takes_every_reason_whole(reason: Reason, admin_words: bool) -> None:
    """Of the text HAProxy keeps 127 bytes; and no reason may hold what would be a word of its own before the #."""
    line = agent_line(Verdict(role="writer", reasons=(reason,)), admin_words=admin_words)
    words, _, text = line.partition(" #")
    assert words == ("down ready" if admin_words else "down")
    assert text == reason.word
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 127
