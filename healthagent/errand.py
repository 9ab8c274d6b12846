"""Something that is done now and then beside the probe, and that may hang without anybody waiting for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from healthagent import clock

__all__ = ["SLACK_SECONDS", "Errand"]

# An errand is run when a probe ends; without it every second beat of 500 ms would come a hair too early for 1 s.
SLACK_SECONDS = 0.1


class Errand:
    """Never twice at once: one that hangs is left alone."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._started_at: float | None = None

    def due(self, pace_seconds: float) -> bool:
        """Nothing is under way, and the last one began that long ago."""
        if self.under_way:
            return False
        return self._started_at is None or clock.now() - self._started_at >= pace_seconds - SLACK_SECONDS

    @property
    def under_way(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The one under way, to wait for; or none."""
        return {self._task} if self._task is not None and not self._task.done() else set()

    @property
    def pending_since(self) -> float | None:
        """When the one under way began; None: nothing is under way."""
        return self._started_at if self.under_way else None

    def late(self, seconds: float) -> bool:
        """The one under way takes longer than that."""
        since = self.pending_since
        return since is not None and clock.now() - since > seconds

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins; `work` handles its own errors and puts its result where it belongs. Only when due()."""
        self._started_at = clock.now()
        self._task = asyncio.ensure_future(work)

    async def wait(self, seconds: float) -> None:
        """Until the one under way has ended, but no longer than that."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    def soon(self) -> None:
        """The next due() is true, whatever the pace."""
        if not self.under_way:
            self._started_at = None

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Ends what is under way."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
