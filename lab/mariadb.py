"""A real MariaDB server as a plain process, made from a datadir template that is built once per LAB_DIR."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lab import sql
from lab.process import LabError, Process, lab_dir, tail
from lab.tree import in_tree

SERVER = "/usr/sbin/mariadbd"
PORT = 3306
SOCKET_PATH_LIMIT = 100  # of 107 that the kernel allows
START_TIMEOUT = 60
SQL_TIMEOUT = 30
LOAD_CHUNK = 8  # megabytes a statement: one write set

Option = str | int | None  # None: the bare name

# As small and as fast as a server can be whose data nobody needs: 100 MB of memory, started in 0.3 s.
SMALL: Mapping[str, Option] = {
    "innodb_buffer_pool_size": "48M",
    "innodb_log_file_size": "16M",
    "innodb_flush_log_at_trx_commit": 2,
    "innodb_doublewrite": 0,
    "innodb_use_native_aio": 0,
    "aria_pagecache_buffer_size": "2M",
    "performance_schema": "OFF",
    "max_allowed_packet": "64M",
}

# One statement a line: that is how --bootstrap reads. It starts without grant tables, hence the FLUSH.
# `healthagent`@`127.%` is for TCP: with skip_name_resolve an account @`localhost` is found by the Unix socket only.
# Without it a client from 127.0.0.1 is `localhost`, and the pattern matches its address still.
ACCOUNTS_AND_DATA = """\
FLUSH PRIVILEGES;
CREATE USER healthagent@'127.%' IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 5;
GRANT SLAVE MONITOR ON *.* TO healthagent@'127.%';
CREATE DATABASE shop;
CREATE USER app@'%' IDENTIFIED BY 'app';
GRANT ALL ON shop.* TO app@'%';
CREATE USER repl@'%' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl@'%';
CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, client INT, seq BIGINT, UNIQUE (client, seq));
CREATE TABLE shop.ballast (id BIGINT AUTO_INCREMENT PRIMARY KEY, payload LONGBLOB);
"""


def copy_datadir(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=auto", source, target], check=True)


def render_config(sections: Mapping[str, Mapping[str, Option]]) -> str:
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [name if value is None else f"{name} = {value}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def template() -> Path:
    """The datadir that every server starts as a copy of; it appears under its name only when it is complete."""
    done = lab_dir() / "template"
    if not done.exists():
        building = done.with_suffix(".building")
        shutil.rmtree(building, ignore_errors=True)
        _install(building)
        building.rename(done)
    return done


def _install(datadir: Path) -> None:
    config = datadir.with_suffix(".cnf")
    config.write_text(render_config({"mysqld": {**SMALL, "user": "root", "datadir": str(datadir)}}))
    log = datadir.with_suffix(".log")
    install = ["mariadb-install-db", f"--defaults-file={config}", "--auth-root-authentication-method=socket"]
    # --force: a bare container may not be able to look up its own name, which nothing here needs
    install += ["--auth-root-socket-user=root", "--skip-test-db", "--skip-name-resolve", "--force"]
    bootstrap = [SERVER, f"--defaults-file={config}", "--bootstrap"]
    with log.open("wb") as output:
        for argv, stdin in ((install, ""), (bootstrap, ACCOUNTS_AND_DATA)):
            done = subprocess.run(
                in_tree(*argv), input=stdin.encode(), stdout=output, stderr=subprocess.STDOUT, check=False
            )
            if done.returncode:
                raise LabError(f"{argv[0]} ended with {done.returncode}\n{tail(log)}")


class MariaDB(Process):
    """A server on an address of its own (127.0.0.N); its directory is LAB_DIR/NAME."""

    def __init__(self, name: str, address: str = "127.0.0.1", *, options: Mapping[str, Option] | None = None) -> None:
        self.name = name
        self.address = address
        self.port = PORT
        self.directory = lab_dir() / name
        self.datadir = self.directory / "data"
        self.socket = self.directory / "sock"
        self.config = self.directory / "my.cnf"
        self.sections: dict[str, dict[str, Option]] = {"mysqld": {**self._own_options(), **(options or {})}}
        if len(os.fsencode(self.socket)) >= SOCKET_PATH_LIMIT:
            raise LabError(f"the socket's path is too long, choose a shorter TMPDIR: {self.socket}")
        # The datadir stands on the command line too: that is where an agent looks for its server's process.
        argv = in_tree(SERVER, f"--defaults-file={self.config}", f"--datadir={self.datadir}", "--user=root")
        super().__init__(argv, log=self.directory / "log", env=self._own_environment())

    def _own_options(self) -> dict[str, Option]:
        return {
            **SMALL,
            "user": "root",
            "datadir": str(self.datadir),
            "socket": str(self.socket),
            "pid_file": str(self.directory / "pid"),
            "bind_address": self.address,
            "port": self.port,
            "report_host": self.name,  # so that a client behind a balancer can ask who answers
            "skip_name_resolve": 1,  # no network here, so no resolver
        }

    def _own_environment(self) -> dict[str, str]:
        return {}

    def prepare(self, source: Path | None = None) -> None:
        """Makes the directory anew: a copy of the template, nothing of an earlier life."""
        if self.alive:
            raise LabError(f"{self!r} runs")
        source = source or template()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        copy_datadir(source, self.datadir)

    def configure(self, section: str = "mysqld", **options: Option) -> None:
        """Settings for the next start (or for the next run of a script that reads the section)."""
        self.sections.setdefault(section, {}).update(options)
        self.config.write_text(render_config(self.sections))

    def start(self, *arguments: str) -> Self:
        """Starts the process and returns at once: see wait_ready()."""
        if not self.datadir.exists():
            self.prepare()
        self.configure()
        return super().start(*arguments)

    def up(self, *arguments: str) -> Self:
        """start() and wait_ready()."""
        self.start(*arguments)
        self.wait_ready()
        return self

    def close(self) -> None:
        """Nobody needs the data any more: no clean shutdown."""
        if self.alive:
            self.kill()
        self._kill_children()

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        self.wait_until(self.answers, timeout, "answers SQL")

    def answers(self) -> bool:
        """Whether a new connection gets in, this instant."""
        try:
            return bool(self.rows("SELECT 1", timeout=2))
        except sql.Error:
            return False

    def client(self, *, timeout: float = SQL_TIMEOUT) -> sql.Connection:
        """A connection of its own as root, for what needs a session: locks, SET SESSION, transactions."""
        return sql.connect(user="root", unix_socket=str(self.socket), timeout=timeout)

    def execute(self, statement: str, args: Sequence[object] | None = None, *, timeout: float = SQL_TIMEOUT) -> int:
        """Runs it on a new connection; the number of affected rows."""
        with self.client(timeout=timeout) as connection:
            return sql.execute(connection, statement, args)

    def rows(
        self, statement: str, args: Sequence[object] | None = None, *, timeout: float = SQL_TIMEOUT
    ) -> list[sql.Row]:
        with self.client(timeout=timeout) as connection:
            return sql.rows(connection, statement, args)

    def status(self, name: str) -> str | None:
        """One line of SHOW GLOBAL STATUS; None when this server does not have it."""
        return self._shown("STATUS", name)

    def variable(self, name: str) -> str | None:
        """One line of SHOW GLOBAL VARIABLES; None when this server does not have it."""
        return self._shown("VARIABLES", name)

    def _shown(self, what: str, name: str) -> str | None:
        found = self.rows(f"SHOW GLOBAL {what} WHERE Variable_name = %s", [name], timeout=5)
        return str(found[0]["Value"]) if found else None

    def load(self, megabytes: int) -> None:
        """Ballast, so that a copy of the data takes its time. (The sequence engine makes the rows.)"""
        for done in range(0, megabytes, LOAD_CHUNK):
            count = min(LOAD_CHUNK, megabytes - done)
            self.execute(f"INSERT INTO shop.ballast (payload) SELECT REPEAT('x', 1048576) FROM shop.seq_1_to_{count}")
