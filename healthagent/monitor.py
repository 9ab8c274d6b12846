"""The loop: look, judge, publish; wakes early when the server drops the connection; logs transitions only."""

import asyncio
import contextlib
import math
import time

from healthagent import clock
from healthagent.board import Board
from healthagent.config import Config
from healthagent.events import Event, Kind, Level
from healthagent.facts import Snapshot
from healthagent.judge import Memory, acknowledge, adapt, judge, repinned, starting
from healthagent.logs import tell
from healthagent.model import Publication
from healthagent.pin import Keeper
from healthagent.plan import Plan
from healthagent.policy import Role
from healthagent.probe import Probe
from healthagent.recorder import Recorder
from healthagent.rhythm import Rhythm
from healthagent.trail import Pins
from healthagent.transitions import transitions

__all__ = ["Monitor"]

# between two looks before their time: a server that drops every connection at once must not make the loop spin
SHORTEST_INTERVAL_SECONDS = 0.02
# Questions with parameters (/reader?max_lag=5s) that are kept, and for how long without being asked.
MAX_ASKED = 16
ASKED_SECONDS = 60.0
# A look ends within three timeouts and half a second (Probe.glance, Probe.sample); what is much later is stuck.
LOOK_TIMEOUTS, STUCK_SECONDS = 3.0, 10.0


class Monitor:
    """Owns the probe and the memory; the board is where its word is read."""

    def __init__(self, config: Config, keeper: Keeper, recorder: Recorder | None = None) -> None:
        self._keeper = keeper
        self._recorder = recorder or Recorder()
        self._config = config
        self._memory = starting(config.policy, _wall(), keeper.pins)
        self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds, watch=config.watch)
        self._nap: asyncio.Timeout | None = None
        self._woken = self._anew = False
        self._early_at = 0.0
        self._asked: dict[str, float] = {}
        self._turned_at = time.monotonic()
        self.board = Board(self._memory.publication, config.policy.max_age_seconds)
        self._told, self._turned = self._memory.publication, False
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_at = math.inf
        self.board.follow(self._log)

    def reconfigure(self, config: Config) -> None:
        """Takes effect at once: what is known is judged anew by the new policy.

        A role that has changed decides at the next sample as if it were new; of another server nothing is known.
        """
        before, self._config = self._config, config
        self._asked.clear()
        wall = _wall()
        self._recorder.adopt(config, self.pins, wall)
        if config.login.where == before.login.where:
            self._probe.relogin(config.login, config.timeout_seconds, config.watch)
            self._memory = adapt(self._memory, Plan(config.policy), wall)
        else:
            self._probe = Probe(config.login, timeout_seconds=config.timeout_seconds, watch=config.watch)
            self._memory = starting(config.policy, wall, self.pins)
        self._tell(self._memory)
        self._anew = True
        self._turned_at = time.monotonic()
        self.look_now()

    @property
    def pins(self) -> Pins:
        """What is pinned now."""
        return self._memory.trail.pins

    def turns(self) -> bool:
        """Whether looks at the server still end, with whatever result: one that nobody answers in time has ended, too.

        By the clock of systemd's watchdog, which stands still while the machine is suspended.
        """
        longest = self._config.interval_seconds + LOOK_TIMEOUTS * self._config.timeout_seconds
        return time.monotonic() - self._turned_at < longest + STUCK_SECONDS

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
            says = f"acknowledged: {', '.join(acknowledged)}"
            tell(Event(kind=Kind.ACKNOWLEDGED, level=Level.WARNING, says=says, fields={"reasons": acknowledged}))
            self._memory = repinned(self._memory, pins)
            self._recorder.acknowledged(_wall(), cluster=cluster)
            self._keeper.keep(pins)
            self._anew = True
            self.look_now()
        return acknowledged

    def look_now(self) -> None:
        """Somebody may know that the server has changed: the next look comes at once. Cheap, however often."""
        self._woken = True
        if self._nap is not None:
            with contextlib.suppress(RuntimeError):  # it is over, and the loop about to look anyway
                self._nap.reschedule(0.0)
            self._nap = None

    async def run(self) -> None:
        """Until cancelled."""
        self._recorder.adopt(self._config, self.pins, _wall())
        try:
            while True:
                await self._watch(self._probe)
        finally:
            self._await_expiry(math.inf)
            await self._keeper.close()
            await self._recorder.close(_wall())

    async def _watch(self, probe: Probe) -> None:
        """Until the configuration names another server."""
        rhythm = Rhythm()
        try:
            while probe is self._probe:
                started = clock.now()
                whole, self._anew = self._anew or rhythm.whole(started), False
                fast = self._config.fast_seconds
                snapshot = await (probe.sample() if whole else probe.glance(fast_seconds=fast))
                self._turned_at = time.monotonic()
                if probe is not self._probe:
                    return
                if snapshot is None:
                    until = rhythm.glanced(started, fast=fast)
                else:
                    self._publish(snapshot)
                    interval = self._config.interval_seconds
                    until = rhythm.sampled(snapshot, self._memory.due_at, interval=interval, fast=fast)
                await self._rest(probe, until)
        finally:
            await probe.close()

    def _publish(self, snapshot: Snapshot) -> None:
        self._forget_unasked()
        wall = _wall()
        after = judge(self._memory, snapshot, wall)
        self._keeper.keep(after.trail.pins)
        self._turned = False
        self._tell(after)
        self._recorder.sample(snapshot, wall, after.trail.pins, turned=self._turned)

    def _tell(self, memory: Memory) -> None:
        self._memory = memory
        self.board.publish(memory.publication, self._config.policy.max_age_seconds)
        if self.board.due_at < self._expiry_at:
            self._await_expiry(self.board.due_at)

    def _log(self) -> None:
        """The board tells something else."""
        before, self._told = self._told, self.board.current()
        for event in transitions(before, self._told):
            self._turned = True
            tell(event)

    def _await_expiry(self, at: float) -> None:
        """Then facts may have grown too old, which is told even if no probe ends any more; infinity: never.

        A sample before that changes nothing here: the timer finds that out by itself, once in max_age.
        """
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry, self._expiry_at = None, at
        if at < math.inf:
            self._expiry = asyncio.get_running_loop().call_later(max(0.0, at - clock.now()), self._expire)

    def _expire(self) -> None:
        if clock.now() > self.board.due_at:
            self.board.current()
        self._await_expiry(self.board.due_at)

    def _forget_unasked(self) -> None:
        silent = [key for key, at in self._asked.items() if clock.now() - at > ASKED_SECONDS]
        if silent:
            self._asked = {key: at for key, at in self._asked.items() if key not in silent}
            self._replan({key: role for key, role in self._memory.plan.extra if key in self._asked})

    def _replan(self, extra: dict[str, Role]) -> None:
        plan = Plan(self._config.policy, tuple(extra.items()))
        self._tell(adapt(self._memory, plan, _wall()))

    async def _rest(self, probe: Probe, until: float) -> None:
        """Till then, or till the server drops the connection or look_now() is called, before or meanwhile.

        No task is made for it: this is run ten times a second.
        """
        if not self._woken:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until - clock.now())) as self._nap:
                    await probe.ended()
            self._nap = None
        self._woken = False
        if clock.now() < until:
            await asyncio.sleep(self._early_at + SHORTEST_INTERVAL_SECONDS - clock.now())
            self._early_at = clock.now()


def _wall() -> float:
    """For people, and so to the millisecond."""
    return round(time.time(), 3)
