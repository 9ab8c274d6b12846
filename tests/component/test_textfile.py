"""`metrics.textfile` of `healthagent serve`: there while the agent runs, gone when it stops, never in anybody's way."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from healthagent import textfile
from healthagent.board import Board
from healthagent.textfile import Textfile
from tests.build import POLICY, SYNCED, Agent, galera, healthy
from tests.component.test_monitor import wait_until
from tests.component.test_service import Daemon, free_port, wait


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "collector" / "healthagent.prom"
    found.parent.mkdir()
    return found


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path)
    yield found
    found.close()


def setting(path: Path) -> str:
    return f"metrics: {{textfile: {path}}}\n"


def series(path: Path) -> dict[str, float]:
    """Of the metrics without labels."""
    found = text_string_to_metric_families(path.read_text())
    return {sample.name: sample.value for family in found for sample in family.samples if not sample.labels}


def test_the_file_is_there_while_the_agent_runs_and_gone_when_it_stops(daemon: Daemon, path: Path) -> None:
    daemon.configure(more=setting(path))
    before = os.umask(0o077)
    try:
        daemon.start()
    finally:
        os.umask(before)
    wait(lambda: path.exists() and series(path)["healthagent_state_code"] == 2, "the first verdict")
    found = series(path)
    assert (found["healthagent_up"], found["healthagent_config_last_reload_success"]) == (0, 1)
    assert not [name for name in found if name.startswith("process_")], "node_exporter has its own"
    assert path.stat().st_mode & 0o777 == 0o644
    assert daemon.stop() == 0
    assert list(path.parent.iterdir()) == []
    assert "level=error" not in daemon.said()


def test_one_that_is_killed_leaves_its_file(daemon: Daemon, path: Path) -> None:
    """node_textfile_mtime_seconds tells then."""
    daemon.configure(more=setting(path))
    daemon.start()
    wait(path.exists, "the file")
    daemon.signal(signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait(10)
    assert path.exists()


def test_a_reload_moves_it(daemon: Daemon, path: Path, tmp_path: Path) -> None:
    other, nowhere = tmp_path / "other.prom", tmp_path / "no" / "x.prom"
    daemon.configure(more=setting(path))
    daemon.start()
    wait(path.exists, "the file")
    daemon.configure(more=setting(nowhere))
    daemon.signal(signal.SIGHUP)
    says = f"{nowhere}: cannot be written: there is no directory {nowhere.parent}; tried again every 15 s"
    wait(lambda: says in daemon.said(), "it is told")
    assert not path.exists()
    assert "healthagent_config_last_reload_success 1.0" in daemon.get("/metrics")[2]

    daemon.configure(more=setting(other))
    daemon.signal(signal.SIGHUP)
    wait(other.exists, "the new one")
    assert "healthagent_config_last_reload_success 1.0" in daemon.get("/metrics")[2]
    daemon.configure()
    daemon.signal(signal.SIGHUP)
    wait(lambda: not other.exists(), "none any more")


def test_checks_are_counted_over_a_reload_and_by_listener(daemon: Daemon) -> None:
    port = free_port()
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{port}": writer}}')
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "the first sample")
    before = counted(daemon, "any", "503")
    daemon.signal(signal.SIGHUP)
    wait(lambda: "reloaded: " in daemon.said(), "reloaded")
    daemon.get("/any")
    daemon.by_control_socket(daemon.control)
    assert counted(daemon, "any", "503") == before + 1
    assert counted(daemon, "any", "503", listener="control") == 1
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert client.makefile().read() == "down #down\n"
    assert counted(daemon, "writer", "down", listener=f"127.0.0.1:{port}") == 1


def counted(daemon: Daemon, role: str, code: str, listener: str = "") -> float:
    listener = listener or f"127.0.0.1:{daemon.port}"
    wanted = {"listener": listener, "role": role, "code": code}
    families = text_string_to_metric_families(daemon.get("/metrics")[2])
    return sum(it.value for family in families for it in family.samples if it.labels == wanted)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/tmp/x.txt", "'/tmp/x.txt': must end in .prom: node_exporter's textfile collector reads no other file"),
        ("x.prom", "'x.prom': must be an absolute path"),
        ("/tmp/../x.prom", "'/tmp/../x.prom': must name a file, printable and without `..`"),
        ("/tmp/x.prom/", "'/tmp/x.prom/': must name a file, printable and without `..`"),
        ("7", "7: must be an absolute path"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(daemon: Daemon, value: str, says: str) -> None:
    daemon.configure(more=f"metrics: {{textfile: {value}}}\n")
    done = daemon.run()
    assert done.returncode == 2
    assert f"metrics.textfile: {says}" in done.stderr


def test_a_directory_that_cannot_be_written_keeps_no_agent_from_starting(
    daemon: Daemon, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.chmod(0o555)
    daemon.configure(more=setting(path))
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    monkeypatch.setattr(Daemon, "command", [*powerless, *daemon.command])
    daemon.start()
    says = f"{path}: cannot be written: this user may not write to {path.parent}; tried again every 15 s"
    wait(lambda: says in daemon.said(), "it is told")
    wait(lambda: daemon.get("/any")[1] == "down", "it answers")
    assert daemon.stop() == 0
    assert daemon.said().count("cannot be written") == 1
    assert "cannot be removed" not in daemon.said()


def holds(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# --- by itself ------------------------------------------------------------------------------------------------------


class Bench:
    """A textfile over a board; `texts` are what was rendered."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.texts = agent, list[bytes]()
        self.board = Board(agent.publication, POLICY.max_age_seconds, lambda: agent.now)
        self.file = Textfile(self.board, self.render)

    def render(self) -> bytes:
        self.texts.append(f"text {len(self.texts) + 1}\n".encode())
        return self.texts[-1]

    def publish(self) -> None:
        self.board.publish(self.agent.publication, POLICY.max_age_seconds)


