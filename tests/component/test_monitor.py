"""The monitor by itself: when it looks, and that questions with parameters are bounded in number and in time."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthagent import clock, config
from healthagent.events import Event, Kind, Level
from healthagent.facts import Snapshot
from healthagent.monitor import Monitor
from healthagent.pin import Keeper, PinFile
from healthagent.probe import Probe
from healthagent.question import tightened
from healthagent.session import SWIFT_STATEMENT
from tests.build import galera_rows
from tests.component.fake_mariadb import FakeMariaDB, serving

MOST = 16
SELDOM = "interval: 30s, max_age: 60s"
NO_LANE = f"{SELDOM}, fast_interval: 30s"
LONG = "interval: 30s, fast_interval: 20s, timeout: 5s, max_age: 60s"  # two looks by themselves in a test: none


def monitor(directory: Path, probe: str = "interval: 100ms", where: str = "") -> tuple[Monitor, config.Config]:
    file = directory / "healthagent.yaml"
    where = where or f"socket: {directory}/no.sock"
    file.write_text(f"mysql: {{user: agent, {where}, datadir: {directory}}}\nprobe: {{client_port: off, {probe}}}\n")
    settings = config.load(file)
    return Monitor(settings, Keeper(PinFile(directory / "state"))), settings


def asked(one: Monitor) -> list[str]:
    return [key for key, verdict in one.board.current().verdicts.items() if key != verdict.role]


def ask(one: Monitor, settings: config.Config, lag_ms: int) -> str:
    reader = next(role for role in settings.policy.roles if role.name == "reader")
    key, stricter = tightened(reader, {"max_lag": f"{lag_ms}ms"})
    assert key in one.ask(key, stricter).verdicts
    return key


async def wait_until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for is read, not told
            await asyncio.sleep(0.01)


def test_only_so_many_questions_are_kept_and_the_one_asked_last_always(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    first = ask(one, settings, 1)
    for lag_ms in range(2, 200):
        last = ask(one, settings, lag_ms)
        assert ask(one, settings, 1) == first
        assert {first, last} <= set(asked(one))
        assert len(asked(one)) <= MOST


def test_a_question_costs_no_role_its_verdict(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    before = {role.name: one.board.current().verdicts[role.name] for role in settings.policy.roles}
    for lag_ms in range(1, 50):
        ask(one, settings, lag_ms)

    assert all(one.board.current().verdicts[name] is verdict for name, verdict in before.items())


def test_it_turns_while_looks_end_though_nobody_answers_and_not_when_one_is_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What feeds the watchdog of systemd: 50 ms + 3 x 50 ms, and here 1 s instead of 10."""
    monkeypatch.setattr("healthagent.monitor.STUCK_SECONDS", 1.0)
    go_on, real, looks = asyncio.Event(), Probe.sample, 0

    async def sample(probe: Probe) -> Snapshot:
        nonlocal looks
        looks += 1
        await go_on.wait()
        return await real(probe)

    async def live() -> None:
        one, _ = monitor(tmp_path, "interval: 50ms, timeout: 50ms", f"socket: {tmp_path}/silent.sock")
        running = asyncio.ensure_future(one.run())
        try:
            go_on.set()
            until = clock.now() + 2.0
            await wait_until(lambda: clock.now() > until)
            assert looks > 3
            assert one.turns()
            assert one.board.current().state.word == "hung"
            go_on.clear()
            await wait_until(lambda: not one.turns())
            go_on.set()
            await wait_until(one.turns)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    monkeypatch.setattr(Probe, "sample", sample)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/silent.sock")
        silent.listen(64)
        asyncio.run(live())


def test_a_question_that_nobody_asks_any_more_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, settings = monitor(tmp_path)
    later, real = 0.0, clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + later)

    async def scene() -> None:
        nonlocal later
        running = asyncio.ensure_future(one.run())
        try:
            kept, forgotten = ask(one, settings, 1), ask(one, settings, 2)
            await wait_until(lambda: one.board.current().snapshot is not None)
            assert one.board.current().verdicts[kept].reasons[0].word == "down"
            later = 50.0
            ask(one, settings, 1)
            later = 70.0
            await wait_until(lambda: forgotten not in one.board.current().verdicts)
            assert asked(one) == [kept]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


