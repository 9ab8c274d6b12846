"""The daemon's record beside a server that can be told what to say: what is written, and what a bad disk costs."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthagent import clock, config
from healthagent.document import retold
from healthagent.facts import Snapshot
from healthagent.model import Status
from healthagent.monitor import Monitor
from healthagent.pin import Keeper, PinFile
from healthagent.probe import Probe
from healthagent.record import NO_PINS, Entry, Header, Sample
from healthagent.recorder import MOST_WAITING, Recorder
from healthagent.recordfile import RecordFile, read_record
from healthagent.replay import Replay
from tests.build import SYNCED, galera_rows
from tests.component.fake_mariadb import FakeMariaDB, serving
from tests.figures import measured

Told = list[tuple[str, str]]


class Bench:
    """A monitor that records, beside a fake server; `told`: each role's status as it changed."""

    def __init__(self, directory: Path, server: FakeMariaDB, port: int) -> None:
        self.directory, self.server, self.port = directory, server, port
        self.file = directory / "record"
        self.recorder = Recorder()
        self.monitor = Monitor(self.settings(), Keeper(PinFile(directory / "state")), self.recorder)
        self.told: Told = []
        self.statuses = {role: str(verdict.status) for role, verdict in self.monitor.board.current().verdicts.items()}
        self.monitor.board.follow(self._hear)

    def settings(self, *, record: str = "record", probe: str = "", more: str = "") -> config.Config:
        file = self.directory / "healthagent.yaml"
        name = f"record: {self.directory / record}, " if record else ""
        file.write_text(
            f"mysql: {{user: agent, host: 127.0.0.1, port: {self.port}}}\n"
            f"probe: {{{name}{probe}interval: 50ms, client_port: off}}\n{more}"
        )
        return config.load(file)

    def word(self, role: str = "any") -> str:
        return self.monitor.board.current().verdicts[role].status.value

    def _hear(self) -> None:
        for role, verdict in self.monitor.board.current().verdicts.items():
            if self.statuses.setdefault(role, verdict.status.value) != verdict.status.value:
                self.statuses[role] = verdict.status.value
                self.told.append((role, verdict.status.value))


async def wait_until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for is read, not told
            await asyncio.sleep(0.01)


