"""Looks at what may block for ever (/proc of a dying process, a dead NFS), in a thread that no exit waits for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from healthagent.logs import fault

__all__ = ["Lookout"]

T = TypeVar("T")


class Lookout:
    """One look at a time: while one hangs, there is no second one. At rest there is no thread."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._thread: threading.Thread | None = None
        self._told = True

    async def look(self, look: Callable[[], T]) -> T | None:
        """The result of `look`; None if it takes longer than `seconds`, or raises, which it should not: a fault."""
        if self._thread is not None and self._thread.is_alive() and not self._told:
            return None  # one that has told its result is just about to end
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T | None] = loop.create_future()

        def tell(result: T | None) -> None:
            self._told = True
            if not future.done():
                future.set_result(result)

        def run() -> None:
            result: T | None
            try:
                result = look()
            except Exception as error:  # else it would be a traceback on standard error, and a deadline that passes
                fault(f"in the thread {self._name}", error)
                result = None
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(tell, result)

        self._thread, self._told = threading.Thread(target=run, name=self._name, daemon=True), False
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had (TasksMax): what would be seen is not known then
            self._thread = None
            return None
        await asyncio.wait({future}, timeout=self._seconds)
        return future.result() if future.done() else None