def test_a_reload_forgets_all_questions(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    ask(one, settings, 1)
    one.reconfigure(settings)
    assert asked(one) == []

    assert ask(one, settings, 1) in asked(one)


# --- when it looks --------------------------------------------------------------------------------------------------


def sequence(one: Monitor) -> int:
    snapshot = one.board.current().snapshot
    return snapshot.sequence if snapshot is not None else 0


def word(one: Monitor, role: str = "any") -> str:
    return one.board.current().verdicts[role].status.value


def watched(
    directory: Path,
    probe: str,
    work: Callable[[Monitor, FakeMariaDB], Coroutine[Any, Any, None]],
    *,
    unix: bool = False,
) -> None:
    """`work` beside a monitor that has had its first facts from a synced member."""

    async def main() -> None:
        server = FakeMariaDB(galera_rows())
        path = directory / "db.sock" if unix else None
        async with serving(server, path) as port:
            one, _ = monitor(directory, probe, f"socket: {path}" if unix else f"host: 127.0.0.1, port: {port}")
            running = asyncio.ensure_future(one.run())
            try:
                await wait_until(lambda: word(one) == "up")
                await work(one, server)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def reset(server: FakeMariaDB) -> None:
    """RST and not FIN, as a kernel sends it whose process had unread data."""
    for writer in list(server.open):
        peer = writer.get_extra_info("socket")
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def end_all(server: FakeMariaDB) -> None:
    for writer in list(server.open):
        writer.close()


def test_between_two_probes_a_change_is_seen_and_nothing_else_is_said(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        before = one.board.current()
        looks = server.asked.count(SWIFT_STATEMENT.decode())
        await wait_until(lambda: server.asked.count(SWIFT_STATEMENT.decode()) > looks + 2)
        assert one.board.current() is before
        server.rows["wsrep_reject_queries"] = "ALL"
        await wait_until(lambda: word(one) == "down")
        assert one.board.current().state.word == "rejecting"
        assert sequence(one) == 2

    watched(tmp_path, SELDOM, work)


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "Unix socket"])
@pytest.mark.parametrize("end", [reset, lambda server: [writer.close() for writer in server.open]], ids=["RST", "FIN"])
def test_the_end_of_the_connection_is_a_reason_to_look(
    tmp_path: Path, end: Callable[[FakeMariaDB], object], unix: bool
) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        for count in (2, 3):
            end(server)
            await wait_until(lambda count=count: server.logins == count)  # type: ignore[misc]
            await wait_until(lambda count=count: sequence(one) == count)  # type: ignore[misc]
            assert word(one) == "up", "somebody has merely killed the session"

    watched(tmp_path, NO_LANE, work, unix=unix)


