"""`healthagent setup` on real servers: what it says, what --apply does, and that a second run does nothing."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import MariaDB, Pair, lab_dir
from tests.binaries import need
from tests.integration.by_setup import USER, accounts, gtid, marks, setup, steps


@pytest.fixture(scope="module")
def standalone() -> Iterator[MariaDB]:
    need("mariadbd")
    with MariaDB("setup", "127.0.0.9") as server:
        yield server.up()


@pytest.fixture
def without(standalone: MariaDB) -> MariaDB:
    """The server, and nothing of an earlier test."""
    standalone.execute(f"DROP USER IF EXISTS {USER}@localhost")
    standalone.execute("DROP DATABASE IF EXISTS ops")
    standalone.execute("SET GLOBAL read_only = OFF")
    return standalone


def test_it_changes_nothing_and_says_what_it_would_do(without: MariaDB) -> None:
    status, lines = setup(without)
    assert steps(lines, "user", "server", "account", "grant") == [
        ("user", "is there", USER),
        ("server", "is there", f"{without.socket}, standalone"),
        (
            "account",
            "would do",
            f"CREATE USER IF NOT EXISTS `{USER}`@`localhost` IDENTIFIED VIA unix_socket WITH MAX_USER_CONNECTIONS 5",
        ),
        ("grant", "would do", f"GRANT SLAVE MONITOR ON *.* TO `{USER}`@`localhost`"),
    ]
    assert "state standalone" in lines
    assert any(line.startswith("OK any weight=") for line in lines)
    assert lines[-1] == "nothing was changed: `healthagent setup --apply` does it"
    assert (status, accounts(without)) == (0, 0)


def test_apply_does_it_once(without: MariaDB) -> None:
    tables = "probe: {write_table: ops.alive, heartbeat_table: ops.heartbeat}\n"
    status, lines = setup(without, "--apply", more=tables)
    assert marks(lines) == {
        "account": "done",
        "database": "is there",  # of the second table: it is in that of the first one
        "table": "done",
        "grant": "done",
        "login": "is there",
    }
    assert status == 0
    shown = [next(iter(row.values())) for row in without.rows(f"SHOW GRANTS FOR {USER}@localhost")]
    assert [grant.partition(" TO ")[0] for grant in shown] == [
        "GRANT SLAVE MONITOR ON *.*",
        "GRANT SELECT, INSERT, UPDATE ON `ops`.`alive`",
        "GRANT SELECT ON `ops`.`heartbeat`",
    ]
    assert steps(lines, "login") == [("login", "is there", f"`{USER}`@`localhost`, standalone")]

    before = without.status("Com_create_user")
    status, lines = setup(without, "--apply", more=tables)
    assert status == 0
    assert set(marks(lines).values()) == {"is there"}
    assert without.status("Com_create_user") == before
    assert lines[-1] != "nothing was changed: `healthagent setup --apply` does it"


def test_a_right_that_is_missing_is_given(without: MariaDB) -> None:
    without.execute(f"CREATE USER {USER}@localhost IDENTIFIED VIA unix_socket")
    status, lines = setup(without, "--apply")
    assert (status, marks(lines)) == (0, {"account": "is there", "grant": "done", "login": "is there"})


def test_an_account_that_logs_in_otherwise_is_left_alone(without: MariaDB) -> None:
    without.execute(f"CREATE USER {USER}@localhost IDENTIFIED BY 'secret'")
    status, lines = setup(without, "--apply")
    (_, mark, says), *_ = steps(lines, "account")
    assert (status, mark) == (1, "failed:")
    assert f"ALTER USER `{USER}`@`localhost` IDENTIFIED VIA unix_socket" in says
    (row,) = without.rows("SELECT plugin FROM mysql.user WHERE user = %s", [USER])
    assert row["plugin"] == "mysql_native_password"


def by_tcp(server: MariaDB, home: Path, password: str) -> tuple[int, list[str]]:
    """`setup --apply` for an account over TCP; root's option file says where its own login goes."""
    config = lab_dir() / "by_tcp.yaml"
    config.write_text(f"mysql: {{user: {USER}, host: {server.address}{password}}}\n")
    (home / ".my.cnf").write_text(f"[client]\nsocket = {server.socket}\n")
    done = subprocess.run(
        [sys.executable, "-m", "healthagent", "--config", str(config), "setup", "--apply"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home)},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_password_of_the_configuration_is_the_account_s_and_never_shown(without: MariaDB, tmp_path: Path) -> None:
    password = lab_dir() / "password"
    password.write_text("it's \\secret\n")
    password.chmod(0o600)
    os.chown(password, pwd.getpwnam(USER).pw_uid, -1)
    try:
        status, lines = by_tcp(without, tmp_path, f", password_file: {password}")
        assert (status, marks(lines)) == (0, {"account": "done", "grant": "done", "login": "is there"})
        assert not any("secret" in line for line in lines)
    finally:
        without.execute(f"DROP USER IF EXISTS {USER}@127.0.0.1")


