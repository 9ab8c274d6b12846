"""A real server on a small filesystem of its own that fills up."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Agent, MariaDB, wait_until
from tests.binaries import need, need_own_root
from tests.integration.expect import expect, gate, measured, says, state

SIZE_MEGABYTES = 512
LEAST = {"writer": {"min_disk_free": "40%"}}


@pytest.fixture
def server() -> Iterator[MariaDB]:
    need("mariadbd", "mount")
    need_own_root()
    with MariaDB("small", "127.0.0.9") as mariadb:
        mariadb.prepare()
        place, copy = mariadb.datadir, mariadb.directory / "copy"
        place.rename(copy)
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MEGABYTES}M", "small", place], check=True)
        try:
            subprocess.run(["cp", "-a", "--sparse=always", f"{copy}/.", place], check=True)
            yield mariadb.up()
        finally:
            mariadb.close()
            subprocess.run(["umount", "--lazy", place], check=True)


def fill(file: Path, megabytes: int) -> None:
    subprocess.run(["fallocate", f"--length={megabytes}M", file], check=True)


def test_a_disk_that_fills_up_takes_no_writes(server: MariaDB) -> None:
    ballast = server.datadir / "ballast"
    with Agent.for_node(server, roles=LEAST) as agent:
        agent.start()
        expect(agent, any="200", writer="200", reader="200")
        disk = state(agent)["server"]["disk"]
        assert disk["total_bytes"] == SIZE_MEGABYTES << 20
        assert gate(agent, "writer", "disk")["value"] > 0.4
        fill(ballast, round(0.75 * disk["free_bytes"]) >> 20)
        took = expect(agent, any="200", writer="503 disk_space", reader="200", within=12)
        assert gate(agent, "writer", "disk")["value"] < 0.4
        ballast.unlink()
        back = expect(agent, any="200", writer="200", reader="200", within=12)
        measured(f"disk full -> writer 503: {took / 1000:.1f} s; free again -> 200: {back / 1000:.1f} s")


def test_the_first_answer_knows_the_disk(server: MariaDB) -> None:
    """An agent that is started anew, as by an upgrade, takes nobody out meanwhile."""
    for _ in range(5):
        with Agent.for_node(server, roles=LEAST) as agent:
            agent.start()
            first = wait_until(lambda: (said := says(agent, "writer")) != "503 starting" and said, 5, "an answer")
            assert first == "200"
