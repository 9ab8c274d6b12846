"""Agent-check over real sockets: clients that are slow, rude, silent or far too many all get their line, or none."""

import asyncio
import errno
import gc
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from healthagent import agentcheck
from healthagent.agentcheck import AgentCheck
from healthagent.board import Board
from healthagent.model import Publication, Status
from healthagent.reception import Reception
from tests.build import POLICY, ROLES, Agent, galera, healthy
from tests.component.files import no_file_left
from tests.loops import LOOPS

UNKNOWN = b"down #unknown\n"
READ_ONLY = b"down #read_only\n"
UP = b"up 100%\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST
QUIET_SECONDS = 0.2  # stands for the deadlines, where a test waits for one


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No client makes this program say anything; what is forgotten, asyncio reports when it is collected."""
    with caplog.at_level(logging.DEBUG):
        yield
        gc.collect()
    said = [*caplog.get_records("call"), *caplog.records]  # those of the test, and of the teardown
    loud = [record for record in said if record.levelno >= logging.WARNING]
    assert [f"{record.name}: {record.getMessage()}" for record in loud] == []


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentcheck, "LINE_SECONDS", QUIET_SECONDS)


@pytest.fixture(autouse=True)
def _short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentcheck, "LINGER_SECONDS", 0.05)


@pytest.fixture(autouse=True, params=list(LOOPS.values()), ids=list(LOOPS))
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "run", partial(run, request.param))


def run(new_event_loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


class Ports:
    """A writer's port, a reader's, and one where the client names the role; the node is synced and read-only."""

    def __init__(self, publication: Publication, admin_words: bool) -> None:
        at = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
        self.now = at
        self.check = AgentCheck(
            Board(publication, POLICY.max_age_seconds, lambda: self.now), ROLES, admin_words=admin_words
        )

    async def start(self) -> list[Callable[[], None]]:
        """Opens the ports; what closes them again."""
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(3)]
        self.writer, self.reader, self.any_role = (listener.getsockname()[1] for listener in listeners)
        welcomes = [partial(self.check.welcome, role, f"port of {role}") for role in ("writer", "reader", None)]
        receptions = [Reception(*pair, batch=32) for pair in zip(listeners, welcomes, strict=True)]
        for reception in receptions:
            reception.open()
        return [reception.close for reception in receptions]

    async def says(self, port: int, *sent: bytes, end: bool = False, until: float = 5) -> bytes:
        """All that comes until the server closes. Each piece is sent when the one before has been taken from us."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in sent:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if end:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), until)
        finally:
            writer.close()

    async def none_left(self) -> None:
        """Returns when the last client is gone."""
        async with asyncio.timeout(5):
            while self.check._clients or len(self.check._farewell):  # noqa: ASYNC110 - their end is seen nowhere else
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(publication: Publication, admin_words: bool) -> AsyncIterator[Ports]:
    ports = Ports(publication, admin_words)
    closes = await ports.start()
    try:
        yield ports
    finally:
        for close in closes:
            close()
        ports.check.close()


def talk(
    work: Callable[[Ports], Awaitable[None]],
    publication: Publication | None = None,
    *,
    admin_words: bool = False,
) -> None:
    told = publication if publication is not None else healthy(galera(read_only=1)).publication

    async def main() -> None:
        async with asyncio.timeout(25), serving(told, admin_words) as ports:
            await work(ports)
            await ports.none_left()

    asyncio.run(main())


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_port_with_a_role_answers_without_being_asked() -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.writer) == READ_ONLY
        assert await ports.says(ports.reader) == UP

    talk(work)


def test_before_the_first_sample() -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.writer) == b"down #starting\n"
        assert await ports.says(ports.any_role, b"reader\n") == b"down #starting\n"

    talk(work, Agent().publication)


def test_facts_that_are_too_old_say_down_by_themselves() -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.reader) == UP
        ports.now += POLICY.max_age_seconds + 0.01
        assert await ports.says(ports.reader) == b"down #stale\n"

    talk(work)