def test_an_account_without_a_password_is_none(without: MariaDB, tmp_path: Path) -> None:
    status, lines = by_tcp(without, tmp_path, "")
    assert (status, marks(lines), accounts(without)) == (1, {"account": "failed:", "grant": "failed:"}, 0)
    assert "no password is known" in steps(lines, "account")[0][2]


def test_a_server_of_another_port_is_left_alone(without: MariaDB, tmp_path: Path) -> None:
    """Root's socket leads to this one, and the configuration means one that is not there."""
    status, lines = by_tcp(without, tmp_path, ", port: 3999, password: secret")
    (_, mark, says), *_ = steps(lines, "server")
    assert (status, mark, accounts(without)) == (1, "failed:", 0)
    assert "that server's port is 3306, and the configuration means " in says
    assert marks(lines) == {}


def test_a_password_that_only_systemd_knows_is_no_failure(without: MariaDB, tmp_path: Path) -> None:
    without.execute(f"CREATE USER {USER}@127.0.0.1 IDENTIFIED BY 'of a credential'")
    without.execute(f"GRANT SLAVE MONITOR ON *.* TO {USER}@127.0.0.1")
    try:
        status, lines = by_tcp(without, tmp_path, "")
        assert (status, marks(lines)) == (0, {"account": "is there", "grant": "is there", "login": "note"})
        status, lines = by_tcp(without, tmp_path, ", password: wrong")
        assert (status, marks(lines)["login"]) == (1, "failed:")
    finally:
        without.execute(f"DROP USER {USER}@127.0.0.1")


def test_read_only_is_respected(without: MariaDB) -> None:
    without.execute("SET GLOBAL read_only = ON")
    status, lines = setup(without, "--apply")
    assert (status, marks(lines), accounts(without)) == (1, {"account": "failed:", "grant": "failed:"}, 0)


def test_who_may_not_is_told(without: MariaDB) -> None:
    status, lines = setup(without, by=USER)
    assert status == 1
    (_, mark, says), *_ = steps(lines, "server")
    assert mark == "failed:"
    assert f"as {USER}: " in says
    assert "run it as root" in says

    status, lines = setup(without, "--apply", by=USER)
    assert (status, lines) == (
        1,
        ["healthagent: setup --apply: only root may create the account and enable the service"],
    )


def test_a_replica_gets_its_account_from_the_primary(pair: Pair) -> None:
    before = gtid(pair.replica)
    for arguments in ([], ["--apply"]):
        status, lines = setup(pair.replica, *arguments)
        assert (status, marks(lines)) == (1, {"account": "failed:", "grant": "failed:"})
        assert "run it on the primary" in steps(lines, "account")[0][2]
    assert (accounts(pair.replica), gtid(pair.replica)) == (0, before)

    status, lines = setup(pair.primary, "--apply")
    assert (status, marks(lines)) == (0, {"account": "done", "grant": "done", "login": "is there"})
    wanted = pair.primary.variable("gtid_current_pos")
    assert pair.replica.rows("SELECT MASTER_GTID_WAIT(%s, 10) AS late", [wanted]) == [{"late": 0}]
    status, lines = setup(pair.replica, "--apply")
    assert (status, set(marks(lines).values())) == (0, {"is there"})
