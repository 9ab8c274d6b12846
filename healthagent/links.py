"""Replication over time: how old the data of each connection are, and whether anything still comes through it."""

import math
from dataclasses import dataclass, replace

from healthagent.facts import Replication, Snapshot

__all__ = ["Lag", "Link", "follow_lags", "follow_links", "link_limit_seconds"]

# A link through which nothing has come for two heartbeats is dead, whatever it says; never judged sooner than this.
LINK_LEAST_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How old the data of a connection are. `seconds` None: not known; `read_at`: when that was last told.

    `source`: `heartbeat` (the table) or `seconds_behind` (Seconds_Behind_Master); while a thread is away, the last
    known value and the time since.
    """

    connection: str = ""
    seconds: float | None = None
    source: str | None = None
    read_at: float | None = None
    read_seconds: float | None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """`received` as it was at `moved_at`, when it changed last (None: it has been away ever since it was seen first);
    `lost_at`: since when the IO thread is not "Yes".
    """

    connection: str = ""
    received: tuple[str, ...] = ()
    moved_at: float | None = None
    lost_at: float | None = None


def link_limit_seconds(row: Replication) -> float | None:
    """For how long nothing may come through a live link; None where heartbeats are off and silence proves nothing."""
    period = row.heartbeat_period_seconds
    return max(2 * period, LINK_LEAST_SECONDS) if period else None


def follow_links(links: tuple[Link, ...], rows: tuple[Replication, ...] | None, now: float) -> tuple[Link, ...]:
    """The links after one more reading of the rows; None: not readable, all stays as it was."""
    if rows is None or (not rows and not links):
        return links
    known = {link.connection: link for link in links}
    return tuple(_link(known.get(row.connection), row, now) for row in rows)


def _link(before: Link | None, row: Replication, now: float) -> Link:
    lost_at = None if row.io_running == "Yes" else before.lost_at if before and before.lost_at is not None else now
    if before is None and lost_at is not None:  # seen while it was away: nobody knows when it was heard last
        return Link(connection=row.connection, received=row.received, lost_at=lost_at)
    if before is None or before.received != row.received or (before.lost_at is not None and lost_at is None):
        return Link(connection=row.connection, received=row.received, moved_at=now, lost_at=lost_at)
    return before if before.lost_at == lost_at else replace(before, lost_at=lost_at)


def follow_lags(lags: tuple[Lag, ...], snapshot: Snapshot, *, heartbeats: bool) -> tuple[Lag, ...]:
    """The lag of each connection; `heartbeats`: there is a table for it, so what is not found there is not known."""
    rows = snapshot.replications
    if rows is None or (not rows and not lags):
        return lags
    known = {lag.connection: lag for lag in lags}
    return tuple(_lag(known.get(row.connection), row, snapshot, heartbeats) for row in rows)


def _lag(before: Lag | None, row: Replication, snapshot: Snapshot, heartbeats: bool) -> Lag:
    now, delay = snapshot.ended_at, float(row.delay_seconds or 0)
    seconds, source = _told(row, snapshot, heartbeats)
    if seconds is not None:
        return Lag(
            connection=row.connection,
            seconds=seconds,
            source=source,
            read_at=now,
            read_seconds=seconds,
            delay_seconds=delay,
        )
    away = row.io_running != "Yes" or row.sql_running != "Yes"
    if before is None or before.read_at is None or before.read_seconds is None:
        return Lag(connection=row.connection, delay_seconds=delay)
    # NULL comes a moment before "Connecting" does: what was read last is needed then. And a table that was not read
    # this once is not one without our row.
    unread = heartbeats and snapshot.heartbeats is None and before.source == "heartbeat"
    seconds = before.read_seconds + now - before.read_at if away or unread else None
    return replace(before, seconds=seconds, delay_seconds=delay)


def _told(row: Replication, snapshot: Snapshot, heartbeats: bool) -> tuple[float | None, str | None]:
    """Not by Master_Slave_time_diff, the difference between two event times. Recorded on 11.8: it stays at 0 or 1 while
    a lock stops the SQL thread for 15 s, and is 16 to 35 s for the first event after an idle time.
    """
    age = _heartbeat_age(row, snapshot)
    if age is not None:
        return age, "heartbeat"
    return (None, None) if heartbeats or row.lag_seconds is None else (float(row.lag_seconds), "seconds_behind")


def _heartbeat_age(row: Replication, snapshot: Snapshot) -> float | None:
    """The row that the source itself writes; the only row there is where it comes through an intermediate one."""
    beats = snapshot.heartbeats or ()
    own = [beat.age_seconds for beat in beats if beat.server_id == row.source_server_id]
    if not own and len(beats) == 1 and len(snapshot.replications or ()) == 1:
        own = [beats[0].age_seconds]
    # a source whose clock is ahead writes in the future
    return max(0.0, own[0]) if own and math.isfinite(own[0]) else None
