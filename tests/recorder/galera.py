"""The conditions of a Galera node, on three real ones: n2 is the one that is looked at."""

from collections.abc import Callable
from contextlib import ExitStack, suppress

from healthagent.session import Login
from lab import Arbitrator, Galera, GaleraNode, MariaDB, cut_off, sql
from lab.galera import SstMethod
from tests.recorded.sample import Sample
from tests.recorder.scene import LASTS_SECONDS, Scene, Stage, beside, failed, session, shows

__all__ = ["CONDITIONS", "Cluster"]

BALLAST_MEGABYTES = 96
SLOW_KIB_PER_SECOND = 6000
SYNCED = shows(wsrep_local_state="4", wsrep_cluster_status="Primary", wsrep_ready="ON")
NON_PRIMARY = shows(wsrep_cluster_status="non-Primary", wsrep_ready="OFF")
DISCONNECTED = shows(wsrep_cluster_status="Disconnected", wsrep_connected="OFF")
STATE_2 = shows(wsrep_local_state="2")


class Cluster(Stage):
    """Three nodes."""

    def __init__(self) -> None:
        self.galera = Galera()

    @property
    def target(self) -> GaleraNode:
        return self.galera.nodes[1]

    @property
    def first(self) -> GaleraNode:
        """One that nothing is done to: whoever writes, writes there."""
        return self.galera.nodes[0]

    @property
    def third(self) -> GaleraNode:
        return self.galera.nodes[2]

    def build(self) -> None:
        self.galera = Galera()
        self.galera.start()
        self.galera.load(BALLAST_MEGABYTES)

    def heal(self) -> None:
        for node in self.galera.nodes:
            if not node.alive:
                node.start_ist()
        self.galera.wait_synced()

    def close(self) -> None:
        self.galera.close()


Condition = Callable[[Cluster, Scene, ExitStack], None]
CONDITIONS: dict[str, Condition] = {}


def condition(does: Condition) -> Condition:
    CONDITIONS[does.__name__] = does
    return does


