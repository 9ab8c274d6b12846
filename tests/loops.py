"""The event loops that the daemon runs on: Python's own, and uvloop's where it is installed."""

import asyncio
from collections.abc import Callable

__all__ = ["LOOPS"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:  # Debian's packages without the one that is only recommended
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop
