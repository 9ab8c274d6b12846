"""The probe against servers at their worst: each is a snapshot that says so, never an exception, never a pile-up."""

import asyncio
import gc
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from healthagent import probe as probes
from healthagent import writing
from healthagent.facts import FailureKind, Snapshot
from healthagent.probe import Probe
from healthagent.session import Login, Watch
from tests.build import galera_rows
from tests.component.fake_mariadb import (
    OK_AFTER_LOGIN,
    FakeMariaDB,
    Script,
    error,
    error_before_login,
    greeting,
    serving,
)

TIMEOUT = 0.15


def probe_of(port: int, timeout: float = TIMEOUT) -> Probe:
    return Probe(Login(user="agent", host="127.0.0.1", port=port), timeout_seconds=timeout)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def first_sample(script: Script) -> Snapshot:
    async with serving(script) as port:
        probe = probe_of(port)
        try:
            return await probe.sample()
        finally:
            await probe.close()


def says(*chunks: bytes, then_close: bool = True) -> Script:
    """Sends this, whatever it is asked."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
        await writer.drain()
        if not then_close:
            await reader.read()
            await asyncio.Event().wait()

    return script


async def after_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *chunks: bytes) -> None:
    writer.write(greeting())
    await reader.readexactly(40)
    for chunk in chunks:
        writer.write(chunk)
    await writer.drain()


def refuses_login(code: int) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await after_login(reader, writer, error(2, code, "no"))

    return script


async def closes_after_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await after_login(reader, writer, OK_AFTER_LOGIN)


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + b"x" * 4096

CASES: dict[str, tuple[Script, FailureKind, int | None]] = {
    "accepts and never greets": (says(then_close=False), FailureKind.TIMEOUT, None),
    "closes at once": (says(), FailureKind.LOST, None),
    "half a greeting, then silence": (says(greeting()[:20], then_close=False), FailureKind.TIMEOUT, None),
    "half a greeting, then the end": (says(greeting()[:20]), FailureKind.LOST, None),
    "greets and never answers": (says(greeting(), then_close=False), FailureKind.TIMEOUT, None),
    "too many connections": (says(error_before_login(1040, "Too many connections")), FailureKind.LIMIT, 1040),
    "host is blocked": (says(error_before_login(1129, "Host is blocked")), FailureKind.LOGIN, 1129),
    "host is not allowed": (says(error_before_login(1130, "Host not allowed")), FailureKind.LOGIN, 1130),
    "access denied": (refuses_login(1045), FailureKind.LOGIN, 1045),
    "unix_socket says no": (refuses_login(1698), FailureKind.LOGIN, 1698),
    "account is locked": (refuses_login(4151), FailureKind.LOGIN, 4151),
    "password must be changed": (refuses_login(1820), FailureKind.LOGIN, 1820),
    "user limit": (refuses_login(1226), FailureKind.LIMIT, 1226),
    "user connections": (refuses_login(1203), FailureKind.LIMIT, 1203),
    "shuts down": (refuses_login(1053), FailureKind.LOST, 1053),
    "closes behind the login": (closes_after_login, FailureKind.LOST, None),
}
FOREIGN: dict[str, Script] = {
    "HTTP": says(HTTP),
    "SSH": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "zeros": says(b"\0" * 64),
    "ones": says(b"\xff" * 64),
    "garbage in a packet": says(b"\x08\x00\x00\x00\xde\xad\xbe\xef\xde\xad\xbe\xef"),
    "an empty packet": says(b"\x00\x00\x00\x00"),
    "a greeting of another protocol": says(b"\x05\x00\x00\x00\x09abc\x00"),
    "HTTP that stays open": says(HTTP, then_close=False),
}


@pytest.mark.parametrize(("script", "kind", "code"), CASES.values(), ids=CASES.keys())
def test_each_failure_becomes_a_snapshot_of_its_kind(script: Script, kind: FailureKind, code: int | None) -> None:
    async def work() -> None:
        found = await first_sample(script)
        assert found.failure is not None
        assert found.failure.kind is kind
        assert code is None or found.failure.code == code
        assert (found.server, found.galera, found.replications) == (None, None, None)
        assert found.duration_seconds < 3 * TIMEOUT + 0.5

    run(work())


@pytest.mark.parametrize("script", FOREIGN.values(), ids=FOREIGN.keys())
def test_another_protocol_is_a_failure_and_no_exception(script: Script) -> None:
    async def work() -> None:
        found = await first_sample(script)
        assert found.failure is not None
        assert found.failure.kind in (FailureKind.QUERY, FailureKind.LOST, FailureKind.TIMEOUT)
        assert found.failure.message

    run(work())


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logins = [
        (Login(user="a", host="127.0.0.1", port=port), 111),
        (Login(user="a", socket=str(tmp_path / "none.sock")), 2),
    ]

    async def work() -> None:
        for login, number in logins:
            found = await Probe(login, timeout_seconds=TIMEOUT).sample()
            assert found.failure is not None
            assert (found.failure.kind, found.failure.code) == (FailureKind.REFUSED, number)

    run(work())


def test_a_stale_socket_file_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "stale.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)

    async def work() -> None:
        found = await Probe(Login(user="a", socket=path), timeout_seconds=TIMEOUT).sample()
        assert found.failure is not None
        assert (found.failure.kind, found.failure.code) == (FailureKind.REFUSED, 111)

    run(work())


def test_a_full_backlog_of_a_unix_socket_is_a_server_that_hangs(tmp_path: Path) -> None:
    path = str(tmp_path / "full.sock")
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(path)

        async def work() -> None:
            found = await Probe(Login(user="a", socket=path), timeout_seconds=TIMEOUT).sample()
            assert found.failure is not None
            assert found.failure.kind is FailureKind.TIMEOUT

        run(work())
    for client in waiting:
        client.close()


# --- one kept connection --------------------------------------------------------------------------------------------


def with_server(work: Callable[[FakeMariaDB, Probe], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        server = FakeMariaDB(galera_rows())
        async with serving(server) as port:
            probe = probe_of(port)
            try:
                await work(server, probe)
            finally:
                await probe.close()

    run(main())


def test_one_connection_is_kept() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        for number in range(1, 6):
            found = await probe.sample()
            assert found.failure is None
            assert found.sequence == number
            assert found.galera is not None
            assert (found.galera.local_state, found.replications) == (4, ())
        assert (server.logins, len(server.open)) == (1, 1)

    with_server(work)


def test_while_a_server_hangs_two_connections_are_left_alone_and_no_more() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        assert (await probe.sample()).failure is None
        server.be_silent_on("")
        server.silent_on = "S"  # statements; then the greeting too
        for _ in range(3):
            found = await probe.sample()
            assert found.failure is not None
            assert found.failure.kind is FailureKind.TIMEOUT
        server.silent_on = "g"
        for _ in range(3):
            assert (await probe.sample()).failure is not None
            assert len(server.open) <= 2

        server.speak()
        assert await recovered(probe)
        await settled(lambda: len(server.open) == 1)

    with_server(work)


def test_with_what_is_done_beside_the_probe_three_connections_are_open_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 0.0)
    watch = Watch(client_port_seconds=0.0, write_table="ops.alive")

    async def work() -> None:
        server, most = FakeMariaDB(galera_rows()), 0
        async with serving(server) as port:
            server.rows["port"] = port
            login = Login(user="agent", password="secret", host="127.0.0.1", port=port)
            probe = Probe(login, timeout_seconds=TIMEOUT, watch=watch)

            async def sample() -> Snapshot:
                nonlocal most
                found = await probe.sample()
                most = max(most, len(server.open))
                return found

            for _ in range(5):
                assert (await sample()).failure is None
            assert any(statement.startswith("INSERT") for statement in server.asked), "our writes have a connection"
            server.be_silent_on("")
            server.frozen = True  # and a login to the client port is under way
            for _ in range(4):
                assert (await sample()).failure is not None
            server.frozen = False
            server.speak()
            assert await recovered(probe)
            for _ in range(5):
                assert (await sample()).failure is None
            await probe.close()
        assert most == 3

    run(work())


def test_a_server_that_greets_again_is_back() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on("greeting")
        for _ in range(4):
            assert (await probe.sample()).failure is not None
        server.speak()
        assert await recovered(probe)

    with_server(work)


def test_replication_that_hangs_is_unknown_and_the_rest_stands() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on("SHOW ALL SLAVES")
        for _ in range(5):
            found = await probe.sample()
            assert found.failure is None
            assert found.server is not None
            assert found.replications is None
        assert len(server.open) <= 2
        server.speak()
        for _ in range(3):
            found = await probe.sample()
        assert found.replications == ()

    with_server(work)


def test_a_killed_session_is_replaced_within_the_same_sample() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        assert (await probe.sample()).failure is None
        for writer in list(server.open):
            writer.close()
        await asyncio.wait_for(probe.ended(), 5)
        found = await probe.sample()
        assert (found.failure, server.logins) == (None, 2)

    with_server(work)


def test_a_last_word_before_the_end_is_no_failure() -> None:
    """A server may say why before it closes (1927 killed, 1053 shutdown): still a reason to look, not an answer."""

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        assert (await probe.sample()).failure is None
        for writer in list(server.open):
            writer.write(error(0, 1927, "Connection was killed"))
            writer.close()
        await asyncio.wait_for(probe.ended(), 5)
        found = await probe.sample()
        assert (found.failure, server.logins) == (None, 2)

    with_server(work)


def test_silence_after_the_end_of_the_connection_is_told_within_a_moment() -> None:
    async def main() -> None:
        server = FakeMariaDB(galera_rows())
        async with serving(server) as port:
            probe = probe_of(port, timeout=5.0)
            assert (await probe.sample()).failure is None
            server.be_silent_on("greeting")
            for writer in list(server.open):
                writer.close()
            await probe.ended()
            found = await probe.sample()
            assert found.failure is not None
            assert (found.failure.kind, found.failure.silent_after_eof) == (FailureKind.TIMEOUT, True)
            assert found.duration_seconds < 1.0
            await probe.close()

    run(main())


def test_the_own_limit_filled_by_own_hanging_logins_is_a_server_that_hangs() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on("greeting")
        assert (await probe.sample()).failure is not None
        server.silent_on = ""
        server.refuse = error_before_login(1226, "max_user_connections")
        found = await probe.sample()
        assert found.failure is not None
        assert found.failure.kind is FailureKind.TIMEOUT

    with_server(work)


def test_a_variable_that_is_not_there_is_not_asked_for() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        for name in ("wsrep_reject_queries", "innodb_read_only"):
            del server.rows[name]
        found = await probe.sample()
        assert found.failure is None
        assert found.galera is not None
        assert found.server is not None
        assert (found.galera.reject_queries, found.server.innodb_read_only) == (None, None)

    with_server(work)


async def recovered(probe: Probe) -> bool:
    """Facts again within three samples."""
    return any([(await probe.sample()).failure is None for _ in range(3)])


async def settled(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what is waited for is the server's bookkeeping, not an event
            await asyncio.sleep(0.01)


def test_a_changed_password_is_for_the_next_connection() -> None:
    """The kept one outlives the rotation, whichever of server and agent is told first."""

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        assert (await probe.sample()).failure is None
        probe.relogin(Login(user="agent", password="new", host="127.0.0.1", port=1), TIMEOUT)
        assert (await probe.sample()).failure is None
        assert server.logins == 1

    with_server(work)


def test_replication_that_never_answers_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that forgot the flow: neither an answer will come nor an end."""
    monkeypatch.setattr(probes, "ABANDONED_SECONDS", 0.2)

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on("SHOW ALL SLAVES")
        assert (await probe.sample()).replications is None
        server.silent_on = ""  # the one that waits goes on waiting
        await asyncio.sleep(0.25)
        await probe.sample()
        assert (await probe.sample()).replications == ()

    with_server(work)


@pytest.mark.parametrize("code", [1064, 1227, 1317, 1969])
def test_replication_that_is_refused_costs_nothing_but_itself(code: int) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.fail["SHOW ALL SLAVES"] = error(1, code, "no")
        for _ in range(5):
            found = await probe.sample()
            assert (found.failure, found.replications) == (None, None)
        assert server.logins == 1
        with pytest.raises(TimeoutError):  # nothing says that the connection has ended
            await asyncio.wait_for(probe.ended(), 0.05)

    with_server(work)


def test_a_stop_at_any_moment_of_a_failing_probe_leaves_no_error_behind(tmp_path: Path) -> None:
    """asyncio logs, with a traceback, every error that nobody has looked at."""
    left: list[dict[str, Any]] = []

    async def stopped(turns: int) -> None:
        probe = Probe(Login(user="agent", socket=f"{tmp_path}/no.sock"), timeout_seconds=TIMEOUT)
        sample = asyncio.ensure_future(probe.sample())
        for _ in range(turns):
            await asyncio.sleep(0)
        sample.cancel()
        await asyncio.gather(sample, return_exceptions=True)
        await probe.close()

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: left.append(context))
        for turns in range(12):
            await stopped(turns)
        gc.collect()

    run(work())
    assert left == []
