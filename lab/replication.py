"""A real primary and its real replica: asynchronous, GTID."""

from collections.abc import Mapping
from typing import Self

from lab import sql
from lab.mariadb import PORT, MariaDB, Option
from lab.process import Closing, wait_until

HEARTBEAT_SECONDS = 1
# After so long without an event or a heartbeat the replica gives a connection up; until then it says that all is well.
SLAVE_NET_TIMEOUT_SECONDS = 10


class Pair(Closing):
    """The primary on 127.0.0.1, the replica on 127.0.0.2 (read_only), or on other addresses beside a cluster."""

    def __init__(
        self,
        *,
        options: Mapping[str, Option] | None = None,
        addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.2"),
    ) -> None:
        primary, replica = addresses
        self.primary = MariaDB("primary", primary, options={**_options(1), **(options or {})})
        self.replica = MariaDB("replica", replica, options={**_options(2), "read_only": 1, **(options or {})})

    def start(self) -> Self:
        """Both up, both threads running, nothing to catch up with."""
        for server in (self.primary, self.replica):
            server.prepare()
            server.start()
        for server in (self.primary, self.replica):
            server.wait_ready()
        self.follow()
        return self

    def follow(self) -> None:
        """(Re)starts replication from where the replica stands."""
        self.replica.execute("STOP ALL SLAVES")
        self.channel("", self.primary)
        self.wait_running()

    def channel(self, name: str, source: MariaDB) -> None:
        """Starts a connection of that name to a source, beside those that there are. Returns at once."""
        self.replica.execute(
            f"CHANGE MASTER '{name}' TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER='repl', MASTER_PASSWORD='repl',"
            " MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=%s",
            [source.address, PORT, HEARTBEAT_SECONDS],
        )
        self.replica.execute(f"START SLAVE '{name}'")

    def forget(self, *names: str) -> None:
        """These connections are gone, as if they had never been made."""
        for name in names:
            self.replica.execute(f"STOP SLAVE '{name}'")
            self.replica.execute(f"RESET SLAVE '{name}' ALL")

    @property
    def slave(self) -> sql.Row:
        """The one row of SHOW ALL SLAVES STATUS; {} when there is none."""
        return next(iter(self.replica.rows("SHOW ALL SLAVES STATUS")), {})

    def wait_running(self, timeout: float = 30) -> None:
        def running() -> bool:
            slave = self.slave
            return slave.get("Slave_IO_Running") == slave.get("Slave_SQL_Running") == "Yes"

        wait_until(running, timeout, "both replication threads run", logs=[self.replica.log])

    def wait_caught_up(self, timeout: float = 30) -> None:
        """The replica has applied all that the primary has committed by now."""
        target = self.primary.rows("SELECT @@gtid_binlog_pos AS position")[0]["position"]
        waited = self.replica.rows("SELECT MASTER_GTID_WAIT(%s, %s) AS code", [target, timeout], timeout=timeout + 5)
        if waited[0]["code"] != 0:
            wait_until(lambda: False, 0, f"the replica reaches {target}", logs=[self.replica.log])

    def break_sql(self) -> None:
        """A row on the replica that the primary's next one collides with: the SQL thread stops with errno 1062."""
        row = "INSERT INTO shop.orders (id, client, seq) VALUES (1000000, -1, 1)"
        with self.replica.client() as session:
            # Not a transaction of the replica's own: its binary log, and so its GTID position, stay as they were.
            sql.execute(session, "SET SESSION sql_log_bin = 0")
            sql.execute(session, row)
        self.primary.execute(row)
        wait_until(lambda: self.slave["Last_SQL_Errno"], 10, "an SQL error", logs=[self.replica.log])

    def repair_sql(self) -> None:
        """Takes back what break_sql() did."""
        with self.replica.client() as session:
            sql.execute(session, "SET SESSION sql_log_bin = 0")
            sql.execute(session, "DELETE FROM shop.orders WHERE id = 1000000")
        self.replica.execute("START SLAVE")
        self.wait_running()

    def delay(self, seconds: int) -> None:
        """MASTER_DELAY; only a wholly stopped replica takes it."""
        self.replica.execute("STOP SLAVE")
        self.replica.execute("CHANGE MASTER TO MASTER_DELAY=%s", [seconds])
        self.replica.execute("START SLAVE")
        self.wait_running()

    def close(self) -> None:
        self.replica.close()
        self.primary.close()


def _options(server_id: int) -> dict[str, Option]:
    return {
        "server_id": server_id,
        "log_bin": "binlog",
        "log_slave_updates": "ON",
        "gtid_strict_mode": "ON",
        "slave_net_timeout": SLAVE_NET_TIMEOUT_SECONDS,
    }
