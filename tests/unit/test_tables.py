"""The statements for the operator's tables, and what is made of their rows."""

import pytest

from healthagent import tables
from healthagent.facts import Heartbeat


@pytest.mark.parametrize("name", ["db.table", "health-agent.write_1", "A.$b"])
def test_names(name: str) -> None:
    assert tables.TABLE_NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["table", "a.b.c", "a.`b", "a .b", "a.", ".b", "a.b;", "a.b\n", "ä.b", "a." + "b" * 65]
)
def test_what_is_no_name(name: str) -> None:
    assert not tables.TABLE_NAME.fullmatch(name)


def test_a_name_is_quoted() -> None:
    assert tables.quoted("my-db.heart$beat") == "`my-db`.`heart$beat`"


def test_rows() -> None:
    rows: list[dict[str, object]] = [
        {"server_id": 1, "age_microseconds": 1_500_000},
        {"server_id": 2, "age_microseconds": -40_000},
        {"server_id": 3, "age_microseconds": None},  # ts is no time: the server says NULL
        {"server_id": None, "age_microseconds": 1},
        {},
    ]
    assert tables.heartbeats(rows) == (
        Heartbeat(server_id=1, age_seconds=1.5),
        Heartbeat(server_id=2, age_seconds=0.0),
    )


def test_the_number_of_the_writer_stands_in_the_statement() -> None:
    """Repeated by a replica, @@server_id would be the replica's."""
    statement = tables.write_heartbeat("a.b", server_id=7, utc=True)
    assert ", 7)" in statement
    assert "server_id =" not in statement
    assert "@@" not in statement


@pytest.mark.parametrize(("utc", "clock"), [(True, "UTC_TIMESTAMP(6)"), (False, "NOW(6)")])
def test_one_clock_writes_and_reads(utc: bool, clock: str) -> None:
    assert clock in tables.write_heartbeat("a.b", server_id=1, utc=utc)
    assert clock in tables.read_heartbeats("a.b", utc=utc, statement_seconds=0.4)
