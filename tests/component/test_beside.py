"""What is looked at beside the probe, against servers that do what a real one does at its worst."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthagent import beside, clientport, writing
from healthagent.beside import Bystander, space
from healthagent.errand import Errand
from healthagent.facts import Beside, ClientPort, Disk, Failure, FailureKind, Server, Snapshot, WriteProbe
from healthagent.lookout import Lookout
from healthagent.probe import Probe
from healthagent.process import ServerProcess
from healthagent.session import Login, Watch
from tests import build
from tests.build import galera_rows, slave_row
from tests.component.fake_mariadb import FakeMariaDB, error, error_before_login, result, serving

TIMEOUT = 0.15
WATCH = Watch(client_port_seconds=60.0)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def until(predicate: Callable[[], object], what: str) -> None:
    """Turns the loop until it is so."""
    deadline = asyncio.get_running_loop().time() + 5
    while not predicate():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.005)


def facts(port: int | None, **changes: Any) -> Snapshot:
    """A probe's snapshot of a primary that listens at that port."""
    server = Server(read_only=False, port=port, bind_address="127.0.0.1", skip_networking=False, uptime_seconds=100)
    return Snapshot(sequence=1, ended_at=0.0, server=replace(server, **changes), replications=())


def bystander(watch: Watch, port: int, *, password: str = "secret", socket: str | None = None) -> Bystander:
    login = Login(user="agent", password=password, host="127.0.0.1", port=port, socket=socket)
    return Bystander(login, watch, ServerProcess(), timeout_seconds=TIMEOUT)


async def client_port(who: Bystander, snapshot: Snapshot) -> ClientPort:
    """The first result that it comes to."""
    await until(lambda: who.look(snapshot, spare=1).client_port, "a result")
    found = who.look(snapshot, spare=1).client_port
    assert found is not None
    return found


# --- client port ----------------------------------------------------------------------------------------------------


def test_no_login_is_begun_while_the_server_gives_no_answer() -> None:
    """A frozen server keeps every connection; the probe's own are enough."""

    async def work() -> None:
        server = FakeMariaDB(galera_rows())
        async with serving(server) as port:
            who = bystander(replace(WATCH, client_port_seconds=0.0), port)
            silent = Snapshot(sequence=2, ended_at=0.0, failure=Failure(kind=FailureKind.TIMEOUT, message="no answer"))
            try:
                assert (await client_port(who, facts(port))).open
                await until(lambda: not who._client_port._errand.under_way, "the last login has ended")
                assert who.look(silent, spare=1).client_port == ClientPort(
                    open=True, how="login", address=f"127.0.0.1:{port}"
                )
                assert not who._client_port._errand.under_way
                who.look(facts(port), spare=1)
                assert who._client_port._errand.under_way, "with the next facts it goes on"
            finally:
                await who.close()

    run(work())


def test_a_login_over_tcp_that_says_good_bye() -> None:
    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(WATCH, port)
            found = await client_port(who, facts(port))
            await until(lambda: not server.open, "the connection is given back")
            assert found == ClientPort(open=True, how="login", address=f"127.0.0.1:{port}")
            assert (server.logins, server.quits) == (1, 1)
            await who.close()

    run(work())


def test_no_second_login_before_its_time() -> None:
    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(WATCH, port)
            await client_port(who, facts(port))
            for _ in range(5):
                who.look(facts(port), spare=1)
            assert server.logins == 1
            await who.close()

    run(work())


@pytest.mark.parametrize("code", [1040, 1203, 1226])
def test_a_limit_is_no_closed_port(code: int) -> None:
    async def work() -> None:
        server = FakeMariaDB({})
        server.refuse = error_before_login(code, "too many")
        async with serving(server) as port:
            who = bystander(WATCH, port)
            found = await client_port(who, facts(port))
            assert (found.open, found.how, found.code) == (True, "login", code)
            await who.close()

    run(work())


