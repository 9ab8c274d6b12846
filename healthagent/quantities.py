"""Numbers of a file that may be damaged: ValueError for what no clock can have said."""

from typing import Any

__all__ = ["seconds", "wall_seconds"]

MOST_WALL = 32503680000.0  # the year 3000, in seconds; some years later nobody can tell a date any more
MOST_SECONDS = 1e10  # of any other clock


def wall_seconds(said: Any) -> float:
    """Seconds of the wall clock that have a date."""
    wall = float(said)
    if not 0 <= wall <= MOST_WALL:
        raise ValueError(f"wall {wall:g}")
    return wall


def seconds(said: Any) -> float:
    """Of any other clock."""
    found = float(said)
    if not abs(found) <= MOST_SECONDS:  # NaN is neither
        raise ValueError(f"{found:g} seconds")
    return found
