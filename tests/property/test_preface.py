"""The PROXY preface: however the network splits it, the answer is that without it; what is malformed gets 400."""

import asyncio
import itertools
import logging
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthagent import preface
from healthagent.board import Board
from healthagent.model import Publication
from healthagent.policy import Role
from healthagent.preface import BINARY_LIMIT, SIGNATURE, TEXT_LIMIT, PrefaceError
from healthagent.web import Web
from tests.build import ROLES, galera, healthy

# --- prefaces -------------------------------------------------------------------------------------------------------

PORTS = st.integers(0, 65535)
V4, V6 = st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


def text_line(family: str, *said: object) -> bytes:
    return " ".join(["PROXY", family, *map(str, said)]).encode() + b"\r\n"


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


TEXTS = st.one_of(
    st.builds(text_line, st.just("TCP4"), V4, V4, PORTS, PORTS),
    st.builds(text_line, st.just("TCP6"), V6, V6, PORTS, PORTS),
    st.builds(text_line, st.just("TCP6"), V6.map(lambda at: at.exploded.upper()), V6, PORTS, PORTS),
    st.just(b"PROXY UNKNOWN\r\n"),
    st.builds(text_line, st.just("UNKNOWN"), PRINTABLE),
)
TLVS = st.lists(
    st.builds(
        lambda kind, value: bytes([kind]) + len(value).to_bytes(2, "big") + value,
        st.integers(0, 255),
        st.binary(max_size=80),
    ),
    max_size=4,
).map(b"".join)
FAMILIES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
PROXIES = st.one_of(
    *[
        st.builds(
            lambda at, tlvs, family=family: binary(0x21, family, at + tlvs), st.binary(min_size=n, max_size=n), TLVS
        )
        for family, n in FAMILIES.items()
    ]
)
LOCALS = st.builds(binary, st.just(0x20), st.integers(0, 255), TLVS)
PREFACES = st.one_of(TEXTS, PROXIES, LOCALS)

WRONG = st.one_of(
    st.sampled_from(
        [
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n",
            b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 \xb2\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY UNKNOWN " + b"x" * TEXT_LIMIT + b"\r\n",
            b"PROXY /writer HTTP/1.0\r\n\r\n",
        ]
    ),
    st.builds(binary, st.integers(0, 255).filter(lambda said: said not in (0x20, 0x21)), st.just(0x11), TLVS),
    st.builds(binary, st.just(0x21), st.integers(0, 255).filter(lambda said: said not in FAMILIES), TLVS),
    st.sampled_from([(family, need) for family, need in FAMILIES.items() if need]).flatmap(
        lambda pair: st.binary(max_size=pair[1] - 1).map(lambda rest: binary(0x21, pair[0], rest))
    ),
    st.integers(BINARY_LIMIT - 15, 65535).map(lambda rest: binary(0x20, 0, bytes(rest))),
)
ALMOST = st.one_of(PREFACES, WRONG, st.sampled_from([b"PROXY ", SIGNATURE])).flatmap(
    lambda whole: st.builds(
        lambda at, change, tail: whole[: at % (len(whole) + 1)] + change + tail,
        st.integers(0, 300),
        st.binary(max_size=3),
        st.binary(max_size=300),
    )
)


def decided(data: bytes) -> int | str | None:
    try:
        return preface.length(data)
    except PrefaceError as error:
        return str(error)


@given(PREFACES, st.binary(max_size=40))
def test_a_preface_has_its_length_and_half_of_it_none_yet(whole: bytes, behind: bytes) -> None:
    assert decided(whole + behind) == len(whole)
    assert {decided(whole[:at]) for at in range(len(whole))} == {None}


@given(WRONG, st.binary(max_size=40))
def test_what_is_malformed_or_too_long_is_refused(whole: bytes, behind: bytes) -> None:
    assert isinstance(decided(whole + behind), str)