@condition
def synced(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.take()


def _setting(scene: Scene, after: ExitStack, name: str, value: str, back: str) -> None:
    """Sets it for as long as the condition lasts. ALL_KILL kills the session that sets it, too."""
    after.callback(scene.node.execute, f"SET GLOBAL {name} = {back}")
    with suppress(sql.Error):
        scene.node.execute(f"SET GLOBAL {name} = {value}")


@condition
def desync(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _setting(scene, after, "wsrep_desync", "ON", "OFF")
    scene.take(wanted=STATE_2)


@condition
def ftwrl(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    session(scene.node, after, "FLUSH TABLES WITH READ LOCK")
    scene.take(wanted=STATE_2)


@condition
def backup_stage(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    stages = ("START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT")
    session(scene.node, after, *(f"BACKUP STAGE {name}" for name in stages))
    scene.take(wanted=STATE_2)


@condition
def rsu_ddl(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Kept from ending by a transaction that has read its table."""
    scene.before()

    def alter() -> None:
        with scene.node.client(timeout=60) as mine:
            sql.execute(mine, "SET SESSION wsrep_OSU_method = 'RSU'")
            sql.execute(mine, "ALTER TABLE shop.orders FORCE")

    with ExitStack() as held:
        session(scene.node, held, "BEGIN", "SELECT COUNT(*) FROM shop.orders")
        beside(after, alter)
        scene.take(wanted=STATE_2)


@condition
def toi_ddl(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Every write of the whole cluster hangs; nothing but the counter of the statement tells."""
    before = scene.before()
    alters = before.says("Com_alter_table")
    beside(after, lambda: stage.first.execute("ALTER TABLE shop.ballast FORCE", timeout=120))
    scene.take(wanted=lambda sample: sample.says("Com_alter_table") != alters)


@condition
def flow_control(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Its applier waits behind a lock, its queue fills, and it pauses the cluster."""
    scene.before()
    first = stage.first

    def write() -> None:
        with first.client(timeout=60) as session:
            for number in range(200):
                sql.execute(session, "INSERT INTO shop.orders (client, seq) VALUES (7, %s)", [number])
            sql.execute(session, "DELETE FROM shop.orders WHERE client = 7")

    with ExitStack() as held:
        session(scene.node, held, "LOCK TABLES shop.orders WRITE")
        beside(after, write)
        scene.take(1.0, wanted=shows(wsrep_flow_control_active="true"), within=20)
        scene.watch(LASTS_SECONDS)


def _join(stage: Cluster, after: ExitStack, method: SstMethod, *, donor: int, joiner: int) -> None:
    giver, taker = stage.galera.nodes[donor], stage.galera.nodes[joiner]
    after.callback(taker.wait_synced, 120)
    after.callback(giver.throttle_sst, None)
    taker.join_by_sst(method, donor=giver, kib_per_second=SLOW_KIB_PER_SECOND)


def _sends(method: str) -> Callable[[Sample], object]:
    return lambda sample: any(transfer.method == method for transfer in sample.transfers or ())


@condition
def donor_rsync(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _join(stage, after, "rsync", donor=1, joiner=2)
    scene.take(wanted=_sends("rsync"))


@condition
def donor_mariabackup(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _join(stage, after, "mariabackup", donor=1, joiner=2)
    scene.take(wanted=_sends("mariabackup"))


@condition
def joiner_sst(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Nobody listens for the whole copy; only its script tells what goes on."""
    scene.before()
    _join(stage, after, "rsync", donor=2, joiner=1)
    scene.take(wanted=_sends("rsync"))


@condition
def joiner_ist(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """It comes back, listens, and has not yet what it has missed."""
    node = stage.target
    node.stop()
    stage.first.load(BALLAST_MEGABYTES)
    scene.before()
    node.start_ist()
    scene.take(wanted=shows(wsrep_local_state="1"))


@condition
def joiner_ist_live(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """It was cut off and has never stopped."""
    scene.before()
    with cut_off(scene.node.address):
        scene.take(1.0, wanted=NON_PRIMARY)
        stage.first.load(BALLAST_MEGABYTES)
    scene.take(wanted=shows(wsrep_local_state="1"))


@condition
def isolate(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Cut off: Synced, Primary and ready until the others have timed out; then without a quorum."""
    scene.before()
    after.enter_context(cut_off(scene.node.address))
    scene.watch(30, every=0.5, until=NON_PRIMARY)
    scene.stay()


@condition
def membership_change(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Another member was killed: the group forms anew, and this one is healthy all the time."""
    scene.before()
    stage.third.kill()
    scene.take(1.0, wanted=lambda sample: sample.says("wsrep_evs_state") != "OPERATIONAL")
    scene.take(wanted=shows(wsrep_evs_state="OPERATIONAL", wsrep_cluster_size="2"))


@condition
def quorum_lost(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    first, node, third = stage.galera.nodes
    after.callback(node.set_provider, "pc.bootstrap", "ON")
    first.kill()
    third.kill()
    scene.take(wanted=NON_PRIMARY)


def _leaves(scene: Scene, after: ExitStack, address: str) -> None:
    before = scene.node.variable("wsrep_cluster_address")
    _setting(scene, after, "wsrep_cluster_address", f"'{address}'", f"'{before}'")
    scene.take(wanted=DISCONNECTED)


@condition
def left_cluster(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _leaves(scene, after, "")


@condition
def gcomm_empty(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """It cannot be the first of a new cluster, so it is in none; nor does it find the old one again by itself."""
    stage.ruined = True
    scene.before()
    _leaves(scene, after, "gcomm://")


@condition
def inconsistent(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """It alone has a row already that the others insert: it cannot apply what they can, and is voted out."""
    scene.before()
    stage.ruined = True
    row = "INSERT INTO shop.orders (id, client, seq) VALUES (1000000, -1, 1)"
    with scene.node.client() as mine:
        sql.execute(mine, "SET SESSION wsrep_on = OFF")
        sql.execute(mine, row)
    stage.first.execute(row)
    scene.take(wanted=shows(wsrep_local_state="5", wsrep_cluster_status="Disconnected"))


@condition
def evicted(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """evs.evict by a peer: without a quorum for a second, then without a cluster; the process stays."""
    stage.ruined = True
    scene.before()
    member = scene.node.status("wsrep_gcomm_uuid")
    stage.first.set_provider("evs.evict", str(member))
    scene.watch(20, every=0.25, until=DISCONNECTED)
    scene.stay()


@condition
def reject_queries(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _setting(scene, after, "wsrep_reject_queries", "ALL", "NONE")
    scene.take(wanted=shows(wsrep_reject_queries="ALL"))


@condition
def reject_queries_kill(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _setting(scene, after, "wsrep_reject_queries", "ALL_KILL", "NONE")
    scene.take(wanted=shows(wsrep_reject_queries="ALL_KILL"))


@condition
def read_only(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _setting(scene, after, "read_only", "ON", "OFF")  # which desyncs the node for 2 ms
    synced = shows(wsrep_local_state="4")
    scene.take(wanted=lambda sample: sample.says("read_only") not in (0, "OFF", None) and synced(sample))


@condition
def wsrep_on_off(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    _setting(scene, after, "wsrep_on", "OFF", "ON")
    scene.take(wanted=lambda sample: sample.says("wsrep_on") in (0, "OFF"))


def _fill(node: MariaDB, after: ExitStack) -> None:
    """No client gets in any more."""
    after.callback(node.execute, f"SET GLOBAL max_connections = {node.variable('max_connections')}")
    node.execute("SET GLOBAL max_connections = 12")
    with suppress(sql.Error):
        for _ in range(30):
            client = sql.connect(user="app", password="app", host=node.address, port=node.port, timeout=5)
            after.callback(client.close)


@condition
def too_many_connections(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """An agent that is inside still sees everything."""
    scene.before()
    _fill(scene.node, after)
    scene.take()


@condition
def connection_limit(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """An agent that comes later, as an account without privileges, is not let in."""
    scene.before()
    # The one before gives its places back: only then can they be taken.
    login = Login(user="healthagent", password="secret", host=scene.node.address, port=scene.node.port)
    scene.look_at(scene.node, login)
    _fill(scene.node, after)
    scene.take(wanted=failed)


@condition
def garbd(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    after.enter_context(Arbitrator(members=stage.galera.members)).start()
    scene.take(wanted=shows(wsrep_cluster_size="4", wsrep_local_state="4", wsrep_evs_state="OPERATIONAL"))


@condition
def split_brain(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Cut off, and told by hand to be a cluster of its own: nothing here tells but the size."""
    stage.ruined = True
    scene.before()
    after.enter_context(cut_off(scene.node.address))
    scene.take(1.0, wanted=NON_PRIMARY)
    stage.target.set_provider("pc.bootstrap", "ON")
    scene.take(wanted=SYNCED)


@condition
def sigstop(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    scene.node.freeze()
    after.callback(scene.node.thaw)
    scene.take(wanted=failed)
    stage.ruined = True


@condition
def thaw(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Frozen until the others have gone on without it; then it says Synced, with the rows of before."""
    conf_id = scene.before().says("wsrep_cluster_conf_id")
    scene.node.freeze()
    after.callback(scene.node.thaw)
    scene.watch(20, every=0.5, until=lambda sample: stage.first.sees(2))
    stage.galera.write(stage.first)
    scene.node.thaw()
    again = shows(wsrep_local_state="4", wsrep_cluster_size="3", wsrep_ready="ON")
    scene.watch(40, every=0.5, until=lambda sample: again(sample) and sample.says("wsrep_cluster_conf_id") != conf_id)
    scene.stay()


@condition
def kill9(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    scene.before()
    scene.node.kill()
    scene.take(wanted=failed)


@condition
def clean_shutdown(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Some 20 ms without a quorum, then nothing: as fast as can be looked, until nobody listens any more."""
    scene.before()
    node = stage.target
    beside(after, node.stop)
    scene.watch(30, every=0.02, until=lambda sample: failed(sample) and not node.alive)
    scene.stay()


@condition
def starting(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """All were stopped; it listens only when it has found the others, who are not there."""
    for node in reversed(stage.galera.nodes):
        node.stop()
    stage.ruined = True
    stage.target.start_ist()
    scene.take(wanted=lambda sample: failed(sample) and sample.process is not None)


def _without_provider(stage: Cluster) -> None:
    node = stage.target
    stage.ruined = True
    node.stop()
    node.configure(wsrep_provider="none")
    node.start()
    node.wait_until(node.answers, 30, "answers SQL")


@condition
def provider_none(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """To an agent that has never seen it as a Galera node it is a server like any other."""
    _without_provider(stage)
    scene.take()


@condition
def provider_lost(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """To one that has: its writes would stay here."""
    scene.before()
    _without_provider(stage)
    scene.take(wanted=lambda sample: sample.rows is not None)


@condition
def wsrep_off_in_config(stage: Cluster, scene: Scene, after: ExitStack) -> None:
    """Provider loaded, replication off from the start."""
    node = stage.target
    scene.before()
    stage.ruined = True
    node.stop()
    node.configure(wsrep_on="OFF")
    node.start()
    node.wait_until(node.answers, 30, "answers SQL")
    scene.take(wanted=lambda sample: sample.rows is not None)
