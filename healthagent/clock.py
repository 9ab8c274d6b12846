"""The clock of all samples: seconds since boot, those in which the machine was suspended included.

CLOCK_MONOTONIC stands still while a virtual machine is paused by a suspend; the facts grow old all the same.
"""

import time

__all__ = ["now"]


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
