"""The look between two probes: silent while nothing has changed, a whole probe at once when something has."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymysql.err import MySQLError

from healthagent import clock, packets, parse
from healthagent.facts import FailureKind, LocalState, ProcessState
from healthagent.probe import GREETING_SECONDS, Probe
from healthagent.session import REPLICATION, SWIFT_STATEMENT, SWIFT_STATUS, SWIFT_VARIABLES, Login, Session, link_to
from tests.build import Rows, galera_rows, plain_rows, slave_row
from tests.component.fake_mariadb import OK, OK_AFTER_LOGIN, FakeMariaDB, error, greeting, result, serving

TIMEOUT = 0.3
PACE = 5.0  # so slow that no answer is late, however busy the machine
STATUS, SLAVES = SWIFT_STATEMENT.decode(), REPLICATION.decode()
SELECT = "SELECT @@global.read_only"  # a whole probe asks for the version first
GALERA, PLAIN = galera_rows(), plain_rows()

Work = Callable[[FakeMariaDB, Probe], Coroutine[Any, Any, None]]


def with_server(work: Work, rows: Rows = GALERA, *slaves: Rows, timeout: float = TIMEOUT) -> None:
    """`work` after a first probe, and with nothing that was asked for it in `asked`."""

    async def main() -> None:
        server = FakeMariaDB(rows)
        server.slaves = list(slaves)
        async with serving(server) as port:
            probe = Probe(Login(user="agent", host="127.0.0.1", port=port), timeout_seconds=timeout)
            try:
                assert (await probe.sample()).failure is None
                server.asked.clear()
                await work(server, probe)
            finally:
                server.speak()
                await probe.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def short(asked: list[str]) -> list[str]:
    """A glance's statements by their names, those of a whole probe as they are."""
    return ["SELECT" if statement.startswith(SELECT) else statement for statement in asked]


async def settled(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what is waited for is the server's bookkeeping, not an event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("rows", "slaves", "asked"),
    [
        (GALERA, [], ["SELECT", STATUS]),
        (PLAIN, [], ["SELECT", SLAVES]),
        (PLAIN, [slave_row(), slave_row(Connection_name="b")], ["SELECT", SLAVES]),
        (GALERA, [slave_row()], ["SELECT", STATUS, SLAVES]),
    ],
    ids=["Galera", "primary", "replica", "Galera and replica"],
)
def test_while_nothing_changes_it_is_two_or_three_statements_and_no_word(
    rows: Rows, slaves: list[Rows], asked: list[str]
) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        assert [await probe.glance(fast_seconds=PACE) for _ in range(3)] == [None] * 3
        assert short(server.asked) == asked * 3
        assert (await probe.sample()).sequence == 2

    with_server(work, rows, *slaves)


@pytest.mark.parametrize("name", [*SWIFT_STATUS, *(name for name in SWIFT_VARIABLES if name in GALERA)])
def test_what_a_gate_falls_for_at_once_is_probed_at_once(name: str) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.rows[name] = "7"
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, found.sequence, server.logins) == (None, 2, 1)
        assert found.galera == parse.galera(server.rows)
        assert found.server == parse.server(server.rows)
        assert await probe.glance(fast_seconds=PACE) is None, "and then it is known"

    with_server(work)


def test_what_is_not_there_and_comes() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.rows |= {"wsrep_provider": "/usr/lib/galera/libgalera_smm.so", "wsrep_local_state": "4"}
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert found.galera is not None
        assert found.galera.local_state == LocalState.SYNCED
        server.asked.clear()
        assert await probe.glance(fast_seconds=PACE) is None
        assert short(server.asked) == ["SELECT", STATUS]

    with_server(work, PLAIN)


@pytest.mark.parametrize("name", ["wsrep_last_committed", "wsrep_local_recv_queue", "Threads_connected"])
def test_what_moves_all_the_time_is_left_to_the_probe(name: str) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.rows[name] = "12345"
        assert await probe.glance(fast_seconds=PACE) is None

    with_server(work)


@pytest.mark.parametrize(
    "after",
    [
        [slave_row(Slave_SQL_Running="No")],
        [slave_row(Slave_IO_Running="Connecting")],
        [slave_row(Last_IO_Errno="2003")],
        [slave_row(Last_SQL_Errno="1062")],
        [slave_row(), slave_row(Connection_name="b")],
        [slave_row(Connection_name="b")],
        [],
    ],
    ids=["SQL", "IO", "IO error", "SQL error", "one more", "another", "none"],
)
def test_replication_that_changes(after: list[Rows]) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.slaves = list(after)
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert found.replications == parse.replications(after)

    with_server(work, PLAIN, slave_row())


@pytest.mark.parametrize("name", ["Read_Master_Log_Pos", "Seconds_Behind_Master", "Slave_received_heartbeats"])
def test_replication_that_goes_on(name: str) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.slaves = [slave_row(**{name: "77"})]
        assert await probe.glance(fast_seconds=PACE) is None

    with_server(work, PLAIN, slave_row())


