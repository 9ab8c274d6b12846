"""keepalived-examples/replication-pair.conf beside a real primary and its replica, whose roles change."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import Agent, Cable, Keepalived, MariaDB, Pair, lab_dir, wait_until
from lab.keepalived import adapted
from lab.mariadb import PORT
from tests.binaries import need
from tests.integration.expect import measured

EXAMPLE = Path(__file__).parents[2] / "keepalived-examples" / "replication-pair.conf"
WRITER_VIP, READER_VIP = "10.0.0.100", "10.0.0.101"
ROLES = ("writer", "reader", "replica")


@pytest.fixture
def cable() -> Iterator[Cable]:
    need("keepalived")
    with Cable() as cable:
        yield cable.start()


def agent_of(server: MariaDB, track: Path) -> Agent:
    track.mkdir()
    files = [{"role": role, "path": str(track / f"{role}.alive"), "up": 1, "down": 0} for role in ROLES]
    return Agent.for_node(server, keepalived={"track_files": files})


def follow(server: MariaDB, source: MariaDB) -> None:
    server.execute(
        "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER='repl', MASTER_PASSWORD='repl',"
        " MASTER_USE_GTID=current_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1",
        [source.address, PORT],
    )
    server.execute("START SLAVE")


def test_both_addresses_follow_a_switchover(cable: Cable, pair: Pair) -> None:
    db1, db2 = cable.hosts
    with ExitStack() as stack:
        for number, (host, server) in enumerate(zip(cable.hosts, (pair.primary, pair.replica), strict=True), start=1):
            track = lab_dir() / f"pair-{number}"
            agent = stack.enter_context(agent_of(server, track)).start()
            paths = {
                "/run/healthagent-track": str(track),
                "/usr/bin/healthagent check": f"{sys.executable} -m healthagent check",
                "/run/healthagent/control.sock": str(agent.control_socket),
                "script_user healthagent": "script_user root",
            }
            text = adapted(EXAMPLE, paths)
            stack.enter_context(Keepalived("pair", host, text, identity=f"db{number}")).start()
        wait_until(lambda: db1.has(WRITER_VIP) and not db2.has(WRITER_VIP), 10, "writes go to the primary")
        wait_until(lambda: db2.has(READER_VIP) and not db1.has(READER_VIP), 10, "reads go to the replica")

        pair.primary.execute("SET GLOBAL read_only = ON")
        began = time.time()
        db1.changed(WRITER_VIP, came=False, since=began - 1)
        assert not db2.has(WRITER_VIP), "nobody is writable, so nobody has it"
        pair.replica.execute("STOP ALL SLAVES")
        pair.replica.execute("RESET SLAVE ALL")
        pair.replica.execute("SET GLOBAL read_only = OFF")
        came = db2.changed(WRITER_VIP, came=True, since=began)
        measured(f"keepalived: replication pair: the new primary has the writer's address {came - began:.1f} s after "
                 "the old one was read_only")  # fmt: skip
        assert db2.has(READER_VIP), "the only one that is up for reads"

        began = time.time()
        follow(pair.primary, pair.replica)
        db1.changed(READER_VIP, came=True, since=began)
        db2.changed(READER_VIP, came=False, since=began)
        assert db2.has(WRITER_VIP)
        pair.primary.execute("STOP SLAVE")
        db2.changed(READER_VIP, came=True, since=time.time() - 1)
        pair.primary.execute("RESET SLAVE ALL")