def test_a_change_is_written_at_once_and_the_rest_at_its_pace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("healthagent.clock.now", lambda: now)

    async def main() -> None:
        nonlocal now
        bench = Bench(healthy())
        await bench.file.adopt(path)
        await wait_until(lambda: path.exists() and not bench.file._errand.under_way)
        for after, what, texts in (
            (0.5, galera(read_only=1), 1),  # too soon
            (0.6, galera(read_only=1), 2),
            (14.0, galera(read_only=1), 2),
            (1.1, galera(read_only=1), 3),
            (2.0, galera(read_only=1, ready="OFF"), 4),
        ):
            now += after
            bench.agent.sees(what)
            bench.publish()
            await wait_until(lambda: not bench.file._errand.under_way)
            assert len(bench.texts) == texts
        assert holds(path) == b"text 4\n"
        await bench.file.close()
        assert holds(path) is None

    asyncio.run(main())


def test_without_a_publication_it_is_written_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "CHANGED_SECONDS", 0.02)
    monkeypatch.setattr(textfile, "PACE_SECONDS", 0.02)

    async def main() -> None:
        bench = Bench(healthy())
        await bench.file.adopt(path)
        await wait_until(lambda: len(bench.texts) > 3)
        await bench.file.close()

    asyncio.run(main())


def test_a_directory_that_hangs_holds_up_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(textfile, "DEADLINE_SECONDS", 0.05)
    monkeypatch.setattr(textfile, "LAST_SECONDS", 0.05)
    monkeypatch.setattr(textfile, "CHANGED_SECONDS", 0.02)
    monkeypatch.setattr(textfile, "PACE_SECONDS", 0.02)
    goes_on, real = threading.Event(), textfile._replace

    def hangs(path: Path, text: bytes, unwanted: threading.Event) -> str:
        goes_on.wait(10)
        return real(path, text, unwanted)

    monkeypatch.setattr(textfile, "_replace", hangs)

    async def main() -> None:
        bench = Bench(healthy(SYNCED))
        await bench.file.adopt(path)
        try:
            await wait_until(lambda: len(bench.texts) > 3)
            assert threading.active_count() <= 3, "no second thread behind the first"
            assert [record.getMessage() for record in caplog.records] == [
                f"{path}: cannot be written: {path.parent} has not answered for 0.05 s; tried again every 0.02 s"
            ]
        finally:
            goes_on.set()
        with caplog.at_level(logging.INFO):
            await wait_until(lambda: caplog.records[-1].getMessage() == f"{path}: written again")
        await bench.file.close()

    asyncio.run(main())


