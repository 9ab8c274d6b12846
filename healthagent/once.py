"""One look at the server, without a daemon: `probe`, and the end of `setup`."""

import time
from collections.abc import Iterable

from healthagent.config import Config
from healthagent.decide import reports
from healthagent.forms import plain
from healthagent.judge import judge, starting
from healthagent.model import Publication
from healthagent.pin import PinFile
from healthagent.probe import Probe
from healthagent.render import text_line
from healthagent.session import Login

__all__ = ["look", "table"]


async def look(settings: Config, login: Login | None = None) -> Publication:
    """What a daemon with these settings would publish after its first probe; `login`: by another account."""
    probe = Probe(login or settings.login, timeout_seconds=settings.timeout_seconds, watch=settings.watch.once)
    try:
        snapshot = await probe.sample()
    finally:
        await probe.close()
    memory = starting(settings.policy, time.time(), PinFile(settings.state_dir).read())
    return judge(memory, snapshot, time.time()).publication


def table(publication: Publication) -> Iterable[str]:
    """State, verdict of every role and every gate, line by line."""
    snapshot = publication.snapshot
    yield f"state {publication.state.word}"
    if snapshot is not None and snapshot.failure is not None:
        yield f"  {plain(snapshot.failure.message)}"
    for name, verdict in publication.verdicts.items():
        yield f"{text_line(verdict)}{' (dry run)' if verdict.dry_run else ''}"
        for report in reports(publication, name):
            finding = report.finding
            mark = "failed" if not report.passed else "held" if finding.bad else "passed"
            shown = "" if finding.value is None else f" {plain(str(finding.value))}"
            limit = "" if finding.limit is None else f" (limit {plain(str(finding.limit))})"
            yield f"  {mark:6} {report.gate.value}{shown}{limit}"