@pytest.mark.parametrize("code", [1045, 1698, 1130, 1044, 4031])
def test_an_account_that_may_not_is_not_tried_again(code: int) -> None:
    """Each refusal would be a line in the server's log; a restart or another login is a reason to try."""

    async def work() -> None:
        server = FakeMariaDB({})
        server.refuse = error_before_login(code, "no")
        async with serving(server) as port:
            who = bystander(replace(WATCH, client_port_seconds=0.0), port)
            found = await client_port(who, facts(port))
            assert (found.open, found.how) == (None, "listen"), "where no process can be seen, nothing is known"
            for _ in range(20):
                who.look(facts(port), spare=1)
                await asyncio.sleep(0)
            assert server.greeted == 1
            await until(
                lambda: who.look(facts(port, uptime_seconds=1), spare=1) and server.greeted == 2,
                "tried after a restart",
            )
            other = Login(user="agent", password="new", host="127.0.0.1", port=port)
            who.relogin(other, WATCH, TIMEOUT)
            await until(lambda: who.look(facts(port, uptime_seconds=2), spare=1) and server.greeted == 3, "tried again")
            await who.close()

    run(work())


def test_nobody_there() -> None:
    async def work() -> None:
        async with serving(FakeMariaDB({})) as port:
            pass
        who = bystander(WATCH, port)
        found = await client_port(who, facts(port))
        assert (found.open, found.how, found.code) == (False, "login", 111)
        await who.close()

    run(work())


def test_one_that_hangs_is_closed_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        server = FakeMariaDB({})
        server.be_silent_on("greeting")
        async with serving(server) as port:
            who = bystander(replace(WATCH, client_port_seconds=0.0), port)
            found = await client_port(who, facts(port))
            assert (found.open, found.how, found.message) == (False, "login", "no answer in 150 ms")
            for _ in range(20):
                who.look(facts(port), spare=1)
                await asyncio.sleep(0)
            assert len(server.open) == 1
            server.speak()
            await until(lambda: (who.look(facts(port), spare=1).client_port or found).open, "open again")
            monkeypatch.setattr(clientport, "HANGING_SECONDS", 0.0)
            server.be_silent_on("greeting")
            await until(lambda: who.look(facts(port), spare=1) and len(server.open) > 1, "given up for another")
            await who.close()

    run(work())


def test_no_networking_is_closed() -> None:
    async def work() -> None:
        who = bystander(WATCH, 3306, socket="/nowhere")
        found = await client_port(who, facts(None, skip_networking=True))
        assert (found.open, found.message) == (False, "skip_networking is ON")
        await who.close()

    run(work())


def test_without_a_password_the_listener_of_the_server_is_looked_for() -> None:
    """Ourselves as the server: a process that is known, and a port that it listens on."""

    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            process = ServerProcess()
            process.adopt(os.getpid())
            login = Login(user="agent", socket="/nowhere")
            who = Bystander(login, WATCH, process, timeout_seconds=TIMEOUT)
            found = await client_port(who, facts(port))
            assert found == ClientPort(open=True, how="listen", address=f"127.0.0.1:{port}")
            assert server.greeted == 0, "a bare connect counts as an aborted connection"
            await who.close()
        who = Bystander(login, WATCH, process, timeout_seconds=TIMEOUT)
        assert (await client_port(who, facts(port))).open is False
        await who.close()

    run(work())


def test_nothing_is_known_of_a_server_that_is_not_there() -> None:
    async def work() -> None:
        async with serving(FakeMariaDB({})) as port:
            who = bystander(WATCH, port)
            await client_port(who, facts(port))
            gone = Failure(kind=FailureKind.REFUSED, message="gone")
            assert who.look(Snapshot(sequence=2, ended_at=1.0, failure=gone), spare=1).client_port is None
            await client_port(who, facts(port))  # at once, not after the pace
            await who.close()

    run(work())


def test_switched_off() -> None:
    async def work() -> None:
        who = bystander(Watch(), 1)
        assert who.look(facts(1), spare=1) == Beside()
        await who.close()

    run(work())


# --- disk -----------------------------------------------------------------------------------------------------------


