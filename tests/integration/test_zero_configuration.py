"""Without a configuration file, on a database node: the server's own socket, unix_socket login, the default places."""

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import MariaDB, Process, lab_dir
from lab.agent import UnixConnection
from tests.binaries import need

# /run and /var/lib of its own, so that the default places are there, empty, and gone afterwards
PLACES = (
    "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /run/mysqld"
    ' && ln -s "$1" /run/mysqld/mysqld.sock && shift && exec "$@"'
)


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    need("mariadbd", "unshare", "mount")
    with MariaDB("zero", "127.0.0.1") as mariadb:
        yield mariadb.up()


# the server has just been started: its weight is on the way to 100
WARMING_UP = re.compile(r"200 OK writer weight=\d+ state=standalone\n")


def command(server: MariaDB, *arguments: str) -> list[str]:
    agent = [sys.executable, "-m", "healthagent", *arguments]
    return ["unshare", "--mount", "sh", "-c", PLACES, "sh", str(server.socket), *agent]


def test_serve(server: MariaDB, tmp_path: Path) -> None:
    with Process(command(server, "serve"), log=lab_dir() / "zero-agent.log", env={"HOME": str(tmp_path)}) as agent:
        agent.start()
        agent.wait_until(lambda: WARMING_UP.fullmatch(answer()), 15, "/writer is up")
        by_socket = UnixConnection(Path(f"/proc/{agent.pid}/root/run/healthagent/control.sock"), 5)
        by_socket.request("GET", "/any")
        assert by_socket.getresponse().status == 200
        assert agent.stop() == 0


def answer() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", 9200, timeout=5)
    try:
        connection.request("GET", "/writer")
        response = connection.getresponse()
        return f"{response.status} {response.read().decode()}"
    except OSError:
        return ""
    finally:
        connection.close()


def test_an_option_file_at_home_is_taken(server: MariaDB, tmp_path: Path) -> None:
    (tmp_path / ".my.cnf").write_text(
        f"[client]\nuser = healthagent\npassword = secret\nhost = {server.address}\nport = {server.port}\n"
    )
    done = subprocess.run(
        command(server, "probe"),
        env={"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"state standalone\nOK any weight=\d+ state=standalone\n", done.stdout)


def test_the_grants_are_all_that_it_needs(server: MariaDB, tmp_path: Path) -> None:
    """`sql grants`, piped into the server, and that account's own login over its socket as that system user."""
    config = lab_dir() / "grants.yaml"
    config.write_text(f"mysql: {{user: nobody, socket: {server.socket}}}\nstate_dir: {tmp_path}\n")
    grants = subprocess.run(
        [sys.executable, "-m", "healthagent", "--config", str(config), "sql", "grants"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for statement in filter(None, grants.split(";\n")):
        server.execute(statement)
    shown = [next(iter(row.values())) for row in server.rows("SHOW GRANTS FOR nobody@localhost")]
    assert len(shown) == 1
    assert "GRANT SLAVE MONITOR ON *.* TO `nobody`@`localhost`" in shown[0]
    assert server.rows("SELECT plugin FROM mysql.user WHERE user = 'nobody'") == [{"plugin": "unix_socket"}]