def test_silence_is_a_failed_sample_and_no_login_hangs_behind_it() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on("S")
        server.frozen = True
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert found.failure is not None
        assert (found.failure.kind, found.failure.silent_after_eof) == (FailureKind.TIMEOUT, False)
        assert found.duration_seconds >= TIMEOUT
        assert len(server.open) == 1, "the first word needs no second connection"
        again = await probe.glance(fast_seconds=PACE)
        assert again is not None
        assert again.failure is not None
        assert (again.failure.kind, len(server.open)) == (FailureKind.TIMEOUT, 2)

    with_server(work)


def test_replication_that_hangs_costs_only_itself() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on(SLAVES)
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, found.replications, server.logins) == (None, None, 2)
        server.asked.clear()
        assert await probe.glance(fast_seconds=PACE) is None
        assert short(server.asked) == ["SELECT"], "it is not asked again while it hangs"
        server.speak()
        await settled(lambda: len(server.open) == 1)
        assert (await probe.sample()).replications is not None

    with_server(work, PLAIN, slave_row())


def test_a_server_that_freezes_behind_its_replication_rows_is_not_waited_for_twice() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.be_silent_on(SLAVES)
        asking = asyncio.ensure_future(probe.glance(fast_seconds=PACE))
        await settled(lambda: short(server.asked) == ["SELECT"])
        server.frozen = True
        found = await asking
        assert found is not None
        assert found.failure is not None
        assert found.failure.kind is FailureKind.TIMEOUT
        assert found.duration_seconds < GREETING_SECONDS + 3.0, "of a timeout of four seconds"

    with_server(work, PLAIN, slave_row(), timeout=4.0)


@pytest.mark.parametrize("begins", [STATUS, SELECT, SLAVES])
def test_the_end_in_the_middle_of_an_answer(begins: str) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.end_on = begins
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, server.logins) == (None, 2)
        assert await probe.glance(fast_seconds=PACE) is None

    with_server(work, GALERA, slave_row())


@pytest.mark.parametrize("begins", [STATUS, SELECT, SLAVES])
@pytest.mark.parametrize("code", [1317, 1969])
def test_a_statement_that_is_refused_is_a_reason_to_probe_on_the_same_connection(begins: str, code: int) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.fail[begins] = error(1, code, "not now")
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, server.logins) == (None, 1)

    with_server(work, GALERA, slave_row())


@pytest.mark.parametrize("says", [b"\x01\x00\x00\x07\x00", error(0, 1927, "killed"), b"\x05\x00\x00\x01\x02abcd"])
def test_an_answer_out_of_step_ends_the_connection(says: bytes) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.fail[SELECT] = says + b"\x01\x00\x00\x09\x00"
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, server.logins) == (None, 2)

    with_server(work)


@pytest.mark.parametrize("rows", [GALERA, PLAIN], ids=["Galera", "plain"])
def test_without_the_right_replication_is_asked_for_by_probes_alone(rows: Rows) -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.fail[SLAVES] = error(1, 1227, "needs SLAVE MONITOR")
        assert (await probe.sample()).replications is None
        server.asked.clear()
        assert [await probe.glance(fast_seconds=PACE) for _ in range(3)] == [None] * 3
        assert SLAVES not in server.asked
        del server.fail[SLAVES]
        assert (await probe.sample()).replications is not None
        assert await probe.glance(fast_seconds=PACE) is None

    with_server(work, rows, slave_row())


def test_a_connection_that_has_ended_is_a_reason_to_probe() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        for writer in list(server.open):
            writer.close()
        await asyncio.wait_for(probe.ended(), 5)
        found = await probe.glance(fast_seconds=PACE)
        assert found is not None
        assert (found.failure, server.logins) == (None, 2)

    with_server(work)