def test_space(tmp_path: Path) -> None:
    found, known = space(str(tmp_path)), os.statvfs(tmp_path)
    assert found is not None
    assert found.total_bytes == known.f_blocks * known.f_frsize
    assert 0 < found.free_ratio < 1
    assert space(str(tmp_path / "none")) is None


def test_a_filesystem_that_never_answers_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release, calls = threading.Event(), []

    def never(_: str) -> Disk | None:
        calls.append(1)
        release.wait(10)
        return None

    async def work() -> None:
        monkeypatch.setattr(beside, "space", never)
        monkeypatch.setattr(beside, "DISK_SECONDS", 0.0)
        check = beside.DiskCheck()
        check._lookout = Lookout("disk", seconds=0.02)
        for _ in range(10):
            assert check.look("/data") is None
            await asyncio.sleep(0.01)
        assert len(calls) == 1
        release.set()
        await check.close()

    run(work())


# --- writes ---------------------------------------------------------------------------------------------------------

WRITES = Watch(write_table="ops.alive")


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 0.0)
    monkeypatch.setattr(writing, "HEARTBEAT_SECONDS", 0.0)


def galera(committed: int, **changes: object) -> Snapshot:
    """Each newer than all that was written before it."""
    rows = galera_rows(last_committed=str(committed), **changes)
    return replace(build.snapshot(rows), ended_at=1e12)


def inserts(server: FakeMariaDB) -> list[str]:
    return [statement for statement in server.asked if statement.startswith("INSERT")]


def test_a_row_is_written_while_nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)

    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(WRITES, port)
            for committed in (5, 6, 7):
                assert who.look(galera(committed), spare=1).write_probe == WriteProbe()
                await asyncio.sleep(0.01)
            assert server.asked == [], "somebody writes"
            who.look(galera(7), spare=1)
            await until(lambda: inserts(server), "our row")
            assert inserts(server)[0].startswith("INSERT INTO `ops`.`alive` (node, written_at) VALUES ('n2', ")
            await until(
                lambda: who.look(galera(8), spare=1) and len(inserts(server)) == 2, "our own commit is no other's"
            )
            assert server.logins == 1, "the connection is kept"
            await who.close()

    run(work())


@pytest.mark.parametrize(
    "snapshot",
    [
        galera(7, local_state="2"),
        galera(7, read_only="ON"),
        galera(7, cluster_status="non-Primary"),
        galera(7, ready="OFF"),
        galera(7, reject_queries="ALL"),
        build.REPLICA,
        build.snapshot(build.plain_rows(), None),
        build.DOWN,
    ],
)
def test_nothing_is_written_where_writes_do_not_belong(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)

    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(WRITES, port)
            for _ in range(5):
                assert who.look(snapshot, spare=1).write_probe == WriteProbe()
                await asyncio.sleep(0.01)
            assert server.logins == 0
            await who.close()

    run(work())


def test_a_write_that_hangs_is_told_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)

    async def work() -> None:
        server = FakeMariaDB({})
        server.be_silent_on("INSERT")
        async with serving(server) as port:
            who = bystander(WRITES, port)

            def pending() -> float | None:
                found = who.look(galera(7), spare=1).write_probe
                return found.pending_since if found is not None else None

            await until(pending, "it is told")
            since = pending()
            for _ in range(10):
                assert pending() == since
            assert (server.logins, len(inserts(server))) == (1, 0)
            server.speak()
            await until(lambda: pending() is None, "it came back")
            await who.close()

    run(work())


def test_an_error_is_told_until_a_write_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)

    async def work() -> None:
        server = FakeMariaDB({})
        server.fail["INSERT"] = error(1, 1146, "Table 'ops.alive' doesn't exist")
        async with serving(server) as port:
            who = bystander(WRITES, port)

            def told() -> str | None:
                found = who.look(galera(7), spare=1).write_probe
                return found.error if found is not None else None

            await until(told, "the error")
            assert told() == "1146: Table 'ops.alive' doesn't exist"
            server.fail.clear()
            await until(lambda: told() is None, "well again")
            await who.close()

    run(work())


