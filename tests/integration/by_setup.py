"""`healthagent setup` run on a server of the lab, and what it says."""

import os
import pwd
import re
import subprocess
import sys

from lab import MariaDB, lab_dir

# any user that the system knows: MariaDB asks the kernel who it is
USER = "nobody"
# everything is loaded before: the interpreter may be where only root looks
AS_SOMEBODY = """
import os, sys
import healthagent.cli, healthagent.setup
healthagent.cli.command_line().format_help()
os.setgroups([])
os.setuid(UID)
sys.exit(healthagent.cli.main(sys.argv[1:]))
"""


def setup(server: MariaDB, *arguments: str, by: str | None = None, more: str = "") -> tuple[int, list[str]]:
    """Exit status, and each step as `name: mark what`; what follows them (the table of probe) line by line."""
    lab_dir().chmod(0o755)  # the daemon's user has to reach the socket and the configuration
    config = lab_dir() / "setup.yaml"
    config.write_text(f"mysql: {{user: {USER}, socket: {server.socket}}}\n{more}")
    run = ["-m", "healthagent"] if by is None else ["-c", f"UID = {pwd.getpwnam(by).pw_uid}{AS_SOMEBODY}"]
    done = subprocess.run(
        [sys.executable, *run, "--config", str(config), "setup", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(lab_dir())},
    )
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout.splitlines()


def steps(lines: list[str], *names: str) -> list[tuple[str, ...]]:
    """(name, mark, text) of the steps of these names."""
    pattern = re.compile(r"(\w+) +(is there|would do|done|failed:|note) +(.*)")
    found = [match.groups() for match in map(pattern.fullmatch, lines) if match is not None]
    return [step for step in found if step[0] in names]


def marks(lines: list[str]) -> dict[str, str]:
    """account, grant, database and table, and how they stand; the last of a name counts."""
    return {name: mark for name, mark, _ in steps(lines, "account", "grant", "database", "table", "login")}


def accounts(server: MariaDB) -> int:
    return len(server.rows("SELECT 1 FROM mysql.user WHERE User = %s", [USER]))


def gtid(server: MariaDB) -> str | None:
    return server.variable("gtid_binlog_pos")
