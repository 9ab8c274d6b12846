"""Looks at agents, HAProxy and the client every 10 ms, and tells what changes, when."""

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

from demo.stand import BACKENDS, Stand
from lab import Agent, LabError

INTERVAL_SECONDS = 0.01
# So long must all that is expected stay as it is.
SETTLED_SECONDS = 0.5
PATHS = ("/any", "/writer", "/reader")

Sights = dict[str, str]  # what is looked at -> what it says


class Watch:
    """One change and what follows from it. Subjects: `n1 /writer`, `HAProxy writer/n1`, `the client`."""

    def __init__(self, stand: Stand, node: str) -> None:
        self._stand = stand
        self._node = node
        self._started = time.monotonic()
        self._sights = self._look()

    def run(self, act: Callable[[], object], expect: Mapping[str, str], timeout: float) -> None:
        """Does it and prints every change that is seen, until all that is expected is seen; the beginnings of texts."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            self._started = time.monotonic()
            acting = pool.submit(act)
            settled_at: float | None = None
            for now in self._ticks(timeout):
                self._tell_changes()
                if not acting.done() or self._missing(expect):
                    settled_at = None
                elif now - (settled_at := settled_at or now) > SETTLED_SECONDS:
                    break
        self._check(acting, expect, timeout)

    def _ticks(self, timeout: float) -> Iterator[float]:
        while (now := time.monotonic()) < self._started + timeout:
            yield now
            time.sleep(max(0.0, now + INTERVAL_SECONDS - time.monotonic()))

    def _missing(self, expect: Mapping[str, str]) -> list[str]:
        return [subject for subject, start in expect.items() if not self._sights[subject].startswith(start)]

    def _check(self, acting: Future[object], expect: Mapping[str, str], timeout: float) -> None:
        acting.result()
        if missing := self._missing(expect):
            lines = [f"{subject}: {expect[subject]!r}; it is {self._sights[subject]!r}" for subject in missing]
            raise LabError("\n  ".join([f"this did not happen within {timeout:g} s:", *lines]))

    def _tell_changes(self) -> None:
        before, self._sights = self._sights, self._look()
        for subject, says in self._sights.items():
            if _identity(says) != _identity(before[subject]):
                took = 1000 * (time.monotonic() - self._started)
                print(f"   {took:7.0f} ms  {subject:19}{says}")

    def _look(self) -> Sights:
        agent = self._stand.agents[self._node]
        sights = {f"{self._node} {path}": _answer(agent, path) for path in PATHS}
        for row in self._stand.haproxy.stat():
            if row["pxname"] in BACKENDS and row["svname"] in self._stand.agents:
                sights[f"HAProxy {row['pxname']}/{row['svname']}"] = _server(row)
        written = self._stand.client.acknowledged
        sights["the client"] = f"writes on {written[-1].server}" if written else "has not written"
        return sights

    def client_summary(self) -> str:
        """What the client noticed since the beginning."""
        writes = [write.at for write in tuple(self._stand.client.acknowledged) if write.at >= self._started]
        failed = sum(1 for write in tuple(self._stand.client.failed) if write.at >= self._started)
        pause = 1000 * max((later - earlier for earlier, later in pairwise([self._started, *writes])), default=0.0)
        return f"the client: {len(writes)} writes, {failed} failed, longest pause {pause:.0f} ms"


def _answer(agent: Agent, path: str) -> str:
    """`200 OK`, `503 desynced`; `200 OK (noted: desynced)` while a reason does not count yet."""
    try:
        answer = agent.get(path)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    held = answer.headers["x-healthagent-reasons"] if answer.status == 200 else ""
    return f"{answer.status} {answer.reason}" + (f" (noted: {held})" if held else "")


def _server(row: Mapping[str, str]) -> str:
    """`DOWN  L7STS/503 desynced`, `DOWN  agent: desynced`: status, and the agent's own words, by whichever check."""
    status, _, by_agent = row["status"].partition(" ")
    if by_agent == "(agent)":
        words = row["last_agt"].removeprefix("via agent : down (").removesuffix(")")
        return f"{status:4}  agent: {words}"
    check = row["check_status"].removeprefix("* ")
    code = f"/{row['check_code']}" if row["check_code"] else ""
    return f"{status:4}  {check}{code} {row['last_chk']}".rstrip()


def _identity(says: str) -> str:
    """What must differ for a change to be told: of HAProxy's text only UP or DOWN, not each check."""
    word, _, _ = says.partition("  ")
    return word.strip() if word.strip() in ("UP", "DOWN") else says