def test_whoever_knows_more_brings_the_next_look(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        server.rows["wsrep_ready"] = "OFF"
        one.look_now()
        one.look_now()
        await wait_until(lambda: word(one) == "down")

    watched(tmp_path, NO_LANE, work)


def test_a_reload_brings_a_whole_probe(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        server.rows["Threads_connected"] = "77"  # what a glance would not see
        one.reconfigure(one._config)
        await wait_until(lambda: sequence(one) == 2)

    watched(tmp_path, SELDOM, work)


def test_a_server_that_drops_every_connection_does_not_make_it_spin(tmp_path: Path) -> None:
    """By the number of logins: a busy machine makes them fewer, and nothing makes them more."""

    async def work(_: Monitor, server: FakeMariaDB) -> None:
        loop = asyncio.get_running_loop()
        began, logins, over = loop.time(), server.logins, asyncio.Event()
        answer = server._answer

        def drop(statement: str) -> bytes:  # each session ends as soon as a probe is over
            if statement.startswith("SHOW ALL SLAVES"):
                loop.call_soon(end_all, server)
            return answer(statement)

        server._answer = drop  # type: ignore[method-assign]
        loop.call_later(0.5, over.set)
        end_all(server)
        await over.wait()
        assert 2 <= server.logins - logins <= 2 + 2 * (loop.time() - began) / 0.02

    watched(tmp_path, NO_LANE, work)


# --- what comes during a look -----------------------------------------------------------------------------------------


@asynccontextmanager
async def held(one: Monitor, server: FakeMariaDB) -> AsyncIterator[None]:
    """A look that the server does not answer before the end of the block."""
    greeted = server.greeted
    server.be_silent_on("S")
    one.look_now()
    await wait_until(lambda: one._nap is None)
    await wait_until(lambda: server.waiting > 0)
    assert server.greeted == greeted
    yield
    server.speak()


def whole(server: FakeMariaDB) -> int:
    """Whole probes by now: no glance asks for the version."""
    return sum("@@global.version " in statement for statement in server.asked)


def looks(server: FakeMariaDB) -> int:
    return sum(statement.startswith("SELECT @@") for statement in server.asked)


async def quiet(server: FakeMariaDB, looked: Callable[[], int], count: int) -> None:
    """So many looks have come, and in many times the least distance between two no more of them."""
    await wait_until(lambda: looked() >= count)
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, over.set)
    await over.wait()
    assert looked() == count


def test_a_ring_during_a_look_brings_one_more_and_no_third(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        before = looks(server)
        async with held(one, server):
            one.look_now()
            one.look_now()
        await quiet(server, lambda: looks(server) - before, 2)

    watched(tmp_path, LONG, work)


def test_a_reload_during_a_look_brings_one_whole_probe(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        before = whole(server)
        async with held(one, server):
            one.reconfigure(one._config)
        await quiet(server, lambda: whole(server) - before, 1)
        glances = looks(server) - whole(server)
        one.look_now()
        await wait_until(lambda: looks(server) - whole(server) > glances)
        assert whole(server) - before == 1, "and then glances again"

    watched(tmp_path, LONG, work)


def test_an_acknowledgement_brings_a_whole_probe(tmp_path: Path) -> None:
    async def work(one: Monitor, server: FakeMariaDB) -> None:
        before = whole(server)
        assert one.acknowledge(cluster=True) == ("other_cluster",)
        await wait_until(lambda: whole(server) - before == 1)

    watched(tmp_path, LONG, work)


def test_facts_of_the_old_server_are_not_told_of_the_new_one(tmp_path: Path) -> None:
    async def work(one: Monitor, old: FakeMariaDB) -> None:
        new = FakeMariaDB(galera_rows(wsrep_reject_queries="ALL"))
        told: list[str | None] = []
        judge = one._publish

        def noted(snapshot: Snapshot) -> None:
            told.append(snapshot.galera.reject_queries if snapshot.galera is not None else None)
            judge(snapshot)

        one._publish = noted  # type: ignore[method-assign]
        async with serving(new) as port:
            async with held(one, old):
                old.rows["wsrep_cluster_size"] = "2"  # so that the glance becomes a sample
                one.reconfigure(replace(one._config, login=replace(one._config.login, port=port)))
            await wait_until(lambda: told != [])
            assert told == ["ALL"]
            assert one.board.current().state.word == "rejecting"

    watched(tmp_path, LONG, work)


def test_a_refused_connection_is_tried_again_soon(tmp_path: Path) -> None:
    """With a probe every 30 s the server that comes is still found, and the tries become fewer."""

    async def scene() -> None:
        path = tmp_path / "db.sock"
        one, _ = monitor(tmp_path, SELDOM, f"socket: {path}")
        running = asyncio.ensure_future(one.run())
        began = asyncio.get_running_loop().time()
        try:
            await wait_until(lambda: sequence(one) >= 4)
            took = asyncio.get_running_loop().time() - began
            assert took >= 0.35, "50, 100 and 200 ms apart"
            async with serving(FakeMariaDB(galera_rows()), path):
                await wait_until(lambda: word(one) == "up")
                assert sequence(one) <= 8
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


# --- what it says ---------------------------------------------------------------------------------------------------


def changes(caplog: pytest.LogCaptureFixture, kind: Kind = Kind.ROLE_CHANGE) -> list[Event]:
    events = [getattr(record, "event", None) for record in caplog.records]
    return [event for event in events if isinstance(event, Event) and event.kind is kind]


def test_facts_that_grow_too_old_are_told_though_no_probe_ends_and_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told: list[str] = []

    async def never(probe: Probe, **named: Any) -> Snapshot:
        raise AssertionError(await asyncio.Event().wait())

    async def work(one: Monitor, server: FakeMariaDB) -> None:
        one.board.follow(lambda: told.append(one.board.current().state.word))
        monkeypatch.setattr(Probe, "sample", never)
        monkeypatch.setattr(Probe, "glance", never)
        one.look_now()
        await wait_until(lambda: told[-1:] == ["stale"])
        assert told.count("stale") == 1

    watched(tmp_path, "interval: 50ms, fast_interval: 50ms, timeout: 50ms, max_age: 400ms", work)
    falls = [event for event in changes(caplog) if event.fields["old"] == "up"]
    assert {event.fields["role"] for event in falls} >= {"any", "writer", "reader"}
    for event in falls:
        assert (event.fields["new"], event.fields["reasons"], event.level) == ("down", ("stale",), Level.WARNING)
        age = event.fields["gate_fresh"]
        assert isinstance(age, float)
        assert 0.4 <= age < 5, "how old the facts were, and not how old they were when they were read"
        assert f": fresh {age:g} (limit 0.4)" in event.says
    assert [event.fields["new"] for event in changes(caplog, Kind.STATE_CHANGE)] == ["synced", "stale"]


def test_the_first_verdict_of_a_role_is_a_line_whatever_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one, _ = monitor(tmp_path)

    async def scene() -> None:
        running = asyncio.ensure_future(one.run())
        await wait_until(lambda: one.board.current().snapshot is not None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())
    first = {event.fields["role"]: (event.fields["old"], event.fields["new"], event.level) for event in changes(caplog)}
    assert first["writer"] == ("starting", "down", Level.WARNING)
    assert set(first.values()) == {first["writer"]}