@pytest.mark.parametrize("rows", [PLAIN, GALERA], ids=["replica", "Galera and replica"])
def test_a_glance_has_one_deadline(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = []
    within = Probe._within

    async def noted(self: Probe, session: Any, work: Any, deadline: float, **more: float) -> Any:
        deadlines.append(deadline)
        return await within(self, session, work, deadline, **more)

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        monkeypatch.setattr(Probe, "_within", noted)
        began, server.delay = clock.now(), 0.02
        assert await probe.glance(fast_seconds=PACE) is None
        first, second = deadlines
        assert first == second
        assert first - began < 10.0 + server.delay, "that of its beginning"

    with_server(work, rows, slave_row(), timeout=10.0)


def test_a_late_answer_leads_straight_to_a_whole_probe() -> None:
    """A slow server has no time to be asked for its replication rows twice before its facts are too old."""

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        server.delay = 0.1
        found = await probe.glance(fast_seconds=0.02)
        assert found is not None
        assert found.failure is None
        assert (server.asked.count(SLAVES), server.logins) == (1, 1)

    with_server(work, PLAIN, slave_row(), timeout=5.0)


def test_a_sample_tells_when_the_server_has_last_answered_before() -> None:
    async def work(server: FakeMariaDB, probe: Probe) -> None:
        first = clock.now()
        assert await probe.glance(fast_seconds=PACE) is None
        second = clock.now()
        found = await probe.sample()
        assert found.glanced_at is not None
        assert first <= found.glanced_at <= second
        server.frozen = True
        for _ in range(2):
            assert (await probe.sample()).glanced_at == found.ended_at

    with_server(work)


def test_a_glance_that_comes_late_is_a_whole_probe_and_hides_no_freeze() -> None:
    """Whoever was frozen, the server or this program: between two glances as between two probes."""

    async def work(_: FakeMariaDB, probe: Probe) -> None:
        before = (await probe.sample()).ended_at
        await settled(lambda: clock.now() > before + 0.1)
        found = await probe.glance(fast_seconds=0.02)
        assert found is not None
        assert found.glanced_at == before

    with_server(work)


@contextmanager
def stopped_server(directory: Path) -> Iterator[Path]:
    """The pid file of a process that has a server's name and is stopped."""
    program, pid_file = directory / "mariadbd", directory / "mariadbd.pid"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            pid_file.write_text(f"{process.pid}\n")
            yield pid_file
        finally:
            process.kill()


def test_silence_comes_with_what_the_process_shows(tmp_path: Path) -> None:
    """It is what makes one timeout enough, of a glance as of a probe."""

    async def main() -> None:
        server = FakeMariaDB(GALERA)
        with stopped_server(tmp_path) as pid_file:
            async with serving(server) as port:
                login = Login(user="agent", host="127.0.0.1", port=port, pid_file=str(pid_file))
                probe = Probe(login, timeout_seconds=TIMEOUT)
                try:
                    assert (await probe.sample()).failure is None
                    server.frozen = True
                    for found in (await probe.glance(fast_seconds=PACE), await probe.sample()):
                        assert found is not None
                        assert found.failure is not None
                        assert found.failure.kind is FailureKind.TIMEOUT
                        assert found.evidence.process is ProcessState.STOPPED
                finally:
                    server.speak()
                    await probe.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_replication_rows_have_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = []
    aside = Probe._aside

    async def noted(self: Probe, name: str, work: Any, deadline: float) -> Any:
        deadlines.append(deadline - clock.now())
        return await aside(self, name, work, deadline)

    monkeypatch.setattr(Probe, "_aside", noted)

    async def work(_: FakeMariaDB, __: Probe) -> None:
        (left,) = deadlines
        assert 0 < left <= 10.0

    with_server(work, PLAIN, timeout=10.0)


# --- answers that are sent together -----------------------------------------------------------------------------------


def answered(*chunks: bytes, statements: int) -> list[packets.Answer]:
    """What a link makes of that as the answers to so many statements."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        await FakeMariaDB._read(reader)
        writer.write(OK_AFTER_LOGIN)
        left = statements
        while left:
            if (await FakeMariaDB._read(reader)).endswith(b"SELECT 1"):
                left -= 1
            else:  # what the login brings with it
                writer.write(OK)
        for chunk in chunks:
            writer.write(chunk)
        await writer.drain()
        await reader.read()

    async def main() -> list[packets.Answer]:
        async with serving(script) as port:
            link = link_to(Login(user="agent", host="127.0.0.1", port=port))
            try:
                await link.greet()
                return await link.texts(*[b"SELECT 1"] * statements)
            finally:
                link.abort()

    return asyncio.run(asyncio.wait_for(main(), 20))


ROW = result(["a"], [("1",)])


def test_each_answer_in_its_turn() -> None:
    assert [answer.rows for answer in answered(ROW, OK, statements=2)] == [(("1",),), ()]


@pytest.mark.parametrize(
    "chunks",
    [(error(1, 1969, "late"), ROW), (ROW, error(1, 1969, "late"))],
    ids=["the first", "the last"],
)
def test_an_error_in_any_of_the_answers_is_raised(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(MySQLError, match="late"):
        answered(*chunks, statements=2)


@pytest.mark.parametrize(
    "chunks",
    [(ROW + ROW[:3],), (ROW + ROW,), (result(["a"], [("x" * 250,)] * 5000),)],
    ids=["half an answer more", "one more answer", "more than a mebibyte"],
)
def test_more_than_was_asked_for(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(packets.OutOfStepError, match=r"more answers|an answer of more than 1048576 bytes"):
        answered(*chunks, statements=1)


def test_a_slow_probe_ends_within_what_max_age_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them in a row: facts that took all of their timeout leave the replication rows the rest."""
    deadlines = []
    aside = Probe._aside

    async def noted(self: Probe, name: str, work: Any, deadline: float) -> Any:
        deadlines.append(deadline)
        return await aside(self, name, work, deadline)

    async def work(server: FakeMariaDB, probe: Probe) -> None:
        monkeypatch.setattr(Probe, "_aside", noted)
        real, shift = clock.now, 0.0
        monkeypatch.setattr(clock, "now", lambda: real() + shift)
        facts = Session.facts

        async def slow(self: Session) -> Any:
            nonlocal shift
            found = await facts(self)
            shift = 9.9
            return found

        monkeypatch.setattr(Session, "facts", slow)
        began = clock.now()
        assert (await probe.sample()).replications is not None
        assert deadlines[0] - began == pytest.approx(18.0, abs=1.0)

    with_server(work, PLAIN, slave_row(), timeout=10.0)