def test_admin_words() -> None:
    publication = healthy(galera(read_only=1)).publication
    draining = replace(publication.verdicts["reader"], status=Status.DRAIN, weight=0)
    told = replace(publication, verdicts={**publication.verdicts, "reader": draining})

    async def work(ports: Ports) -> None:
        assert await ports.says(ports.writer) == b"down ready #read_only\n"
        assert await ports.says(ports.reader) == b"up drain\n"
        assert await ports.says(ports.any_role, b"synced\n") == b"up ready 100%\n"
        ports.check.adopt(ROLES, admin_words=False)
        assert await ports.says(ports.reader) == b"up 0%\n"
        assert await ports.says(ports.any_role, b"synced\n") == UP

    talk(work, told, admin_words=True)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([b"writer\n"], READ_ONLY),
        ([b"reader\r\n"], UP),
        ([b"wri", b"ter", b"\n"], READ_ONLY),
        ([b"reader\nwriter\n"], UP),
        ([b"reader\n", b"writer\n"], UP),
        ([b"replica\n"], UP),
        ([b"nobody\n"], UNKNOWN),
        ([b"Writer\n"], UNKNOWN),
        ([b" reader\n"], UNKNOWN),
        ([b"reader?max_lag=5s\n"], UNKNOWN),
        ([b"\n"], UNKNOWN),
        ([b"\r\n"], UNKNOWN),
        ([b"reader\0\n"], UNKNOWN),
        ([bytes(range(128, 160)) + b"\n"], UNKNOWN),
        ([b"GET / HTTP/1.0\r\n\r\n"], UNKNOWN),
        ([b"x" * 64 + b"\n"], UNKNOWN),
        ([b"x" * 65], UNKNOWN),
        ([b"x" * 5000], UNKNOWN),
        ([bytes(range(256)) * 4], UNKNOWN),
    ],
)
def test_a_port_without_a_role_is_told_it_in_one_line(sent: list[bytes], said: bytes) -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.any_role, *sent) == said

    talk(work)


@pytest.mark.parametrize("sent", [b"writer\n", b"x" * 3000, b"reader", bytes(range(256)), b"GET / HTTP/1.0\r\n\r\n"])
def test_a_port_with_a_role_takes_no_notice_of_what_it_is_told(sent: bytes) -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.writer, sent) == READ_ONLY

    talk(work)


def test_a_role_of_which_a_reload_has_brought_no_verdict_yet_is_starting() -> None:
    async def work(ports: Ports) -> None:
        ports.check.adopt((*ROLES, replace(ROLES[0], name="analytics")), admin_words=False)
        assert await ports.says(ports.any_role, b"analytics\n") == b"down #starting\n"
        ports.check.adopt(ROLES, admin_words=False)
        assert await ports.says(ports.any_role, b"analytics\n") == UNKNOWN

    talk(work)


# --- how clients are ------------------------------------------------------------------------------------------------


def test_a_client_that_has_closed_its_side_first() -> None:
    async def work(ports: Ports) -> None:
        assert await ports.says(ports.writer, end=True) == READ_ONLY
        assert await ports.says(ports.writer, b"anything", end=True) == READ_ONLY
        assert await ports.says(ports.any_role, b"reader\n", end=True) == UP
        assert await ports.says(ports.any_role, b"reader", end=True) == UP
        assert await ports.says(ports.any_role, end=True) == UNKNOWN

    talk(work)


def test_what_the_client_sends_never_takes_its_answer_away() -> None:
    """With unread bytes in our socket a close would be a reset, which may overtake the line."""

    async def work(ports: Ports) -> None:
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", ports.writer)
            writer.write(b"writer\n")
            await asyncio.sleep(0)
            writer.write(b"and more\n" * 100)
            assert await reader.read() == READ_ONLY
            writer.close()
            await writer.wait_closed()  # raises what the kernel has against us

    talk(work)


def test_a_silent_client_is_told_no_and_then_left(short: None) -> None:
    async def work(ports: Ports) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await ports.says(ports.any_role) == UNKNOWN
        assert loop.time() - began >= 0.9 * QUIET_SECONDS
        assert await ports.says(ports.any_role, b"reader") == UNKNOWN  # a line that does not end

    talk(work)


