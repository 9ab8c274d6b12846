"""What a node was, and what somebody has to acknowledge, is remembered."""

import asyncio
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import pin
from healthagent.events import Event
from healthagent.facts import Snapshot
from healthagent.pin import Keeper, PinFile
from healthagent.policy import Topology
from healthagent.trail import Pins, Thaw
from tests.build import POLICY, PRIMARY, Agent, galera, healthy

CLUSTER = "c7abde26-e4d5-11f1-877e-2e96af7f438e"


def kept(directory: Path) -> Pins:
    return PinFile(directory).read()


def test_a_new_node_is_nothing_yet(tmp_path: Path) -> None:
    assert kept(tmp_path / "not" / "there") == Pins()


@pytest.mark.parametrize(
    "pins", [Pins(galera=True), Pins(galera=True, cluster_uuid=CLUSTER, inconsistent=True), Pins(plain=True)]
)
def test_what_is_written_is_read_by_the_next_process(tmp_path: Path, pins: Pins) -> None:
    PinFile(tmp_path / "state").write(pins)

    assert kept(tmp_path / "state") == pins


def test_a_thaw_is_kept_until_the_machine_starts_anew(tmp_path: Path) -> None:
    pins = Pins(galera=True, thaw=Thaw(at=1.5, conf_id=7))
    PinFile(tmp_path).write(pins)
    assert kept(tmp_path) == pins

    file = tmp_path / "topology.json"
    file.write_text(re.sub(r'"boot_id": "[^"]*"', '"boot_id": "another"', file.read_text()))
    assert kept(tmp_path) == Pins(galera=True)


@pytest.mark.parametrize("content", ["", "{", "\x00", "nonsense", "null", "[]", "1"])
def test_what_cannot_be_read_is_taken_for_a_galera_node(tmp_path: Path, content: str) -> None:
    (tmp_path / "topology.json").write_text(content)

    assert kept(tmp_path).galera


def test_a_cluster_that_is_no_uuid_is_none(tmp_path: Path) -> None:
    (tmp_path / "topology.json").write_text('{"topology": "galera", "cluster_uuid": ["x"], "inconsistent": "yes"}')

    assert kept(tmp_path) == Pins(galera=True)


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    PinFile(tmp_path / "file" / "state").write(Pins(galera=True))


class StuckDisk(PinFile):
    """Writes only when it is let go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.let_go = threading.Event()
        self.writes = 0

    def write(self, pins: Pins) -> bool:
        self.writes += 1
        self.let_go.wait(10)
        return super().write(pins)


def test_a_disk_that_stands_still_stops_nobody(tmp_path: Path) -> None:
    file = StuckDisk(tmp_path)
    last = Pins(galera=True, inconsistent=True)

    async def samples() -> None:
        keeper = Keeper(file)
        for pins in (Pins(galera=True), last, last):
            keeper.keep(pins)
            await asyncio.sleep(0)
        assert keeper.pins == last
        file.let_go.set()
        while kept(tmp_path) != last:
            keeper.keep(last)
            await asyncio.sleep(0.01)
        await keeper.close()

    asyncio.run(asyncio.wait_for(samples(), 10))
    assert file.writes == 2, "one at a time, and the last word is kept"


def test_a_synced_member_is_pinned_with_its_cluster() -> None:
    assert healthy().memory.trail.pins == Pins(galera=True, cluster_uuid=CLUSTER)


@pytest.mark.parametrize("what", [galera(cluster_status="non-Primary"), galera(on=0), galera(local_state="1")])
def test_so_is_a_node_that_was_never_seen_healthy_but_not_its_cluster(what: Snapshot) -> None:
    assert healthy(what).memory.trail.pins == Pins(galera=True)


def test_a_server_without_a_provider_is_not() -> None:
    assert healthy(PRIMARY).memory.trail.pins == Pins()


def test_a_pin_stays_when_the_node_is_no_member_any_more() -> None:
    assert healthy().keeps_seeing(PRIMARY, 5.0).memory.trail.pins.galera


def test_an_explicit_topology_overrides_it() -> None:
    agent = Agent(replace(POLICY, topology=Topology.ASYNC), Pins(galera=True)).sees(PRIMARY)

    assert agent.state == "primary"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told."""
    told: list[str] = []

    def tell(event: Event) -> None:
        told.append(event.says)

    monkeypatch.setattr(pin, "tell", tell)
    return told


def test_a_directory_that_can_be_made_is_no_trouble(tmp_path: Path, log: list[str]) -> None:
    PinFile(tmp_path / "not" / "yet").check()
    assert log == []
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_kept_is_told_at_once(tmp_path: Path, log: list[str]) -> None:
    (tmp_path / "file").touch()
    PinFile(tmp_path / "file" / "state").check()
    (says,) = log
    assert (
        f"state_dir {tmp_path}/file/state: {tmp_path}/file is not a directory: a restart of the agent forgets" in says
    )
