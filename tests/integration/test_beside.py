"""Beside the probe on real servers: the client port, a disk that stalls, heartbeats, and how far an SST has come."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from healthagent import process
from healthagent.facts import Snapshot
from healthagent.probe import Probe
from healthagent.session import Login, Watch
from lab import Galera, MariaDB, Pair, lab_dir, sql
from tests.binaries import need, need_own_root
from tests.integration.expect import measured
from tests.integration.tables import prepare_tables

T = TypeVar("T")

TIMEOUT_SECONDS = 0.8
INTERVAL_SECONDS = 0.1
CLIENT_PORT = Watch(client_port_seconds=1.0, disk=True)


def watched(login: Login, watch: Watch, reached: Callable[[Snapshot], T | None], *, within: float = 15) -> T:
    """Probes until a snapshot satisfies; what `reached` made of it."""

    async def work() -> T:
        probe = Probe(login, timeout_seconds=TIMEOUT_SECONDS, watch=watch)
        try:
            deadline = time.monotonic() + within
            while True:
                snapshot = await probe.sample()
                found = reached(snapshot)
                if found:
                    return found
                assert time.monotonic() < deadline, snapshot
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(probe.ended(), INTERVAL_SECONDS)
        finally:
            await probe.close()

    return asyncio.run(work())


def by_socket(server: MariaDB, *, user: str = "root", password: str = "") -> Login:
    return Login(user=user, password=password, socket=str(server.socket))


def by_tcp(server: MariaDB) -> Login:
    return Login(user="healthagent", password="secret", host=server.address, port=server.port)


def aborted(server: MariaDB) -> int:
    return sum(int(server.status(name) or 0) for name in ("Aborted_clients", "Aborted_connects"))


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    need("mariadbd")
    with MariaDB("beside", "127.0.0.8") as mariadb:
        mariadb.up()
        prepare_tables(mariadb)
        yield mariadb


# --- client port ----------------------------------------------------------------------------------------------------


def test_a_login_over_tcp_leaves_no_aborted_connection(server: MariaDB) -> None:
    before = aborted(server)
    seen: list[str] = []

    def often(snapshot: Snapshot) -> bool:
        port = snapshot.beside.client_port
        if port is not None and port.open:
            seen.append(f"{port.how} {port.address}")
        assert aborted(server) == before
        return len(seen) >= 25

    watched(by_tcp(server), CLIENT_PORT, often)
    assert set(seen) == {f"login {server.address}:{server.port}"}


def test_an_account_by_unix_socket_looks_whether_the_port_is_listened_on(server: MariaDB) -> None:
    before = int(server.status("Connections") or 0)
    found = watched(by_socket(server), CLIENT_PORT, lambda snapshot: snapshot.beside.client_port)
    assert (found.open, found.how, found.address) == (True, "listen", f"{server.address}:{server.port}")
    assert int(server.status("Connections") or 0) == before + 2, "ours, and the one that asks for the number"


def test_an_account_that_tcp_refuses_is_tried_once(server: MariaDB) -> None:
    server.execute("CREATE USER IF NOT EXISTS sock@localhost IDENTIFIED BY 'secret'")
    server.execute("GRANT SLAVE MONITOR ON *.* TO sock@localhost")  # else every look at the rows is a denied one
    denied = int(server.status("Access_denied_errors") or 0)
    looks: list[bool | None] = []

    def many(snapshot: Snapshot) -> bool:
        port = snapshot.beside.client_port
        if port is not None and port.how == "listen":
            looks.append(port.open)
        return len(looks) >= 25

    watched(by_socket(server, user="sock", password="secret"), CLIENT_PORT, many)
    assert set(looks) == {True}
    assert int(server.status("Access_denied_errors") or 0) == denied + 1


def test_a_server_without_networking_is_closed_to_clients() -> None:
    with MariaDB("mute", "127.0.0.9", options={"skip_networking": 1}) as mute:
        mute.up()
        found = watched(by_socket(mute), CLIENT_PORT, lambda snapshot: snapshot.beside.client_port)
        assert (found.open, found.message) == (False, "skip_networking is ON")


def test_a_full_server_is_not_a_closed_one() -> None:
    with MariaDB("full", "127.0.0.9", options={"max_connections": 10}) as full:
        full.up()
        watch = Watch(client_port_seconds=1.0)
        held: list[sql.Connection] = []

        def limited(snapshot: Snapshot) -> bool:
            if snapshot.failure is None and not held:  # the probe is in: now all the others take the rest
                held.extend(full.client() for _ in range(10))
            port = snapshot.beside.client_port
            return port is not None and port.code == 1040 and port.open is True

        try:
            assert watched(by_tcp(full), watch, limited)
        finally:
            for connection in held:
                connection.close()


def test_anybody_may_see_who_listens(server: MariaDB) -> None:
    """As an agent does that runs as a user of its own."""
    code = f"from healthagent.process import listens; print(listens({server.pid}, {server.port}, '{server.address}'))"
    root = Path(process.__file__).parents[1]
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c", code],
        env={"PYTHONPATH": str(root)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("this Python, or the source, is not for everybody to read")
    assert done.stdout == "True\n", done.stderr


# --- disk and writes ------------------------------------------------------------------------------------------------


def test_free_space_of_the_datadir(server: MariaDB) -> None:
    found = watched(by_socket(server), CLIENT_PORT, lambda snapshot: snapshot.beside.disk)
    assert found.total_bytes == os.statvfs(server.datadir).f_blocks * os.statvfs(server.datadir).f_frsize


def test_a_row_of_our_own_is_written_while_nobody_writes(server: MariaDB) -> None:
    watch = Watch(write_table="ops.alive")
    watched(by_socket(server), watch, lambda _: server.rows("SELECT * FROM ops.alive"))
    (row,) = server.rows("SELECT node, written_at FROM ops.alive")

    def again(snapshot: Snapshot) -> bool:
        assert snapshot.beside.write_probe is not None
        assert snapshot.beside.write_probe.error is None
        return bool(server.rows("SELECT written_at FROM ops.alive")[0]["written_at"] > row["written_at"])

    assert watched(by_socket(server), watch, again)


def test_the_grants_are_enough_for_both_rows(server: MariaDB) -> None:
    server.execute("TRUNCATE ops.alive")
    server.execute("TRUNCATE ops.beat")
    watch = Watch(write_table="ops.alive", heartbeat_table="ops.beat", heartbeat_write=True)
    scribe = by_socket(server, user="scribe", password="secret")

    def beats_twice(snapshot: Snapshot) -> bool:
        assert snapshot.beside.write_probe is not None
        assert snapshot.beside.write_probe.error is None
        moments.update(str(row["ts"]) for row in server.rows("SELECT ts FROM ops.beat"))
        return len(moments) >= 3 and bool(server.rows("SELECT * FROM ops.alive"))

    moments: set[str] = set()
    assert watched(scribe, watch, beats_twice)


def test_a_write_behind_a_global_lock_is_told(server: MariaDB) -> None:
    with server.client() as session:
        session.query("FLUSH TABLES WITH READ LOCK")
        watched(by_socket(server), Watch(write_table="ops.alive"), pending)


def pending(snapshot: Snapshot) -> bool:
    assert snapshot.failure is None, "all else answers"
    return snapshot.beside.write_probe is not None and snapshot.beside.write_probe.pending_since is not None


@contextlib.contextmanager
def on_a_filesystem_of_its_own(server: MariaDB) -> Iterator[Path]:
    """Its datadir on a loop device, which can be frozen."""
    need("mkfs.ext4", "losetup", "fsfreeze", "mount")
    need_own_root()
    image = lab_dir() / "image"
    subprocess.run(["truncate", "--size=400M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    server.prepare()
    place, copy = server.datadir, server.directory / "copy"
    place.rename(copy)
    place.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no loop device to be had: {mounted.stderr.strip()}")
    try:
        (place / "lost+found").rmdir()
        subprocess.run(["cp", "-a", f"{copy}/.", place], check=True)
        yield place
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], capture_output=True, check=False)
        server.close()
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_stalls_shows_in_the_write_probe_alone() -> None:
    """fsfreeze: SELECT, SHOW and connects go on, and only a write does not come back."""
    stalls = MariaDB("stalls", "127.0.0.9")
    with on_a_filesystem_of_its_own(stalls) as place:
        stalls.up()
        prepare_tables(stalls)
        watch = Watch(client_port_seconds=1.0, disk=True, write_table="ops.alive")
        watched(by_socket(stalls), watch, lambda _: stalls.rows("SELECT * FROM ops.alive"))
        subprocess.run(["fsfreeze", "--freeze", place], check=True)
        frozen_at = time.monotonic()
        try:
            watched(by_socket(stalls), watch, pending)
            measured(f"fsfreeze of the datadir -> write pending: {1000 * (time.monotonic() - frozen_at):.0f} ms")
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
        watched(by_socket(stalls), watch, lambda snapshot: snapshot.failure is None and not pending(snapshot))


# --- heartbeats -----------------------------------------------------------------------------------------------------


def test_heartbeats_of_a_primary_are_read_on_its_replica() -> None:
    need("mariadbd")
    with Pair() as pair:
        pair.start()
        prepare_tables(pair.primary)
        pair.wait_caught_up()
        write = Watch(heartbeat_table="ops.beat", heartbeat_write=True)
        watched(by_socket(pair.primary), write, lambda _: pair.primary.rows("SELECT * FROM ops.beat"))
        pair.wait_caught_up()
        pair.primary.execute("INSERT INTO ops.beat VALUES ('no time at all', 77)")
        pair.primary.execute("INSERT INTO ops.beat VALUES ('2999-01-01T00:00:00.000000', 78)")
        pair.wait_caught_up()

        beats = watched(by_socket(pair.replica), write, lambda snapshot: snapshot.heartbeats)
        ages = {beat.server_id: beat.age_seconds for beat in beats}
        assert set(ages) == {1, 78}, "the replica has written none"
        assert 0 <= ages[1] < 20
        assert ages[78] == 0.0
        on_primary = watched(by_socket(pair.primary), write, lambda snapshot: snapshot)
        assert (on_primary.failure, on_primary.heartbeats) == (None, None)


def test_a_heartbeat_table_that_is_locked_costs_nothing_but_its_rows() -> None:
    with Pair() as pair:
        pair.start()
        prepare_tables(pair.primary)
        pair.wait_caught_up()
        watch = Watch(heartbeat_table="ops.beat")
        with pair.replica.client() as session:
            session.query("LOCK TABLES ops.beat WRITE")
            found = watched(by_socket(pair.replica), watch, lambda snapshot: snapshot)
            assert (found.failure, found.heartbeats) == (None, None)
            assert found.replications
            assert found.duration_seconds < 2 * TIMEOUT_SECONDS
        found = watched(by_socket(pair.replica), watch, lambda snapshot: snapshot)
        assert found.heartbeats == ()


# --- state transfers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rsync", "mariabackup"])
def test_progress_of_a_joiner(method: str) -> None:
    need("mariadbd", "rsync", "mariabackup", "socat", "pv")
    with Galera(2) as cluster:
        cluster.start()
        cluster.load(32)
        donor, joiner = cluster.nodes
        login = Login(user="root", socket=str(joiner.socket), datadir=str(joiner.datadir))
        done: list[int] = []
        ends: list[float] = []

        def halfway(snapshot: Snapshot) -> bool:
            progress = snapshot.evidence.progress
            if progress is not None and progress.done_bytes is not None:
                assert progress.source == donor.address
                assert progress.started_at is not None
                assert progress.started_at < snapshot.ended_at
                done.append(progress.done_bytes)
                if progress.end_at is not None:
                    ends.append(progress.end_at - snapshot.ended_at)
            return len(set(done)) >= 8 and done[-1] > 30_000_000

        joiner.join_by_sst(method, donor=donor, kib_per_second=10_000)  # type: ignore[arg-type]
        watched(login, Watch(), halfway, within=60)
        assert done == sorted(done)
        # only the rsync joiner still has what it had before
        assert bool(ends) == (method == "rsync")
        told = f", about {ends[-1]:.1f} s to come" if ends else ""
        measured(f"{method} joiner: {done[-1] / 1e6:.1f} MB received{told}")
        donor.throttle_sst(None)
        joiner.wait_synced(90)
        assert watched(login, Watch(), lambda snapshot: snapshot).evidence.progress is None
