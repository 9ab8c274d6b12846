"""Answers of MariaDB as bytes: rows of texts, whatever the chunks; anything else is out of step and never a guess."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthagent.packets import Answer, OutOfStepError, first
from tests.component.fake_mariadb import OK, error, packet, result

STATUS = result(["Variable_name", "Value"], [("wsrep_local_state", "4"), ("wsrep_ready", "ON")])


def read(data: bytes) -> Answer | None:
    found = first(data)
    assert found is None or found[1] == len(data)
    return found[0] if found is not None else None


def long_text(value: str) -> bytes:
    raw = value.encode()
    return b"\xfc" + struct.pack("<H", len(raw)) + raw


def test_rows_are_texts_by_name() -> None:
    answer = read(STATUS)
    assert answer is not None
    assert answer.names == ("Variable_name", "Value")
    assert answer.pairs == {"wsrep_local_state": "4", "wsrep_ready": "ON"}
    assert answer.mappings[0] == {"Variable_name": "wsrep_local_state", "Value": "4"}


def test_null_is_none_and_no_rows_are_none() -> None:
    answer, empty = read(result(["a", "b"], [(None, "")])), read(result(["a"], []))
    assert answer is not None
    assert answer.rows == ((None, ""),)
    assert empty is not None
    assert (empty.names, empty.rows) == (("a",), ())


def test_a_long_value() -> None:
    """wsrep_provider_options has 2 kB: its length takes three bytes."""
    data = result(["options"], [])
    end = b"\xfe\x00\x00\x02\x00"
    value = "evs.suspect_timeout = PT5S; " * 100
    answer = read(data[: -len(packet(4, end))] + packet(4, long_text(value)) + packet(5, end))
    assert answer is not None
    assert answer.rows == ((value,),)


def test_the_numbers_of_packets_go_round() -> None:
    rows = [(str(number),) for number in range(700)]
    answer = read(result(["n"], rows))
    assert answer is not None
    assert answer.rows == tuple(rows)


def test_an_error_and_a_statement_without_rows() -> None:
    answer, done = read(error(1, 1227, "no right")), read(OK)
    assert answer is not None
    assert answer.error is not None
    assert struct.unpack("<H", answer.error[1:3]) == (1227,)
    assert done is not None
    assert (done.rows, done.error) == ((), None)


def test_an_error_in_the_middle_of_rows() -> None:
    broken = result(["a"], [("1",)])[: -len(packet(0, b"\xfe\x00\x00\x02\x00"))] + error(5, 1317, "interrupted")
    answer = read(broken)
    assert answer is not None
    assert answer.error is not None


@pytest.mark.parametrize("data", [STATUS, OK, error(1, 1064, "no")], ids=["rows", "ok", "error"])
def test_whatever_the_chunks_nothing_is_said_too_early(data: bytes) -> None:
    assert [read(data[:size]) for size in range(len(data))] == [None] * len(data)


def test_of_two_answers_the_first() -> None:
    for answer in (STATUS, OK, error(1, 1064, "no")):
        assert first(answer + STATUS) == first(answer)
        assert first(answer + b"x") == (read(answer), len(answer))


OUT_OF_STEP = {
    "an error that nobody asked for": error(0, 1927, "Connection was killed"),
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an empty packet": packet(1, b""),
    "a file is asked for": packet(1, b"\xfb/etc/passwd"),
    "an end where a beginning should be": packet(1, b"\xfe\x00\x00\x02\x00"),
    "a row with too many values": result(["a"], [("1", "2")]),
    "a row with too few values": result(["a", "b"], [("1",)]),
    "a value beyond its packet": result(["a"], []).replace(packet(4, b"\xfe\x00\x00\x02\x00"), packet(4, b"\x09x"))
    + packet(5, b"\xfe\x00\x00\x02\x00"),
    "fewer columns than promised": packet(1, b"\x02") + result(["a"], [("1",)])[5:],
    "16 MiB": b"\xff\xff\xff\x01" + b"x" * 100,
}


@pytest.mark.parametrize("data", OUT_OF_STEP.values(), ids=OUT_OF_STEP.keys())
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(OutOfStepError):
        read(data)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: STATUS[:30] + tail))
def test_garbage_is_no_answer_or_not_all_of_it_or_out_of_step(data: bytes) -> None:
    try:
        found = first(data)
    except OutOfStepError:
        return
    assert found is None or all(len(row) == len(found[0].names) for row in found[0].rows)
