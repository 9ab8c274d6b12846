"""MariaDB's rows -> facts: by name, absent and absurd values are None, nothing raises."""

import pytest

from healthagent import parse
from healthagent.facts import Galera, Position, Replication, Server
from tests.build import GALERA_ROWS, NO_MEMBER, galera_rows, plain_rows, slave_row

ABSURD: list[object] = [
    *(None, True, "", " ", "garbage", "-1", "1.5", "1e3", "0x10", "٤", "²", b"\xff\xfe", [], {}, "9" * 400),
]


WHERE_IT_LISTENS = {"server_id": "7", "port": "3306", "bind_address": "*", "skip_networking": "0"}


def galera_of(**changes: object) -> Galera:
    found = parse.galera(galera_rows(**changes))
    assert found is not None
    return found


def test_a_synced_member() -> None:
    assert parse.galera(galera_rows()) == Galera(
        provider="/usr/lib/galera/libgalera_smm.so",
        on=True,
        local_state=4,
        local_state_comment="Synced",
        local_state_detail=None,
        cluster_status="Primary",
        connected=True,
        ready=True,
        cluster_size=3,
        local_index=1,
        cluster_conf_id=3,
        cluster_state_uuid="c7abde26-e4d5-11f1-877e-2e96af7f438e",
        desync=False,
        desync_count=0,
        reject_queries="NONE",
        maintenance_mode=None,
        recv_queue=0,
        last_committed=64,
        evs_state="OPERATIONAL",
        suspect_timeout_seconds=5.0,
        dirty_reads=False,
        member_uuid="ff58934c-e54c-11f1-9b97-52997c88bfde",
        recv_queue_lower=28,
        recv_queue_upper=28,
        flow_control_sent=0,
        flow_control_paused=0.0,
        flow_control_paused_ns=0,
        open_transactions=0,
        incoming_addresses=("127.0.0.1:13311", "127.0.0.1:13312", "127.0.0.1:13313"),
    )


def test_what_every_server_has() -> None:
    assert parse.server(galera_rows()) == Server(
        version="10.11.19-MariaDB-deb12-log",
        hostname="db2",
        node_name="n2",
        read_only=False,
        innodb_read_only=False,
        log_bin=True,
        max_connections=151,
        threads_connected=9,
        uptime_seconds=4711,
        threads_running=1,
        ddl_statements=4,
        buffer_pool_loaded=True,
        gtid_binlog_pos=(Position(domain=0, server_id=1, sequence=44),),
    )


def test_where_it_listens() -> None:
    found = parse.server(WHERE_IT_LISTENS)
    assert (found.server_id, found.port, found.bind_address, found.skip_networking) == (7, 3306, "*", False)
    absent = parse.server({"bind_address": None, "port": ""})  # NULL: every address
    assert (absent.server_id, absent.port, absent.bind_address, absent.skip_networking) == (None, None, None, None)


def test_a_replication_row() -> None:
    row = slave_row(Connection_name="a", Last_IO_Errno="2003", Last_IO_Error="error reconnecting", SQL_Delay="5")

    assert parse.replications([row]) == (
        Replication(
            connection="a",
            source="127.0.0.1:13331",
            source_server_id=101,
            heartbeat_period_seconds=0.0,
            received=("7", "1-101-44", "binlog.000002", "4711"),
            io_running="Yes",
            io_state="Waiting for master to send event",
            sql_running="Yes",
            lag_seconds=0,
            io_errno=2003,
            io_error="error reconnecting",
            sql_errno=0,
            sql_error=None,
            delay_seconds=5,
            gtid_io_pos=(Position(domain=1, server_id=101, sequence=44),),
            gtid_slave_pos=(Position(domain=1, server_id=101, sequence=44),),
        ),
    )


def test_null_lag_is_not_known_and_not_zero() -> None:
    assert parse.replications([slave_row(Seconds_Behind_Master=None)])[0].lag_seconds is None


def test_the_lag_may_be_a_text_or_a_number() -> None:
    rows = [slave_row(Seconds_Behind_Master=value) for value in ("16", 16)]

    assert [row.lag_seconds for row in parse.replications(rows)] == [16, 16]


def test_no_rows_are_not_unknown_rows() -> None:
    assert parse.replications([]) == ()


def test_every_name_that_is_asked_for_is_used() -> None:
    asked = {*parse.GALERA_STATUS, *parse.SERVER_STATUS, *parse.VARIABLES}

    assert asked - {"pxc_maint_mode", *WHERE_IT_LISTENS} == set(GALERA_ROWS)


