"""The nodes of `config haproxy` out of what a real agent knows, or a server without one."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.build import GALERA_ROWS
from tests.component.fake_mariadb import FakeMariaDB, serving
from tests.component.test_probers import running
from tests.component.test_service import Daemon, wait

MEMBERS = "10.0.0.12:3306,10.0.0.11:3307,"


async def config(directory: Path, *arguments: str) -> tuple[int | None, str]:
    """Exit status and what `healthagent config haproxy` says, on whichever of the two."""
    command = [sys.executable, "-m", "healthagent", "config", "haproxy", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(directory)},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert b"Traceback" not in said
    return process.returncode, said.decode()


def servers(text: str) -> list[str]:
    return re.findall(r"^    server (\S+ \S+)$", text, re.MULTILINE)


def test_from_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, rows=GALERA_ROWS | {"wsrep_incoming_addresses": MEMBERS}) as agent:
            alone, control = ["--config", str(tmp_path / "healthagent.yaml")], ["--socket", str(tmp_path / "control")]
            status, text = await config(tmp_path, *alone)
            assert (status, "no balancer beside 10.0.0.11 reaches 127.0.0.1" in text) == (2, True), text
            everywhere = tmp_path / "everywhere.yaml"
            everywhere.write_text(f"mysql: {{user: agent}}\ncontrol: {{socket: {tmp_path}/control}}\n")
            file = ["--config", str(everywhere)]
            status, text = await config(tmp_path, *file)
            assert status == 0, text
            assert servers(text)[-2:] == ["n1 10.0.0.11:3307", "n2 10.0.0.12:3306"]
            assert "# Nodes: the members of the cluster when this was printed; one that was away" in text
            assert (await config(tmp_path, *control, *file))[1] == text
            for rows, says in (
                ({"wsrep_incoming_addresses": "10.0.0.12:3306,AUTO"}, "has told it the address 'AUTO'"),
                ({"wsrep_incoming_addresses": ","}, "no member of the cluster has told it an address"),
                ({"wsrep_cluster_status": "non-Primary"}, "is not in the primary component"),
            ):
                agent.database.rows = GALERA_ROWS | {"wsrep_incoming_addresses": MEMBERS} | rows
                await agent.next_sample()
                status, text = await config(tmp_path, *control)
                assert (status, says in text, "--node" in text) == (2, True, True), text

    asyncio.run(main())


def test_from_the_server_where_no_agent_runs(tmp_path: Path) -> None:
    async def main() -> None:
        database = FakeMariaDB(GALERA_ROWS | {"wsrep_incoming_addresses": MEMBERS})
        async with serving(database) as port:
            file = tmp_path / "healthagent.yaml"
            file.write_text(
                f"mysql: {{user: agent, host: 127.0.0.1, port: {port}}}\ncontrol: {{socket: {tmp_path}/nobody}}\n"
            )
            status, text = await config(tmp_path, "--config", str(file))
            assert (status, servers(text)[-1]) == (0, "n2 10.0.0.12:3306")
            database.rows = {name: value for name, value in GALERA_ROWS.items() if not name.startswith("wsrep")}
            status, text = await config(tmp_path, "--config", str(file))
            assert status == 2
            assert f"no nodes are known, the server behind 127.0.0.1:{port} is in no Galera cluster" in text

    asyncio.run(main())


def test_from_an_agent_that_has_not_seen_its_server(tmp_path: Path) -> None:
    """It does not know whether that is a member of a cluster."""
    daemon = Daemon(tmp_path)
    daemon.configure()
    daemon.start()
    try:
        wait(lambda: daemon.get("/any")[1] == "down", "the first sample")
        status, text = asyncio.run(config(tmp_path, "--config", str(daemon.file)))
    finally:
        daemon.stop()
    assert (status, text.count("\n")) == (2, 1)
    assert f"the agent behind {daemon.control} has not seen its server yet (state down): see to that, or put" in text
    assert "Galera cluster" not in text


@pytest.mark.parametrize(
    "said",
    [b"", b"220 mail\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b'HTTP/1.1 200 OK\r\n\r\n{"galera": 1}'],
)
def test_something_else_at_the_control_socket(said: bytes, tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async def main() -> None:
        async with serving(script, tmp_path / "control"):
            status, text = await config(tmp_path, "--socket", str(tmp_path / "control"))
            assert (status, len(text.splitlines())) == (3, 1)
            assert "is no agent" in text

    asyncio.run(main())
