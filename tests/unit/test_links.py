"""Replication over time: how old the data are and by what source, whether the link lives, and what a lost source is."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from healthagent import parse
from healthagent.facts import Heartbeat, Position, Snapshot
from healthagent.policy import Policy, PrimaryLost
from tests.build import (
    POLICY,
    PRIMARY,
    REPLICA,
    SYNCED,
    Agent,
    beating,
    falls_after,
    galera_rows,
    healthy,
    plain_rows,
    replica,
    rises_after,
    slave_row,
    snapshot,
    with_role,
)

CONNECTING: Mapping[str, object] = {"Slave_IO_Running": "Connecting", "Seconds_Behind_Master": None}
BEATS = "1.000"


def told(agent: Agent, connection: str = "") -> tuple[float | None, str | None]:
    lag = agent.publication.trail.lag(connection)
    return lag.seconds, lag.source


# --- where the lag comes from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "seconds", "source"),
    [
        (replica(slave_row(Seconds_Behind_Master=7)), 7.0, "seconds_behind"),
        (replica(slave_row(Seconds_Behind_Master=7, Master_Slave_time_diff=0)), 7.0, "seconds_behind"),
        (beating(replica(slave_row(Master_Slave_time_diff=3)), (101, 1.5), (102, 99.0)), 1.5, "heartbeat"),
        (beating(replica(slave_row()), (102, 99.0)), 99.0, "heartbeat"),
        (beating(replica(slave_row(Seconds_Behind_Master=7)), (102, 99.0), (103, 98.0)), 7.0, "seconds_behind"),
        (beating(replica(slave_row()), (101, -4.0)), 0.0, "heartbeat"),
        (beating(replica(slave_row(Seconds_Behind_Master=7)), (101, float("nan"))), 7.0, "seconds_behind"),
        (beating(replica(slave_row(Seconds_Behind_Master=7)), (101, float("inf"))), 7.0, "seconds_behind"),
        (beating(replica(slave_row(Seconds_Behind_Master=7))), 7.0, "seconds_behind"),
        (replica(slave_row(Seconds_Behind_Master=None)), None, None),
    ],
)
def test_the_best_source_is_named(what: Snapshot, seconds: float | None, source: str | None) -> None:
    assert told(Agent().sees(what)) == (seconds, source)


def test_each_connection_has_the_heartbeat_of_its_own_source() -> None:
    rows = [slave_row(Connection_name=name, Master_Server_Id=number) for name, number in (("a", 1), ("b", 2), ("c", 3))]
    agent = Agent().sees(beating(replica(*rows), (1, 4.0), (2, 30.0)))

    assert [told(agent, name) for name in "abc"] == [(4.0, "heartbeat"), (30.0, "heartbeat"), (0.0, "seconds_behind")]


def test_while_connecting_the_time_since_is_added() -> None:
    agent = healthy(replica(slave_row(Seconds_Behind_Master=2)))

    seconds, source = told(agent.keeps_seeing(replica(slave_row(**CONNECTING)), 4.0))
    assert (seconds, source) == (6.0, "seconds_behind")


def test_null_with_both_threads_running_does_not_forget_what_was_read_last() -> None:
    agent = healthy(replica(slave_row(Seconds_Behind_Master=2))).sees(replica(slave_row(Seconds_Behind_Master=None)))
    assert told(agent)[0] is None

    assert told(agent.sees(replica(slave_row(**CONNECTING)))) == (3.0, "seconds_behind")


def test_a_lag_that_was_never_known_is_none_that_serves() -> None:
    agent = Agent().sees(replica(slave_row(Seconds_Behind_Master=None)))
    assert agent.says("reader") == "replication_unknown"

    assert rises_after(agent, replica(slave_row(**CONNECTING)), "reader", within=30.0) is None


# --- a replica that was stopped -------------------------------------------------------------------------------------

STOPPED = replica(slave_row(Slave_SQL_Running="No", Seconds_Behind_Master=None))


@pytest.mark.parametrize("away", [STOPPED, replace(REPLICA, replications=None)], ids=["stopped", "rows not readable"])
def test_an_hour_of_lag_is_no_news_when_a_replica_runs_again(away: Snapshot) -> None:
    """The lag gate holds for a second; the others are back after half of one."""
    late = replica(slave_row(Seconds_Behind_Master=3600))
    agent = healthy(late if away is not STOPPED else REPLICA).keeps_seeing(away, 5.0)

    assert rises_after(agent, late, "reader", within=30.0) is None
    assert rises_after(agent, replica(slave_row(Seconds_Behind_Master=5)), "reader") == 1.0


# --- delayed replicas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lag", "reader", "own"), [(3600, "replica_lagging", "up"), (3611, *["replica_lagging"] * 2)])
def test_only_a_role_that_asks_for_it_forgives_the_delay(lag: int, reader: str, own: str) -> None:
    policy = with_role("replica", subtract_delay=True)
    agent = Agent(policy).keeps_seeing(replica(slave_row(Seconds_Behind_Master=lag, SQL_Delay=3600)), 2.0)

    assert agent.told("reader", "replica") == f"{reader} {own}"
    assert agent.state == "replica_lagging"


# --- several sources ------------------------------------------------------------------------------------------------

TWO = (slave_row(Connection_name="a"), slave_row(Connection_name="b"))


@pytest.mark.parametrize(
    ("connections", "rows", "says"),
    [
        (("a", "b"), TWO, "up"),
        (("a",), (TWO[0], slave_row(Connection_name="b", Slave_SQL_Running="No", Last_SQL_Errno=1062)), "up"),
        (("a",), (TWO[0], slave_row(Connection_name="b", Seconds_Behind_Master=999)), "up"),
        (("b",), (TWO[0], slave_row(Connection_name="b", Seconds_Behind_Master=999)), "replica_lagging"),
        (("a",), (TWO[1],), "not_replicating"),
        (("a", "c"), TWO, "not_replicating"),
        (("a",), (), "not_replicating"),
        (None, (TWO[0], slave_row(Connection_name="b", Slave_SQL_Running="No")), "replica_stopped"),
    ],
)
def test_required_connections(
    connections: tuple[str, ...] | None, rows: tuple[dict[str, object], ...], says: str
) -> None:
    what = snapshot(plain_rows(), rows)

    assert Agent(with_role("reader", connections=connections)).sees(what).says("reader") == says


def test_the_weight_goes_by_the_required_connections_alone() -> None:
    rows = (slave_row(Connection_name="a"), slave_row(Connection_name="b", Seconds_Behind_Master=9))
    policy = with_role("replica", connections=("a",))
    agent = healthy(snapshot(plain_rows(), rows), policy)

    assert (agent.weight("replica"), agent.weight("reader")) == (100, 30)


# --- the link -------------------------------------------------------------------------------------------------------


def fed(count: int, **how: object) -> Snapshot:
    return replica(slave_row(**{name: f"{value}{count}" for name, value in how.items()}, Slave_heartbeat_period=BEATS))


MOVES = {"heartbeats": "Slave_received_heartbeats", "gtid": "Gtid_IO_Pos", "position": "Read_Master_Log_Pos"}


@pytest.mark.parametrize("name", [*MOVES.values(), "Master_Log_File"])
def test_whatever_comes_keeps_a_link_alive(name: str) -> None:
    prefix = "1-101-" if name == "Gtid_IO_Pos" else ""
    agent = healthy(fed(0, **{name: prefix}))
    for count in range(40):
        agent.sees(fed(count, **{name: prefix}), after=1.0)

    assert (agent.state, agent.says("reader")) == ("replica", "up")


@pytest.mark.parametrize(
    ("period", "dead_after"), [("1.000", 10.0), ("5.000", 10.0), ("30.000", 60.0), ("0.000", None)]
)
def test_a_link_is_dead_after_two_heartbeats_or_ten_seconds(period: str, dead_after: float | None) -> None:
    what = replica(slave_row(Slave_heartbeat_period=period))
    agent = Agent().sees(what)
    fell = falls_after(agent, what, "reader", within=80.0)

    assert fell == (None if dead_after is None else pytest.approx(dead_after + 1.0, abs=0.21))
    assert agent.says("reader") == ("up" if fell is None else "replica_stale_link")
    assert agent.state == ("replica" if fell is None else "replica_stale_link")


def test_a_dead_link_comes_back_with_the_next_heartbeat() -> None:
    dead = replica(slave_row(Slave_heartbeat_period=BEATS))
    alive = replica(slave_row(Slave_heartbeat_period=BEATS, Slave_received_heartbeats=8))

    assert rises_after(Agent().keeps_seeing(dead, 20.0, every=0.5), alive, "reader") == 1.0


# --- primary_lost ---------------------------------------------------------------------------------------------------

SERVE = with_role("reader", primary_lost=PrimaryLost.SERVE)
SOURCE_GONE = slave_row(**CONNECTING, Last_IO_Errno=2003, Slave_heartbeat_period=BEATS)
SOURCE_HANGS = slave_row(Slave_heartbeat_period=BEATS)


@pytest.mark.parametrize("gone", [SOURCE_GONE, SOURCE_HANGS], ids=["gone", "hangs"])
def test_readers_may_go_on_without_a_source_for_ten_minutes(gone: dict[str, object]) -> None:
    agent = Agent(SERVE).sees(replica(SOURCE_HANGS))
    since = agent.now
    what = replica(gone)
    agent.keeps_seeing(what, 590.0, every=1.0)
    assert (agent.says("reader"), agent.says("any")) == ("up/primary_lost", "replica_stale_link")

    fell = falls_after(agent, what, "reader", within=60.0, every=0.5)
    assert fell is not None
    assert 600.0 <= agent.now - since <= 613.0


def test_without_heartbeats_it_counts_from_the_loss() -> None:
    silent = {"Slave_heartbeat_period": "0.000"}
    agent = healthy(replica(slave_row(**silent)), SERVE).keeps_seeing(replica(slave_row(**silent)), 900.0, every=2.0)

    assert falls_after(agent, replica(slave_row(**CONNECTING, **silent)), "reader", within=500.0, every=1.0) is None


@pytest.mark.parametrize(
    "more",
    [
        {"Slave_SQL_Running": "No"},
        {"Last_SQL_Errno": 1062},
        {"Last_IO_Errno": 1045},
        {"Slave_IO_Running": "No"},
        {"Slave_IO_Running": "No", "Last_IO_Errno": 1236},
    ],
)
def test_the_link_must_be_the_only_failure(more: dict[str, object]) -> None:
    agent = healthy(replica(SOURCE_HANGS), SERVE).keeps_seeing(replica({**SOURCE_GONE, **more}), 15.0, every=0.5)

    assert not agent.up("reader")


@pytest.mark.parametrize("gone", [SOURCE_GONE, {**SOURCE_HANGS, "Seconds_Behind_Master": 60}], ids=["gone", "hangs"])
def test_losing_the_source_does_not_lift_a_replica_that_was_late_before(gone: dict[str, object]) -> None:
    late = replica(slave_row(Slave_heartbeat_period=BEATS, Seconds_Behind_Master=60))
    agent = healthy(late, SERVE)
    assert agent.says("reader") == "replica_lagging"

    assert rises_after(agent, replica(gone), "reader", within=60.0, every=0.5) is None


def test_nor_one_that_is_late_by_its_heartbeat_table() -> None:
    agent = healthy(beating(replica(SOURCE_HANGS), (101, 60.0)), SERVE)
    for index in range(60):
        agent.sees(beating(replica(SOURCE_GONE), (101, 60.0 + index)), after=1.0)
        assert not agent.up("reader")


def test_an_outage_that_began_before_anybody_looked_has_no_ten_minutes() -> None:
    assert rises_after(Agent(SERVE).sees(replica(SOURCE_GONE)), replica(SOURCE_GONE), "reader", within=30.0) is None


def test_down_is_the_default() -> None:
    agent = healthy(replica(SOURCE_HANGS)).keeps_seeing(replica(SOURCE_GONE), 12.0)

    assert agent.says("reader") == "replica_stale_link"


# --- a Galera node that is a replica too ----------------------------------------------------------------------------

REQUIRED = with_role("reader", replication_required=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Slave_SQL_Running": "No", "Seconds_Behind_Master": None}, "replica_stopped"),
        ({"Seconds_Behind_Master": 60}, "replica_lagging"),
        ({"Last_SQL_Errno": 1062}, "replica_error"),
    ],
)
def test_rows_of_a_member_are_only_reported_unless_a_role_requires_them(change: dict[str, object], says: str) -> None:
    what = snapshot(galera_rows(), (slave_row(**change),))
    loose, strict = healthy(what), healthy(what, REQUIRED)

    assert (loose.told("reader", "writer"), loose.weight("reader"), loose.weight("writer")) == ("up up", 100, 100)
    assert strict.told("reader", "writer", "any") == f"{says} up up"
    assert strict.state == "synced"


def test_a_member_without_a_source_does_not_replicate_what_a_role_requires() -> None:
    assert healthy(SYNCED, REQUIRED).told("reader", "writer") == "not_replicating up"
    assert healthy(PRIMARY, REQUIRED).up("reader"), "outside Galera a primary needs no source"


# --- a ring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ring", "rows", "says"),
    [
        ((), (TWO[0],), "is_replica"),
        (("a",), (TWO[0],), "up"),
        (("a",), TWO, "is_replica"),
        (("a", "b"), TWO, "up"),
        (("a",), (slave_row(Connection_name="a", Slave_SQL_Running="No"),), "up"),
        (("a",), None, "replication_unknown"),
    ],
)
def test_a_ring(ring: tuple[str, ...], rows: tuple[dict[str, object], ...] | None, says: str) -> None:
    assert Agent(with_role("writer", ring=ring)).sees(snapshot(plain_rows(), rows)).says("writer") == says


# --- positions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-1-44", [(0, 1, 44)]),
        ("0-1-44,1-101-7", [(0, 1, 44), (1, 101, 7)]),
        (" 0-1-44,\n1-101-7 ", [(0, 1, 44), (1, 101, 7)]),
        ("4294967295-4294967295-18446744073709551615", [(2**32 - 1, 2**32 - 1, 2**64 - 1)]),
        ("", []),
        (None, []),
        ("0-1", []),
        ("0-1-2-3", []),
        ("\u0660-\u0661-\u0662", []),
        ("0-1-44,x", [(0, 1, 44)]),
        (b"0-1-44", [(0, 1, 44)]),
        ("1" * 100_000, []),
    ],
)
def test_gtid_positions_by_domain(text: object, found: list[tuple[int, int, int]]) -> None:
    assert parse.positions(text) == tuple(Position(domain=d, server_id=s, sequence=n) for d, s, n in found)


# --- a reload -------------------------------------------------------------------------------------------------------


def test_a_reload_keeps_what_is_known_of_links_and_lags() -> None:
    agent = healthy(replica(slave_row(Seconds_Behind_Master=2)))
    policy: Policy = with_role("reader", max_lag_seconds=12.0)
    agent.sees(replica(slave_row(**CONNECTING))).reloads(policy)

    assert told(agent.sees(replica(slave_row(**CONNECTING)))) == (3.0, "seconds_behind")
    assert agent.up("reader")
    assert POLICY.reader.max_lag_seconds == 10.0
    assert PRIMARY.replications == ()


# --- a source that is configured and missing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beats", [(), (Heartbeat(server_id=7, age_seconds=500.0), Heartbeat(server_id=8, age_seconds=500.0))]
)
def test_without_its_row_a_heartbeat_table_says_nothing_and_nothing_else_is_believed(
    beats: tuple[Heartbeat, ...],
) -> None:
    policy = replace(POLICY, heartbeats=True)
    known = replace(REPLICA, heartbeats=(Heartbeat(server_id=101, age_seconds=0.2),))
    agent = healthy(known, policy)
    assert agent.up("reader")

    agent.keeps_seeing(replace(REPLICA, heartbeats=beats), 2.0)
    assert agent.says("reader") == "replication_unknown"


def test_an_io_thread_that_waits_for_relay_log_space_takes_nothing_and_is_alive() -> None:
    row = slave_row(
        Slave_heartbeat_period="1.000",
        Slave_IO_State="Waiting for the slave SQL thread to free enough relay log space",
    )
    assert healthy(replica(row)).keeps_seeing(replica(row), 60.0, every=0.5).up("reader")


def test_rows_that_cannot_be_read_make_no_primary_of_a_replica() -> None:
    unread = replace(REPLICA, replications=None)
    agent = healthy(REPLICA).sees(unread)
    assert agent.up("replica"), "held, as the reader is"
    assert agent.keeps_seeing(unread, 2.0).says("replica") == "replication_unknown"


def test_a_heartbeat_table_that_was_not_read_this_once_ages() -> None:
    known = replace(REPLICA, heartbeats=(Heartbeat(server_id=101, age_seconds=1.0),))
    agent = healthy(known, replace(POLICY, heartbeats=True))
    unread = replace(REPLICA, heartbeats=None)

    assert agent.keeps_seeing(unread, 8.5, every=0.5).up("reader")
    assert agent.keeps_seeing(unread, 2.5, every=0.5).says("reader") == "replica_lagging"


def test_a_primary_among_replicas_that_name_their_sources_says_that_it_needs_none() -> None:
    assert Agent(with_role("reader", connections=("a",))).sees(PRIMARY).says("reader") == "not_replicating"
    assert Agent(with_role("reader", connections=("a",), require_replication=False)).sees(PRIMARY).up("reader")