def test_a_directory_that_hangs_does_not_hold_the_stop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "LAST_SECONDS", 0.05)
    goes_on = threading.Event()
    monkeypatch.setattr(textfile, "_replace", lambda path, text, unwanted: str(goes_on.wait(20)))

    async def main() -> None:
        bench = Bench(healthy())
        await bench.file.adopt(path)
        assert bench.file._errand.under_way
        try:
            await asyncio.wait_for(bench.file.close(), 5)
            assert not bench.file._errand.under_way
        finally:
            goes_on.set()

    asyncio.run(main())


def test_a_directory_that_is_gone_is_told_once_and_back_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(textfile, "CHANGED_SECONDS", 0.02)
    monkeypatch.setattr(textfile, "PACE_SECONDS", 0.02)
    caplog.set_level(logging.INFO)

    async def main() -> None:
        bench = Bench(healthy())
        await bench.file.adopt(path)
        await wait_until(path.exists)
        path.parent.rename(path.parent.with_name("away"))
        await wait_until(lambda: len(caplog.records) == 1)
        written = len(bench.texts)
        await wait_until(lambda: len(bench.texts) > written + 3)
        path.parent.mkdir()
        await wait_until(path.exists)
        await bench.file.close()

    asyncio.run(main())
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", f"{path}: cannot be written: there is no directory {path.parent}; tried again every 0.02 s"),
        ("INFO", f"{path}: written again"),
    ]


def test_a_link_in_its_way_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    path.with_name(f".{path.name}.new").symlink_to(target)
    assert textfile._replace(path, b"ours\n", threading.Event()) != ""
    assert target.read_text() == "theirs"
    assert textfile._replace(path, b"ours\n", threading.Event()) == "", "what was in the way is gone"


def test_what_is_in_its_way(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    assert textfile._replace(path, b"ours\n", threading.Event()) == "Is a directory"
    nowhere = tmp_path / "no" / "x.prom"
    assert textfile._replace(nowhere, b"ours\n", threading.Event()) == f"there is no directory {nowhere.parent}"


# --- not wanted any more ----------------------------------------------------------------------------------------------


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch, call: str, times: int = 1
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The first calls of that method of a path hang: (one does, they may go on)."""
    hangs, goes_on, real, left = threading.Event(), threading.Event(), getattr(Path, call), [None] * times

    def slowly(self: Path, *arguments: object, **more: object) -> object:
        if left:
            left.pop()
            hangs.set()
            goes_on.wait(20)
        return real(self, *arguments, **more)

    monkeypatch.setattr(Path, call, slowly)
    try:
        yield hangs, goes_on
    finally:
        goes_on.set()


def ended() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "textfile"]


@pytest.mark.parametrize("instead", ["other.prom", None])
def test_a_write_that_hung_puts_nothing_there_when_it_goes_on(
    path: Path, instead: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it hangs before it has looked if it is still wanted, or right in its rename."""
    monkeypatch.setattr(textfile, "LAST_SECONDS", 0.05)
    other = path.with_name(instead) if instead is not None else None

    async def main(call: str) -> None:
        bench = Bench(healthy())
        with held(monkeypatch, call) as (hangs, goes_on):
            await bench.file.adopt(path)
            await wait_until(hangs.is_set)
            await bench.file.adopt(other)
            goes_on.set()
            await wait_until(lambda: ended() and (other is None or other.exists()))
            assert list(path.parent.iterdir()) == ([] if other is None else [other])
            await bench.file.close()

    for call in ("replace", "with_name"):
        asyncio.run(main(call))


def test_a_file_that_cannot_be_removed_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(textfile, "LAST_SECONDS", 0.05)

    async def main() -> None:
        bench = Bench(healthy())
        await bench.file.adopt(path)
        await wait_until(lambda: path.exists() and not bench.file._errand.under_way)
        with held(monkeypatch, "unlink"):
            await bench.file.close()
            assert [record.getMessage() for record in caplog.records] == [
                f"{path}: cannot be removed: {path.parent} has not answered for 0.05 s; "
                "remove it, or the collector goes on telling what stands there"
            ]
        await wait_until(lambda: not path.exists())

    asyncio.run(main())