@given(st.one_of(ALMOST, st.binary(max_size=400)))
def test_what_has_been_decided_stays_so_whatever_comes_behind(data: bytes) -> None:
    """So it makes no difference where the network splits it; and nobody is kept waiting beyond the limits."""
    decisions = [decided(data[:at]) for at in range(len(data) + 1)]
    known = [found for found in decisions if found is not None]

    assert decisions == [None] * (len(decisions) - len(known)) + known
    assert len(set(known)) <= 1
    assert known or len(data) < BINARY_LIMIT
    assert not known or isinstance(known[0], str) or known[0] <= len(data)


# --- in front of HTTP -----------------------------------------------------------------------------------------------

REQUESTS = [
    b"GET /any HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"OPTIONS /writer HTTP/1.0\r\n\r\n",
    b"HEAD /reader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /nonsense HTTP/1.0\r\n\r\n",
    b"\r\nGET /any?format=json HTTP/1.0\r\n\r\n",
]
SPLITS = st.lists(st.integers(0, 400), max_size=6)
UNFINISHED = b"(it waits for more)"


def never_asked(key: str, role: Role) -> Publication:
    raise AssertionError(key)


def chunks(data: bytes, splits: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(at % (len(data) + 1) for at in splits)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


async def answer(sent: list[bytes]) -> bytes:
    """What comes back, without its date, for data that arrive in these pieces."""
    publication = healthy(galera(read_only=1)).publication
    at = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
    server = Web(Board(publication, 3.0, lambda: at), ROLES, dict, never_asked, lambda _: ()).server()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        transport, connection = await asyncio.get_running_loop().connect_accepted_socket(server, ours)
        for piece in sent:
            if not transport.is_closing():
                connection.data_received(piece)
        for _ in range(8):  # as often as the loop needs to answer what is complete
            await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
        theirs.settimeout(5)
        heard = b"".join(iter(lambda: _received(theirs), b""))
    lines = [line for line in heard.split(b"\r\n") if not line.startswith(b"Date: ")]
    return b"\r\n".join(lines) or UNFINISHED


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except ConnectionResetError:
        return b""


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def talk(*said: list[bytes]) -> list[bytes]:
    """The answers to several clients; none of them makes anybody log anything."""
    heard = Heard()
    logging.getLogger().addHandler(heard)

    async def main() -> list[bytes]:
        return [await answer(sent) for sent in said]

    try:
        return asyncio.run(main())
    finally:
        logging.getLogger().removeHandler(heard)
        assert heard.lines == []


@given(PREFACES, st.sampled_from(REQUESTS), SPLITS)
def test_the_answer_is_the_same_with_a_preface_and_without(whole: bytes, request: bytes, splits: list[int]) -> None:
    with_preface, without = talk(chunks(whole + request, splits), [request])

    assert with_preface == without != UNFINISHED


@given(ALMOST, st.sampled_from(REQUESTS), SPLITS)
def test_what_is_almost_one_is_400_or_waits_for_more(almost: bytes, request: bytes, splits: list[int]) -> None:
    data = almost + request
    at_once, in_pieces = talk([data], chunks(data, splits))
    found = decided(data)

    if isinstance(found, str):
        assert at_once == in_pieces
        assert at_once.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert at_once.endswith(f"malformed request: {found}\n".encode())
    elif found is None:
        assert at_once == in_pieces == UNFINISHED
    else:
        served = [said.split(b" ")[1:2] == [b"200"] for said in (at_once, in_pieces)]
        assert served[0] == served[1]
        if served[0]:
            assert data[found:].lstrip(b"\r\n") in [one.lstrip(b"\r\n") for one in REQUESTS], "only a whole request"


@pytest.mark.parametrize("whole", [b"PROXY UNKNOWN\r\n", binary(0x20, 0, b"")])
def test_once_and_at_the_start(whole: bytes) -> None:
    request = b"GET /any HTTP/1.1\r\n\r\n"
    twice, later, behind_a_line = talk(
        [whole + whole + request], [whole + request, whole + request], [b"\r\n" + whole + request]
    )

    assert twice.startswith(b"HTTP/1.0 400 ")
    assert later.startswith(b"HTTP/1.1 200 ")
    assert later.count(b"HTTP/1.0 400 ") == 1
    assert behind_a_line.startswith(b"HTTP/1.0 400 ")
