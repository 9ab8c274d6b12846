"""What was once a Galera node is remembered as one."""

from dataclasses import replace
from pathlib import Path

import pytest

from healthagent.model import Snapshot, Topology
from healthagent.pin import Pin
from tests.build import POLICY, PRIMARY, SYNCED, galera


def pinned(directory: Path) -> bool:
    return Pin(directory).apply(POLICY).galera_pinned


def test_a_new_node_is_nothing_yet(tmp_path: Path) -> None:
    assert not pinned(tmp_path / "not" / "there")


def test_a_member_is_remembered_across_restarts(tmp_path: Path) -> None:
    assert Pin(tmp_path / "state").remember(SYNCED)
    assert pinned(tmp_path / "state")


@pytest.mark.parametrize("what", [galera(cluster_status="non-Primary"), galera(on=0), galera(local_state="1")])
def test_so_is_a_node_that_was_never_seen_healthy(tmp_path: Path, what: Snapshot) -> None:
    assert Pin(tmp_path).remember(what)
    assert pinned(tmp_path)


def test_a_server_without_a_provider_is_not(tmp_path: Path) -> None:
    assert not Pin(tmp_path).remember(PRIMARY)
    assert not pinned(tmp_path)


def test_a_pin_stays_when_the_node_is_no_member_any_more(tmp_path: Path) -> None:
    pin = Pin(tmp_path)
    pin.remember(SYNCED)

    assert pin.remember(PRIMARY)


def test_an_explicit_topology_overrides_it(tmp_path: Path) -> None:
    pin = Pin(tmp_path)
    pin.remember(SYNCED)

    assert not pin.apply(replace(POLICY, topology=Topology.ASYNC)).galera_pinned


@pytest.mark.parametrize("content", ["", "{", "\x00", "nonsense", "null", "[]", "1"])
def test_what_cannot_be_read_is_taken_for_a_pin(tmp_path: Path, content: str) -> None:
    (tmp_path / "topology.json").write_text(content)

    assert pinned(tmp_path)


def test_without_a_place_to_write_it_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pin = Pin(tmp_path / "file" / "state")

    assert pin.remember(SYNCED)
    assert pin.apply(POLICY).galera_pinned