def recorded(directory: Path, work: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
    """`work` beside a monitor that has had its first facts, and the end of the monitor."""

    async def main() -> Bench:
        server = FakeMariaDB(galera_rows())
        async with serving(server) as port:
            bench = Bench(directory, server, port)
            running = asyncio.ensure_future(bench.monitor.run())
            try:
                await wait_until(lambda: bench.word() == "up")
                await work(bench)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            return bench

    return asyncio.run(main())


def entries(file: Path) -> list[Entry]:
    return list(read_record(file))


def headers(file: Path) -> list[str]:
    return [entry.why for entry in entries(file) if isinstance(entry, Header)]


def replayed(file: Path) -> tuple[Told, list[str]]:
    """As the record's own configuration tells it: the statuses, and what happened."""
    found = Replay([lambda header: config.policy_of(retold(header.config, "record"), "record")])
    found.run(read_record(file))
    turns = [turn for turn in found.courses[0].turns if turn.before is not None and turn.after is not None]
    return [(turn.role, str(turn.after)) for turn in turns], [event.word for event in found.events]


async def rejects(bench: Bench) -> None:
    bench.server.rows["wsrep_reject_queries"] = "ALL"
    await wait_until(lambda: bench.word() == "down")
    bench.server.rows["wsrep_reject_queries"] = "NONE"
    await wait_until(lambda: bench.word() == "up")


def test_a_replay_tells_what_was_told_and_a_reload_in_between(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await rejects(bench)
        bench.monitor.reconfigure(bench.settings(more="roles: {own: {base: reader, drain: true}}\n"))
        await wait_until(lambda: bench.word("own") == "drain")
        await rejects(bench)
        bench.server.refuse = b"\x0a\x00\x00\x00\xff\x15\x04no entry"  # 1045
        for writer in list(bench.server.open):
            writer.close()
        await wait_until(lambda: bench.statuses["any"] == "down")

    bench = recorded(tmp_path, work)
    told, events = replayed(bench.file)

    assert told == bench.told
    assert len(told) > 20
    assert events == ["started", "reloaded", "stopped"]
    assert entries(bench.file)[0].config["probe"]["interval"] == "50ms"  # type: ignore[union-attr]


def test_probes_that_do_not_end_are_told_by_the_log_and_the_replay_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts that grow too old: whether by a sample or without any, and at which moment."""
    moments: list[float] = []

    async def never(probe: Probe, **named: Any) -> Snapshot:
        raise AssertionError(await asyncio.Event().wait())

    async def work(bench: Bench) -> None:
        bench.monitor.reconfigure(bench.settings(probe="timeout: 50ms, max_age: 400ms, "))
        await wait_until(lambda: bench.monitor.board.current().snapshot is not None)
        with monkeypatch.context() as patched:
            patched.setattr(Probe, "sample", never)
            patched.setattr(Probe, "glance", never)
            bench.monitor.look_now()
            await wait_until(lambda: bench.told[-1:] != [] and bench.told[-1][1] == "down")
            moments.append(time.time())

    bench = recorded(tmp_path, work)
    told, _ = replayed(bench.file)
    found = Replay([lambda header: config.policy_of(retold(header.config, "record"), "record")])
    found.run(read_record(bench.file))
    falls = [turn for turn in found.courses[0].turns if turn.aged and turn.before is Status.UP]

    assert told == bench.told
    assert {reason.word for turn in falls for reason in turn.reasons} == {"stale"}
    assert 0 <= moments[0] - falls[0].wall < 2, "a busy machine may be late"
    measured(f"stale facts: told {1000 * (moments[0] - falls[0].wall):.0f} ms behind the moment that a replay names")


def test_an_acknowledgement_is_recorded(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.server.rows["wsrep_local_state"] = "5"
        await wait_until(lambda: bench.word() == "down")
        bench.server.rows["wsrep_local_state"] = "4"
        await wait_until(lambda: bench.monitor.board.current().state.word == "inconsistent")
        assert bench.monitor.acknowledge(False) == ("inconsistent",)
        await wait_until(lambda: bench.word() == "up")

    bench = recorded(tmp_path, work)
    told, events = replayed(bench.file)
    assert told == bench.told
    assert "acknowledged" in events


def test_another_file_none_and_back_by_reload(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.monitor.reconfigure(bench.settings(record="other"))
        await wait_until(lambda: (tmp_path / "other").exists())
        await rejects(bench)
        bench.monitor.reconfigure(bench.settings(record=""))
        await rejects(bench)
        bench.monitor.reconfigure(bench.settings(record="record"))
        await rejects(bench)

    bench = recorded(tmp_path, work)
    assert (headers(bench.file), headers(tmp_path / "other")) == (["start", "turn"], ["turn"])
    assert replayed(bench.file)[1] == ["started", "stopped", "recording", "stopped"]
    assert replayed(tmp_path / "other")[1] == ["recording", "stopped"]
    statuses = [status for role, status in replayed(tmp_path / "other")[0] if role == "any"]
    assert statuses == ["up", "down", "up"]


def test_off_and_on_again_while_the_disk_is_slow_is_no_trouble(
    tmp_path: Path, hanging: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(bench: Bench) -> None:
        bench.monitor.reconfigure(bench.settings(record=""))
        bench.monitor.reconfigure(bench.settings())
        await rejects(bench)
        bench.monitor.reconfigure(bench.settings(record=""))
        bench.monitor.reconfigure(bench.settings())
        hanging.set()
        await rejects(bench)

    bench = recorded(tmp_path, work)
    assert [record.getMessage() for record in caplog.records if "probe.record" in record.getMessage()] == []
    assert replayed(bench.file)[1] == ["started", "stopped", "recording", "stopped", "recording", "stopped"]


def test_a_disk_that_is_gone_for_a_while_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And costs only what came meanwhile."""
    caplog.set_level(logging.INFO)
    (tmp_path / "disk").mkdir()
    file = tmp_path / "disk" / "record"

    async def work(bench: Bench) -> None:
        bench.monitor.reconfigure(bench.settings(record="disk/record"))
        await wait_until(file.exists)
        file.parent.rename(tmp_path / "gone")
        for _ in range(3):
            await rejects(bench)
        (tmp_path / "gone").rename(file.parent)
        await rejects(bench)

    recorded(tmp_path, work)
    said = [record.getMessage() for record in caplog.records if "probe.record" in record.getMessage()]
    where = f"there is no directory {file.parent}; make it, or name a file in state_dir"
    assert said[0] == f"probe.record: {file}: {where}; it goes on when it can"
    assert len(said) == 2
    assert re.fullmatch(f"probe.record: {file} is written again; [1-9][0-9]* samples were lost", said[1])
    assert headers(file) == ["turn", "gap"]
    assert replayed(file)[1] == ["recording", "lost samples", "recording", "stopped"]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that does not answer until the event is set."""
    answers, append = threading.Event(), RecordFile.append

    def slow(file: RecordFile, entries: Sequence[Entry]) -> int:
        answers.wait(20)
        return append(file, entries)

    monkeypatch.setattr(RecordFile, "append", slow)
    yield answers
    answers.set()


def test_a_disk_that_hangs_holds_up_neither_verdicts_nor_the_stop(tmp_path: Path, hanging: threading.Event) -> None:
    started = clock.now()
    bench = recorded(tmp_path, rejects)
    assert bench.word() == "up"
    assert clock.now() - started < 8, "1 s for the stop"


def test_what_a_hanging_disk_leaves_room_for_is_there_afterwards(tmp_path: Path, hanging: threading.Event) -> None:
    """The first ones, in a row; then a gap, and what came behind it."""
    file, settings = tmp_path / "record", Bench(tmp_path, FakeMariaDB({}), 1).settings()

    async def scene() -> None:
        recorder = Recorder()
        recorder.adopt(settings, Monitor(settings, Keeper(PinFile(tmp_path / "state"))).pins, 1.0)
        await asyncio.sleep(0)
        for number in range(1, 3 * MOST_WAITING):
            recorder.sample(replace(SYNCED, sequence=number, ended_at=number / 2), 1.0, NO_PINS, turned=False)
        hanging.set()
        await wait_until(file.exists)
        await recorder.close(2.0)

    asyncio.run(scene())
    found = [entry.snapshot.sequence for entry in entries(file) if isinstance(entry, Sample)]
    assert found[:100] == list(range(1, 101))
    assert MOST_WAITING - 2 <= len(found) <= MOST_WAITING + 2
