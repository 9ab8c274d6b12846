"""How far a state transfer has come: a number that never falls, an end that is only told where a total is known."""

from pathlib import Path

import pytest

from healthagent.diag import Connection
from healthagent.transfer import Receiving, endpoint, rsync_bytes

HERE, THERE = "10.0.0.12", "10.0.0.11"


def connection(port: int, received_bytes: int, *, local: str = HERE, inode: int = 1) -> Connection:
    return Connection(local=local, remote=THERE, remote_port=port, inode=inode, received_bytes=received_bytes)


def receiving(total_bytes: int | None = None) -> Receiving:
    return Receiving(started_at=100.0, host=HERE, total_bytes=total_bytes)


def test_nothing_has_come_yet() -> None:
    found = receiving().progress(101.0)
    assert (found.source, found.done_bytes, found.started_at, found.end_at) == (None, None, 100.0, None)


def test_connections_one_after_the_other_add_up() -> None:
    transfer = receiving()
    transfer.add([connection(5001, 300)], 101.0)
    transfer.add([connection(5001, 900), connection(5002, 50, inode=2)], 102.0)
    transfer.add([connection(5003, 7, inode=3)], 103.0)
    transfer.add([], 104.0)
    found = transfer.progress(104.0)
    assert (found.source, found.done_bytes, found.end_at) == (THERE, 957, None)


def test_it_never_falls() -> None:
    transfer = receiving()
    transfer.add([connection(5001, 900)], 101.0)
    transfer.add([connection(5001, 0)], 102.0)
    assert transfer.progress(102.0).done_bytes == 900


def test_a_reused_port_is_another_connection() -> None:
    transfer = receiving()
    transfer.add([connection(5001, 900)], 101.0)
    transfer.add([connection(5001, 100, inode=9)], 102.0)
    assert transfer.progress(102.0).done_bytes == 1000


def test_another_node_at_the_same_port_is_not_counted() -> None:
    transfer = receiving()
    transfer.add([connection(5001, 900), connection(5002, 5, local="10.0.0.13")], 101.0)
    assert transfer.progress(102.0).done_bytes == 900


def test_behind_a_nat_whatever_comes_counts() -> None:
    transfer = Receiving(started_at=100.0, host="203.0.113.5", total_bytes=None)
    transfer.add([connection(5001, 900)], 101.0)
    assert transfer.progress(102.0).done_bytes == 900


def test_the_end_by_the_rate_so_far() -> None:
    transfer = receiving(9000)
    transfer.add([connection(5001, 1000)], 110.0)
    assert transfer.progress(111.0).end_at is None, "too early to tell"
    transfer.add([connection(5001, 3000)], 114.0)
    assert transfer.progress(114.0).end_at == pytest.approx(126.0)


def test_a_total_that_was_too_little_was_none() -> None:
    transfer = receiving(9000)
    transfer.add([connection(5001, 0)], 110.0)
    transfer.add([connection(5001, 10_000)], 114.0)
    found = transfer.progress(114.0)
    assert (found.done_bytes, found.total_bytes, found.end_at) == (10_000, None, None)


def test_what_rsync_will_send(tmp_path: Path) -> None:
    for name, size in {"ibdata1": 100, "galera.cache": 5000, "ib_logfile0": 10, "shop/orders.ibd": 1000}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert rsync_bytes(str(tmp_path)) == 1110
    assert rsync_bytes(str(tmp_path / "none")) is None
    (tmp_path / "empty").mkdir()
    assert rsync_bytes(str(tmp_path / "empty")) is None, "a node that has never had any data"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.2:4444", ("127.0.0.2", 4444)),
        ("10.0.0.1:14599/rsync_sst", ("10.0.0.1", 14599)),
        ("10.0.0.1", ("10.0.0.1", 4444)),
        ("[fd00::1]:4567/xtrabackup_sst//1", ("fd00::1", 4567)),
        ("[fd00::1]", ("fd00::1", 4444)),
        ("n2:secret@10.0.0.1:4445/x", ("10.0.0.1", 4445)),
        ("10.0.0.1:nonsense", ("10.0.0.1", 4444)),
        ("", (None, 4444)),
        (None, (None, 4444)),
    ],
)
def test_endpoint(address: str | None, expected: tuple[str | None, int]) -> None:
    assert endpoint(address) == expected
