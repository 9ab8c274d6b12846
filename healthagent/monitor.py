"""The loop: probe, judge, publish; wakes early when the server drops the connection; logs transitions only."""

import asyncio
import logging
import time

from healthagent import clock
from healthagent.board import Board
from healthagent.config import Config
from healthagent.judge import adapt, judge, starting
from healthagent.model import Publication, Snapshot
from healthagent.pin import Pin
from healthagent.probe import Probe

__all__ = ["Monitor"]

log = logging.getLogger("healthagent.monitor")

# While a gate is about to turn, the answer may come as soon as its hold or rise is over.
PENDING_INTERVAL_SECONDS = 0.1
SHORTEST_INTERVAL_SECONDS = 0.02


class Monitor:
    """Owns the probe and the memory; the board is where its word is read."""

    def __init__(self, config: Config, pin: Pin) -> None:
        self._pin = pin
        self._config = config
        self._policy = pin.apply(config.policy)
        self._memory = starting(self._policy, time.time())
        self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds)
        self._wake = asyncio.Event()
        self.board = Board(self._memory.publication, self._policy.max_age_seconds)

    def reconfigure(self, config: Config) -> None:
        """Takes effect at once: what is known is judged anew by the new policy.

        A role that has changed decides at the next sample as if it were new; of another server nothing is known.
        """
        before, self._config = self._config, config
        self._policy = self._pin.apply(config.policy)
        if config.login.where == before.login.where:
            self._probe.relogin(config.login, config.timeout_seconds)
            self._memory = adapt(self._memory, before.policy, self._policy, time.time())
        else:
            self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds)
            self._memory = starting(self._policy, time.time())
        self.board.publish(self._memory.publication, self._policy.max_age_seconds)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            probe = self._probe
            try:
                while probe is self._probe:
                    started = clock.now()
                    snapshot = await probe.sample()
                    if probe is self._probe:
                        self._publish(snapshot)
                        await self._pause(started)
            finally:
                await probe.close()

    def _publish(self, snapshot: Snapshot) -> None:
        before = self._memory.publication
        self._memory = judge(self._memory, snapshot, self._policy, time.time())
        publication = self._memory.publication
        if publication.galera and not self._policy.galera_pinned and self._pin.remember(snapshot):
            self._policy = self._pin.apply(self._policy)
        self.board.publish(publication, self._policy.max_age_seconds)
        _log_transitions(before, publication)

    async def _pause(self, started: float) -> None:
        interval = self._config.interval_seconds
        if self._memory.pending:
            interval = min(interval, PENDING_INTERVAL_SECONDS)
        waits = [asyncio.ensure_future(wait) for wait in (self._probe.ended(), self._wake.wait())]
        try:
            await asyncio.wait(
                waits, timeout=max(0.0, started + interval - clock.now()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            self._wake.clear()
        # a server that drops every connection at once must not make this loop spin
        await asyncio.sleep(max(0.0, started + SHORTEST_INTERVAL_SECONDS - clock.now()))


def _log_transitions(before: Publication, after: Publication) -> None:
    if before.state is not after.state or before.snapshot is None:
        failure = after.snapshot.failure if after.snapshot is not None else None
        detail = f" ({failure.message})" if failure is not None else ""
        log.info("state %s -> %s%s", before.state.word, after.state.word, detail)
    for name, verdict in after.verdicts.items():
        old = before.verdicts.get(name)
        if old is None or old.status is not verdict.status:
            reasons = ",".join(reason.word for reason in verdict.reasons) or "none"
            was = old.status.value if old is not None else "new"
            log.info("role %s %s -> %s weight=%d reasons=%s", name, was, verdict.status.value, verdict.weight, reasons)
