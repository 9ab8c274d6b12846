"""The loop: probe, judge, publish; wakes early when the server drops the connection; logs transitions only."""

import asyncio
import logging
import time
from dataclasses import replace

from healthagent import clock
from healthagent.board import Board
from healthagent.config import Config
from healthagent.facts import Snapshot
from healthagent.judge import Memory, acknowledge, adapt, judge, starting
from healthagent.model import Publication
from healthagent.pin import Keeper
from healthagent.plan import Plan
from healthagent.policy import Role
from healthagent.probe import Probe

__all__ = ["Monitor"]

log = logging.getLogger("healthagent.monitor")

# The answer comes as soon as a hold or a rise is over. No faster than this: at three statements a probe, 20 a second.
PENDING_INTERVAL_SECONDS = 0.15
SHORTEST_INTERVAL_SECONDS = 0.02
# Questions with parameters (/reader?max_lag=5s) that are kept, and for how long without being asked.
MAX_ASKED = 16
ASKED_SECONDS = 60.0


class Monitor:
    """Owns the probe and the memory; the board is where its word is read."""

    def __init__(self, config: Config, keeper: Keeper) -> None:
        self._keeper = keeper
        self._config = config
        self._memory = starting(config.policy, time.time(), keeper.pins)
        self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds, watch=config.watch)
        self._wake = asyncio.Event()
        self._asked: dict[str, float] = {}
        self.board = Board(self._memory.publication, config.policy.max_age_seconds)

    def reconfigure(self, config: Config) -> None:
        """Takes effect at once: what is known is judged anew by the new policy.

        A role that has changed decides at the next sample as if it were new; of another server nothing is known.
        """
        before, told, self._config = self._config, self._memory.publication, config
        self._asked.clear()
        if config.login.where == before.login.where:
            self._probe.relogin(config.login, config.timeout_seconds, config.watch)
            self._memory = adapt(self._memory, Plan(config.policy), time.time())
        else:
            self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds, watch=config.watch)
            self._memory = starting(config.policy, time.time(), self._memory.trail.pins)
        self._tell(self._memory)
        _log_transitions(told, self._memory.publication)
        self._wake.set()

    def ask(self, key: str, role: Role) -> Publication:
        """What to tell with the answer to one more question, which is judged by every sample from now on.

        Only so many at a time, and each as long as somebody asks it: the one that nobody has asked for longest makes
        room.
        """
        known = key in self._asked
        self._asked.pop(key, None)
        self._asked[key] = clock.now()
        if not known:
            while len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]
            extra = dict(self._memory.plan.extra) | {key: role}
            self._replan({name: role for name, role in extra.items() if name in self._asked})
        return self.board.current()

    def acknowledge(self, cluster: bool) -> tuple[str, ...]:
        """Ends what is latched until somebody has looked; with `cluster` also the cluster that this node belongs to.

        The words of what was acknowledged. Takes effect with the next sample, which comes at once.
        """
        pins, acknowledged = acknowledge(self._memory, cluster=cluster)
        if acknowledged:
            log.warning("acknowledged: %s", ", ".join(acknowledged))
            publication = replace(self._memory.publication, trail=replace(self._memory.trail, pins=pins))
            self._memory = replace(self._memory, publication=publication)
            self._keeper.keep(pins)
            self._wake.set()
        return acknowledged

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._watch(self._probe)
        finally:
            await self._keeper.close()

    async def _watch(self, probe: Probe) -> None:
        """Until the configuration names another server."""
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
        before = self._memory
        self._forget_unasked()
        after = judge(self._memory, snapshot, time.time())
        self._keeper.keep(after.trail.pins)
        self._tell(after)
        _log_transitions(before.publication, after.publication)

    def _tell(self, memory: Memory) -> None:
        self._memory = memory
        self.board.publish(memory.publication, self._config.policy.max_age_seconds)

    def _forget_unasked(self) -> None:
        silent = [key for key, at in self._asked.items() if clock.now() - at > ASKED_SECONDS]
        if silent:
            self._asked = {key: at for key, at in self._asked.items() if key not in silent}
            self._replan({key: role for key, role in self._memory.plan.extra if key in self._asked})

    def _replan(self, extra: dict[str, Role]) -> None:
        plan = Plan(self._config.policy, tuple(extra.items()))
        self._tell(adapt(self._memory, plan, time.time()))

    async def _pause(self, started: float) -> None:
        interval, due_at = self._config.interval_seconds, self._memory.due_at
        if due_at is not None:
            # a hair more than the interval rather than a hair too early, and then once more
            wanted = due_at - started
            if wanted < interval:
                interval = min(interval, max(PENDING_INTERVAL_SECONDS, wanted))
            elif wanted < 1.1 * interval:
                interval = wanted
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
        if name != verdict.role:  # somebody's question with parameters
            continue
        old = before.verdicts.get(name)
        if old is None or old.status is not verdict.status:
            reasons = ",".join(reason.word for reason in verdict.reasons) or "none"
            was = old.status.value if old is not None else "new"
            log.info("role %s %s -> %s weight=%d reasons=%s", name, was, verdict.status.value, verdict.weight, reasons)