def test_a_client_that_stays_is_cut_off(short: None) -> None:
    async def work(ports: Ports) -> None:
        for port, sent in ((ports.writer, b""), (ports.any_role, b"reader\n")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            await reader.readline()
            await ports.none_left()
            writer.close()

    talk(work)


def test_a_client_that_drips_does_not_live_longer(short: None) -> None:
    async def work(ports: Ports) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.any_role)
        said = asyncio.ensure_future(reader.readline())
        dripped = 0
        while not said.done():
            writer.write(b"x")
            dripped += 1
            await asyncio.wait({said}, timeout=QUIET_SECONDS / 5)
        assert said.result() == UNKNOWN
        assert dripped < 20
        writer.close()

    talk(work)


def test_a_client_that_sends_for_ever_is_cut_off_at_once() -> None:
    async def work(ports: Ports) -> None:
        for port in (ports.writer, ports.any_role):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(0.8):  # below every deadline
                    while True:
                        writer.write(b"x" * 4096)
                        await writer.drain()
            writer.close()
            with suppress(ConnectionError):
                await reader.read()

    talk(work)


def test_resets_at_every_moment_leave_nothing_behind() -> None:
    async def work(ports: Ports) -> None:
        for port in (ports.writer, ports.any_role):
            for sent, reads in ((b"", False), (b"wr", False), (b"writer\n", False), (b"writer\n", True)):
                for _ in range(20):
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        client.sendall(sent)
                        client.setblocking(False)
                        await asyncio.sleep(0)
                        if reads:
                            await asyncio.get_running_loop().sock_recv(client, 1)
                await ports.none_left()
        assert await ports.says(ports.reader) == UP

    talk(work)


def test_a_reset_between_the_line_and_its_end() -> None:
    """No client can be made to hit that moment, so the transport is a stand-in."""

    class Reset(asyncio.Transport):
        aborted = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            assert data == READ_ONLY

        def write_eof(self) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        def abort(self) -> None:
            self.aborted = True

    async def work(ports: Ports) -> None:
        transport, exchange = Reset(), ports.check.exchange()
        exchange.connection_made(transport)
        exchange.data_received(b"writer\n")
        assert transport.aborted
        exchange.connection_lost(None)

    talk(work)


def test_a_port_recovers_from_a_moment_without_files(caplog: pytest.LogCaptureFixture) -> None:
    """HAProxy would go by what it has heard last, for ever."""

    async def work(ports: Ports) -> None:
        for port, sent in ((ports.writer, b""), (ports.any_role, b"writer\n")):
            await ports.none_left()
            with socket.socket() as client:
                with no_file_left():
                    client.connect(("127.0.0.1", port))
                    client.sendall(sent)
                    client.setblocking(False)
                    line = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(client, 100))
                    await asyncio.wait({line}, timeout=0.1)
                    assert not line.done()
                assert await asyncio.wait_for(line, 5) == READ_ONLY
            assert await ports.says(port, sent) == READ_ONLY

    talk(work)
    assert {record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING} == {
        "clients have to wait: Too many open files"
    }
    caplog.clear()


def test_five_hundred_at_once() -> None:
    async def work(ports: Ports) -> None:
        fixed = [ports.says(ports.reader, until=20) for _ in range(250)]
        named = [ports.says(ports.any_role, b"reader\n", until=20) for _ in range(250)]
        assert set(await asyncio.gather(*fixed, *named)) == {UP}

    talk(work)


def test_a_crowd_that_stays_makes_room_for_who_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentcheck, "client_limit", lambda: 20)

    async def work(ports: Ports) -> None:
        crowd = [await asyncio.open_connection("127.0.0.1", ports.any_role) for _ in range(30)]
        assert await ports.says(ports.any_role, b"reader\n") == UP
        assert len(ports.check._clients) <= 10
        assert await crowd[0][0].read() == b"", "the first ones were sent away without a word"
        for _, writer in crowd:
            writer.close()

    talk(work)