def test_a_server_without_wsrep_has_no_galera() -> None:
    assert parse.galera({"version": "11.4.2-MariaDB", "read_only": 0}) is None


def test_a_server_without_a_provider_shows_no_local_state() -> None:
    found = parse.galera(plain_rows())

    assert found is not None
    assert (found.local_state, found.local_state_comment, found.provider) == (None, None, "none")


@pytest.mark.parametrize("name", sorted(GALERA_ROWS))
def test_an_absent_name_is_none_and_touches_nothing_else(name: str) -> None:
    rows = galera_rows()
    del rows[name]
    full, left = galera_of(), parse.galera(rows)
    assert left is not None
    lost = {field for field in full.__slots__ if getattr(left, field) != getattr(full, field)}
    lost |= {f for f in Server.__slots__ if getattr(parse.server(rows), f) != getattr(parse.server(galera_rows()), f)}

    at_most = {"pid_file": 0, "datadir": 0, "wsrep_cluster_size": 3}.get(name, 1)
    assert len(lost) <= at_most if name in parse.DDL_STATUS else len(lost) == at_most


def test_no_member_is_none() -> None:
    found = galera_of(local_index=NO_MEMBER, cluster_conf_id=NO_MEMBER)

    assert (found.local_index, found.cluster_conf_id) == (None, None)


def test_the_largest_number_that_is_one() -> None:
    assert galera_of(last_committed="18446744073709551614").last_committed == 2**64 - 2


def test_no_seqno_is_none() -> None:
    assert galera_of(last_committed="-1").last_committed is None


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_absurd_numbers_are_none(value: object) -> None:
    assert parse.count(value) is None


@pytest.mark.parametrize("value", [None, "", "garbage", "2", 2, -1, 0.5, object, b"\xff"], ids=repr)
def test_absurd_switches_are_none(value: object) -> None:
    assert parse.switch(value) is None


@pytest.mark.parametrize("value", ["ON", "on", " On ", "1", 1, b"ON", True], ids=repr)
def test_on(value: object) -> None:
    assert parse.switch(value) is True


@pytest.mark.parametrize("value", ["OFF", "off", "0", 0, b"OFF", False], ids=repr)
def test_off(value: object) -> None:
    assert parse.switch(value) is False


@pytest.mark.parametrize(
    ("comment", "word", "tail"),
    [
        ("Synced", "Synced", None),
        ("Joining: receiving State Transfer", "Joining", "receiving State Transfer"),
        ("Joining:receiving: more", "Joining", "receiving: more"),
        ("Donor/Desynced", "Donor/Desynced", None),
        (":", None, None),
        ("", None, None),
    ],
)
def test_comments_are_cut_at_the_colon(comment: str, word: str | None, tail: str | None) -> None:
    found = galera_of(local_state_comment=comment)

    assert (found.local_state_comment, found.local_state_detail) == (word, tail)


@pytest.mark.parametrize("value", ["OFF", "off", 0, "0"], ids=repr)
def test_only_off_is_writable(value: object) -> None:
    assert parse.server({"read_only": value}).read_only is False


@pytest.mark.parametrize("value", ["ON", 1, "1", "NO_LOCK", "NO_LOCK_NO_ADMIN", "2", 3], ids=repr)
def test_every_other_word_of_the_enumeration_is_not(value: object) -> None:
    assert parse.server({"read_only": value}).read_only is True


@pytest.mark.parametrize("value", [None, "", b""], ids=repr)
def test_an_unreadable_read_only_is_not_known(value: object) -> None:
    assert parse.server({"read_only": value}).read_only is None


def test_an_arbitrator_has_an_empty_address() -> None:
    assert galera_of(incoming_addresses="10.0.0.1:3306,,10.0.0.2:3306, ").incoming_addresses == (
        "10.0.0.1:3306",
        "10.0.0.2:3306",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0.0), ("0.0766252", 0.0766252), ("5.43971e-05", 5.43971e-05), ("1", 1.0), ("9e-07", 9e-07), ("1.0", 1.0)],
)
def test_a_part_of_the_time(value: str, expected: float) -> None:
    assert parse.part(value) == expected


@pytest.mark.parametrize(
    "value", [None, "", "x", "-0.1", "1.5", "2", "nan", "inf", "1e400", "1e-400", "0,5", "0x1", True]
)
def test_what_is_no_part(value: object) -> None:
    assert parse.part(value) is None