def test_a_kept_connection_that_the_server_ended_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)

    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(WRITES, port)
            await until(lambda: who.look(galera(7), spare=1) and inserts(server), "a row")
            for writer in list(server.open):
                writer.close()
            count = len(inserts(server))

            def again() -> bool:
                assert who.look(galera(7), spare=1).write_probe == WriteProbe()
                return len(inserts(server)) > count

            await until(again, "another row, by another connection")
            assert server.logins == 2
            await who.close()

    run(work())


def test_the_heartbeat_is_written_by_a_primary_only(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    watch = Watch(heartbeat_table="ops.beat", heartbeat_write=True)

    async def work() -> None:
        server = FakeMariaDB({})
        async with serving(server) as port:
            who = bystander(watch, port)
            replica = replace(facts(port, server_id=7), replications=build.REPLICA.replications)
            for _ in range(5):
                who.look(replica, spare=1)
                who.look(facts(port), spare=1)  # its server_id is not known
                await asyncio.sleep(0.01)
            assert server.asked == []
            await until(lambda: who.look(facts(port, server_id=7), spare=1) and inserts(server), "a heartbeat")
            assert inserts(server)[0].startswith("INSERT INTO `ops`.`beat` (ts, server_id) VALUES (")
            assert who.look(facts(port, server_id=7), spare=1).write_probe is None
            await who.close()

    run(work())


# --- heartbeats in the probe ----------------------------------------------------------------------------------------


def with_heartbeats(server: FakeMariaDB, watch: Watch) -> Snapshot | None:
    """One probe of a replica."""
    found: list[Snapshot] = []

    async def work() -> None:
        async with serving(server) as port:
            login = Login(user="agent", host="127.0.0.1", port=port)
            probe = Probe(login, timeout_seconds=1.0, watch=watch)
            found.append(await probe.sample())
            await probe.close()

    run(work())
    return found[0]


def replica_server() -> FakeMariaDB:
    server = FakeMariaDB(galera_rows())
    row = slave_row()
    server.fail["SHOW ALL SLAVES"] = result(list(row), [list(row.values())])
    return server


def test_heartbeats_are_read_where_there_is_replication() -> None:
    server = replica_server()
    server.fail["SET STATEMENT"] = result(["server_id", "age_microseconds"], [[None, 5], [None, None]])
    found = with_heartbeats(server, Watch(heartbeat_table="ops.beat"))
    assert found is not None
    assert (found.failure, found.heartbeats) == (None, ())
    assert sum("`ops`.`beat`" in statement for statement in server.asked) == 1


def test_heartbeats_that_cannot_be_read_are_unknown_and_the_rest_stands() -> None:
    server = replica_server()
    server.fail["SET STATEMENT"] = error(1, 1142, "SELECT command denied")
    found = with_heartbeats(server, Watch(heartbeat_table="ops.beat"))
    assert found is not None
    assert (found.failure, found.heartbeats) == (None, None)
    assert found.replications


@pytest.mark.parametrize("watch", [Watch(heartbeat_table="ops.beat"), Watch()])
def test_no_statement_is_asked_for_nothing(watch: Watch) -> None:
    server = FakeMariaDB(galera_rows()) if watch.heartbeat_table else replica_server()
    found = with_heartbeats(server, watch)
    assert found is not None
    assert found.heartbeats is None
    assert not any("TIMESTAMPDIFF" in statement for statement in server.asked)


# --- errand ---------------------------------------------------------------------------------------------------------


def test_an_errand_is_run_once_at_a_time() -> None:
    async def work() -> None:
        errand, end = Errand(), asyncio.Event()

        async def wait() -> None:
            await end.wait()

        assert errand.due(60.0)
        errand.run(wait())
        assert not errand.due(0.0)
        assert errand.late(-1.0)
        end.set()
        await until(lambda: not errand.under_way, "its end")
        assert errand.pending_since is None
        assert not errand.due(60.0)
        errand.soon()
        assert errand.due(60.0)
        await errand.close()

    run(work())
