"""The conditions of asynchronous replication, on a real primary, a second one and their replica."""

from collections.abc import Callable
from contextlib import ExitStack

from lab import MariaDB, Pair, Writer, sql
from lab.mariadb import Option
from lab.replication import HEARTBEAT_SECONDS
from tests.recorder.scene import LASTS_SECONDS, Scene, Stage, beside, session

__all__ = ["CONDITIONS", "Replicating"]

SECOND = "second"


class Replicating(Stage):
    """A primary and its replica."""

    def __init__(self) -> None:
        self.pair = Pair()

    @property
    def target(self) -> MariaDB:
        return self.pair.replica

    @property
    def primary(self) -> MariaDB:
        return self.pair.primary

    def build(self) -> None:
        self.pair = Pair()
        self.pair.start()

    def heal(self) -> None:
        for server in (self.primary, self.target):
            if not server.alive:
                server.up()
            server.thaw()
        self.pair.follow()
        self.pair.wait_caught_up()

    def close(self) -> None:
        self.pair.close()


Condition = Callable[[Replicating, Scene, ExitStack], None]
CONDITIONS: dict[str, Condition] = {}


def condition(does: Condition) -> Condition:
    CONDITIONS[does.__name__] = does
    return does


@condition
def replicating(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    after.enter_context(Writer(stage.primary.address, interval=0.1))
    scene.watch(LASTS_SECONDS)


@condition
def link_fresh(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """Nobody writes: only heartbeats come."""
    scene.watch(LASTS_SECONDS)


@condition
def io_stopped(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    scene.before()
    stage.target.execute("STOP SLAVE IO_THREAD")
    scene.take(wanted=lambda sample: sample.slave("Slave_IO_Running") == "No")


@condition
def sql_stopped(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    scene.before()
    stage.target.execute("STOP SLAVE SQL_THREAD")
    scene.take(wanted=lambda sample: sample.slave("Slave_SQL_Running") == "No")


@condition
def sql_error(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    scene.before()
    after.callback(stage.pair.repair_sql)
    stage.pair.break_sql()
    scene.take(wanted=lambda sample: sample.slave("Last_SQL_Errno"))


@condition
def apply_blocked(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """The SQL thread waits for a lock: both threads say Yes, and the lag grows."""
    scene.before()
    session(stage.target, after, "LOCK TABLES shop.orders WRITE")
    stage.primary.execute("INSERT INTO shop.orders (client, seq) VALUES (11, 1)")
    scene.watch(LASTS_SECONDS)


@condition
def delayed(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    after.callback(stage.pair.delay, 0)
    stage.pair.delay(5)
    after.enter_context(Writer(stage.primary.address, client=2, interval=0.1))
    scene.watch(LASTS_SECONDS)


@condition
def slow_transaction(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """4 s on the primary, and the replica repeats them: no lag to be seen until it has begun."""
    scene.before()

    def write() -> None:
        with stage.primary.client(timeout=30) as mine:
            sql.execute(mine, "SET SESSION binlog_format = 'STATEMENT'")
            sql.execute(mine, "INSERT INTO shop.orders (client, seq) VALUES (12, SLEEP(4))")
            sql.execute(mine, "DELETE FROM shop.orders WHERE client = 12")

    beside(after, write)
    scene.watch(12.0)


@condition
def primary_killed(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    scene.before()
    stage.primary.kill()
    scene.watch(LASTS_SECONDS)


@condition
def primary_hung(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """Both threads say Yes and lag 0 for slave_net_timeout, here MariaDB's own 60 s; no heartbeat comes."""
    replica = stage.target
    after.callback(replica.execute, "SET GLOBAL slave_net_timeout = 10")
    replica.execute("SET GLOBAL slave_net_timeout = 60")
    stage.pair.follow()
    scene.watch(3 * HEARTBEAT_SECONDS)
    stage.primary.freeze()
    after.callback(stage.primary.thaw)
    scene.watch(LASTS_SECONDS)
    stage.ruined = True


@condition
def channel_stopped(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """Two sources; one of them is stopped."""
    stage.ruined = True
    replica = stage.target
    options: dict[str, Option] = {"server_id": 3, "log_bin": "binlog", "gtid_domain_id": 2, "gtid_strict_mode": "ON"}
    other = after.enter_context(MariaDB("other", "127.0.0.3", options=options))
    other.up()
    stage.pair.channel(SECOND, other)
    scene.take(3.0, wanted=lambda sample: sample.slave("Slave_IO_Running", SECOND) == "Yes")
    replica.execute(f"STOP SLAVE '{SECOND}'")
    scene.take(wanted=lambda sample: sample.slave("Slave_IO_Running", SECOND) == "No")


@condition
def not_replicating(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """Its source was taken away, and it is read-only still."""
    stage.ruined = True
    scene.before()
    stage.target.execute("STOP SLAVE")
    stage.target.execute("RESET SLAVE ALL")
    scene.take(wanted=lambda sample: sample.slaves == {})


@condition
def not_a_replica(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """The primary itself."""
    scene.look_at(stage.primary)
    scene.take()


@condition
def standalone(stage: Replicating, scene: Scene, after: ExitStack) -> None:
    """No binary log, no source, no Galera."""
    server = after.enter_context(MariaDB("alone", "127.0.0.4"))
    server.up()
    scene.look_at(server)
    scene.take()
