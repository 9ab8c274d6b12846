"""What systemd is told, by real datagrams; the words are those of sd_notify(3)."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthagent.board import Board
from healthagent.notify import STATUS_LIMIT, Notifier, watchdog_seconds
from tests.build import POLICY, SYNCED, Agent, galera, healthy

SECONDS = 5.0
HEALTHY = "STATUS=synced: writer up 100, reader up 100, any up 100"


class Systemd:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)

    async def hears(self, count: int = 1) -> list[str]:
        async with asyncio.timeout(SECONDS):
            loop = asyncio.get_running_loop()
            return [(await loop.sock_recv(self.socket, 65536)).decode() for _ in range(count)]

    def silent(self) -> bool:
        try:
            return not self.socket.recv(65536)
        except BlockingIOError:
            return True


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@healthagent/test/{os.getpid()}/{tmp_path.name}"
    found = Systemd(name)
    yield found
    found.socket.close()


def board_of(agent: Agent) -> Board:
    return Board(agent.publication, POLICY.max_age_seconds, clock=lambda: agent.now)


def publish(board: Board, agent: Agent) -> None:
    board.publish(agent.publication, POLICY.max_age_seconds)


def test_a_life(systemd: Systemd) -> None:
    async def live() -> None:
        notifier = Notifier(board_of(healthy()), lambda: True, {"NOTIFY_SOCKET": systemd.name})
        notifier.ready()
        assert await systemd.hears(2) == ["READY=1", HEALTHY]
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        notifier.reloading()
        word, _, microseconds = (await systemd.hears())[0].partition("\nMONOTONIC_USEC=")
        assert word == "RELOADING=1"
        assert before <= int(microseconds) / 1e6 + 1e-6
        assert int(microseconds) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)
        notifier.ready("a.yaml:1: htp: unknown key\nb")
        assert await systemd.hears(2) == ["READY=1", f"{HEALTHY}; not reloaded: a.yaml:1: htp: unknown key b"]
        notifier.ready("x" * 5000)
        assert len((await systemd.hears(2))[1]) == len("STATUS=") + STATUS_LIMIT
        notifier.ready()
        assert await systemd.hears(2) == ["READY=1", HEALTHY]
        notifier.stopping()
        assert await systemd.hears() == ["STOPPING=1"]
        notifier.close()

    asyncio.run(live())


def test_the_status_is_told_when_it_changes_and_not_else(systemd: Systemd) -> None:
    agent = healthy()
    board = board_of(agent)

    async def live() -> None:
        notifier = Notifier(board, lambda: True, {"NOTIFY_SOCKET": systemd.name})
        notifier.ready()
        assert await systemd.hears(2) == ["READY=1", HEALTHY]
        publish(board, agent.sees(SYNCED))
        assert systemd.silent()
        publish(board, agent.sees(galera(read_only=1)))
        assert await systemd.hears() == ["STATUS=synced: writer down (read_only), reader up 100, any up 100"]
        notifier.close()
        publish(board, agent.sees(SYNCED))
        assert systemd.silent()

    asyncio.run(live())


def test_the_watchdog_is_fed_at_half_of_its_time_and_only_while_the_monitor_turns(
    systemd: Systemd, caplog: pytest.LogCaptureFixture
) -> None:
    """Facts that have grown too old are told with a beat, since nothing is published then."""
    agent, turns = healthy(), True
    board = board_of(agent)
    environment = {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "400000", "WATCHDOG_PID": str(os.getpid())}

    async def live() -> None:
        nonlocal turns
        notifier = Notifier(board, lambda: turns, environment)
        notifier.ready()
        assert await systemd.hears(3) == ["READY=1", HEALTHY, "WATCHDOG=1"]
        started = time.monotonic()
        assert await systemd.hears(3) == ["WATCHDOG=1"] * 3
        assert time.monotonic() - started > 0.55  # three halves, and not much more often
        turns, agent.now = False, agent.now + 10
        assert await systemd.hears() == ["STATUS=stale: writer down (stale), reader down (stale), any down (stale)"]
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        turns = True
        assert await systemd.hears() == ["WATCHDOG=1"]
        notifier.close()

    asyncio.run(live())


def test_what_finds_nobody_or_no_room_is_told_later_and_in_its_order(tmp_path: Path) -> None:
    """systemd is not there at first; then its queue is full, which nobody here waits for."""
    name = str(tmp_path / "notify")

    async def live() -> None:
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
        notifier = Notifier(board_of(healthy()), lambda: True, environment)
        notifier.ready()
        systemd = Systemd(name)
        try:
            assert (await systemd.hears(3))[:2] == ["READY=1", HEALTHY]
            assert fill(name) > 0
            notifier.reloading()
            notifier.ready("b")
            words: list[str] = []
            while len(words) < 3:
                words += [word for word in await systemd.hears() if word not in ("other", "WATCHDOG=1")]
            assert [word.split("\n")[0] for word in words] == ["RELOADING=1", "READY=1", f"{HEALTHY}; not reloaded: b"]
        finally:
            notifier.close()
            systemd.socket.close()

    asyncio.run(live())


def fill(name: str) -> int:
    """How many words somebody else has told, until there was no more room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        for count in range(100_000):
            try:
                other.sendto(b"other", name)
            except BlockingIOError:
                return count
    raise AssertionError("there is always room")


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("name", ["", "/", "@", "vsock:2:1234", "relative"])
def test_without_systemd_nothing_is_opened(name: str) -> None:
    async def live() -> None:
        notifier = Notifier(board_of(healthy()), lambda: True, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"})
        before = open_files()
        notifier.ready()
        notifier.reloading()
        notifier.ready("refused")
        notifier.stopping()
        assert open_files() == before
        notifier.close()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds
