"""The tables of the write probe and of the heartbeats, as an administrator makes them."""

import subprocess
import sys

from lab import MariaDB, lab_dir

TABLES = """\
probe: {{write_table: ops.alive, heartbeat_table: ops.beat, heartbeat_write: true}}
mysql: {{user: scribe, password: secret, socket: {socket}}}
"""


def prepare_tables(server: MariaDB) -> None:
    """By the statements of `sql grants`: the tables, and the account `scribe` that may do with them what it must."""
    config = lab_dir() / "tables.yaml"
    config.write_text(TABLES.format(socket=server.socket))
    command = [sys.executable, "-m", "healthagent", "--config", str(config), "sql", "grants"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for statement in told.splitlines():
        server.execute(statement.rstrip(";").replace("<the password of your configuration, quoted>", "'secret'"))
