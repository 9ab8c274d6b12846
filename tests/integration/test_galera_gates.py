"""The gates of a Galera node that its state does not tell: cluster, size, queue, flow control, membership, restarts.

One cluster; the agent beside `node` is told other settings by SIGHUP, as an operator would do it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from healthagent.tables import create_write_table
from lab import Agent, GaleraNode, cut_off, sql, wait_until
from tests.integration.conftest import Cluster
from tests.integration.expect import measured, reloaded, says, state, up_everywhere, weight

LIMIT = 28  # gcs.fc_limit 16 x the square root of 3 members
OTHER_UUID = "00000000-1111-2222-3333-444444444444"


@contextmanager
def held_by(node: GaleraNode, statement: str) -> Iterator[None]:
    """A session that has executed the statement and does nothing more."""
    with node.client() as session:
        sql.execute(session, statement)
        yield
        sql.execute(session, "UNLOCK TABLES")


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def write_rows(node: GaleraNode, client: int, count: int) -> None:
    with node.client(timeout=60) as session:
        for number in range(count):
            sql.execute(session, "INSERT INTO shop.orders (client, seq) VALUES (%s, %s)", [client, number])
        sql.execute(session, "DELETE FROM shop.orders WHERE client = %s", [client])


def test_a_smaller_cluster_than_asked_for(cluster: Cluster, agent: Agent) -> None:
    with reloaded(agent, roles={"writer": {"min_size": 3}}):
        assert says(agent, "writer") == "200"
        cluster.galera.nodes[2].stop()
        wait_until(lambda: says(agent, "writer") == "503 cluster_too_small", 10, "two are too few")
        assert says(agent, "reader") == "200"
        cluster.galera.nodes[2].start_ist()
        wait_until(lambda: says(agent, "writer") == "200", 60, "three again")


def test_a_node_that_finds_itself_in_another_cluster(agent: Agent) -> None:
    """Pinned at the first Synced sample; the same is said by the configuration. Only `ack --cluster` ends it."""
    pinned = state(agent)["latched"]["cluster_uuid"]
    assert pinned == state(agent)["galera"]["cluster_state_uuid"]
    with reloaded(agent, mysql={"cluster_uuid": OTHER_UUID}):
        wait_until(lambda: says(agent, "reader") == "503 other_cluster", 5, "not the cluster that is meant")

    agent.stop()
    pin = agent.directory / "state" / "topology.json"
    pin.write_text(pin.read_text().replace(pinned, OTHER_UUID))
    agent.start()
    wait_until(lambda: says(agent, "any") == "503 other_cluster", 5, "a new agent, the same pin")
    assert agent.control("/ack", method="POST").body == "nothing to acknowledge\n"
    assert agent.control("/ack?cluster=1", method="POST").body == "acknowledged: other_cluster\n"
    up_everywhere(agent)
    assert state(agent)["latched"]["cluster_uuid"] == pinned


def test_the_receive_queue_of_a_desynced_reader(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """It may not pause the others, so its queue grows; beyond twice the live flow-control limit its rows are old."""
    with ExitStack() as stack:
        stack.enter_context(reloaded(agent, roles={"reader": {"desync": True}}))
        assert state(agent)["galera"]["recv_queue_upper"] == LIMIT
        node.execute("SET GLOBAL wsrep_desync = ON")
        stack.callback(node.execute, "SET GLOBAL wsrep_desync = OFF")
        wait_until(lambda: state(agent)["state"] == "desynced", 5, "desynced")
        assert says(agent, "reader") == "200"
        assert weight(agent, "reader") == 50
        with held_by(node, "LOCK TABLES shop.orders WRITE"):
            write_rows(cluster.galera.nodes[0], 21, 2 * LIMIT + 5)
            wait_until(lambda: says(agent, "reader") == "503 recv_queue", 10, "too much waits")
            assert agent.get("/reader?max_queue=1000000").status == 503, "a parameter loosens nothing"
        wait_until(lambda: says(agent, "reader") == "200", 10, "it has caught up")
    up_everywhere(agent)


def test_the_limit_of_the_queue_is_the_live_one(agent: Agent, node: GaleraNode) -> None:
    """Set while it runs, by one variable for all options or, with the plugin, by one of its own."""
    node.set_provider("gcs.fc_limit", "40")
    try:
        wait_until(lambda: state(agent)["galera"]["recv_queue_upper"] == 69, 5, "40 x the square root of 3 members")
    finally:
        node.set_provider("gcs.fc_limit", "16")
    wait_until(lambda: state(agent)["galera"]["recv_queue_upper"] == LIMIT, 5, "as before")


def test_who_pauses_the_cluster_gets_less_and_who_waits_for_it_says_so(
    cluster: Cluster, agent: Agent, node: GaleraNode
) -> None:
    first, victim = cluster.galera.nodes[0], cluster.agents[0]
    stop = {"roles": {"reader": {"flow": "stop"}}}
    locked = threading.Event()

    def write() -> None:
        assert locked.wait(10)
        write_rows(first, 22, 200)

    with (
        reloaded(agent, **stop),
        reloaded(victim, **stop),
        in_background(write),
        held_by(node, "LOCK TABLES shop.orders WRITE"),
    ):
        locked.set()
        wait_until(lambda: weight(agent, "writer") == 10, 15, "the culprit's weight falls")
        assert agent.get("/writer").headers["x-healthagent-reasons"] == "flow_control"
        wait_until(lambda: says(agent, "reader") == "503 flow_control", 15, "with `flow: stop` it falls")
        answer = victim.get("/reader")
        assert (answer.status, answer.headers["x-healthagent-reasons"]) == (200, "flow_control")
        assert weight(victim, "reader") == 100
        culprit = state(agent)["galera"]
        measured(f"flow control: paused for {culprit['flow_control_paused_ratio']:.2f} of the last 10 s")
    wait_until(lambda: weight(agent, "writer") == 100, 30, "and comes back")


def test_a_cut_node_knows_by_its_group_before_it_knows_by_its_quorum(agent: Agent, node: GaleraNode) -> None:
    """`wsrep_evs_state` leaves OPERATIONAL first; `paranoid` does not wait for the rest."""
    with reloaded(agent, roles={"writer": {"membership": "paranoid"}}):
        isolated = time.monotonic()
        with cut_off(node.address):
            wait_until(lambda: says(agent, "writer") == "503 membership", 20, "the group looks for its members")
            warned = time.monotonic()
            assert says(agent, "reader") == "200"
            wait_until(lambda: says(agent, "reader") == "503 non_primary", 20, "the quorum is gone")
            known = time.monotonic()
        measured(
            f"cut off: a paranoid writer is down after {warned - isolated:.1f} s, {known - warned:.1f} s before the "
            f"node knows that its quorum is gone (evs.suspect_timeout 5 s)"
        )
        up_everywhere(agent, within=60)


def test_a_server_that_is_started_again_and_again_and_warms_up(agent: Agent, node: GaleraNode) -> None:
    with reloaded(agent, roles={"writer": {"max_restarts": 3}}, weights={"warm_up": "8s"}):
        wait_until(lambda: len(state(agent)["server"]["starts"]) < 2, 5, "no restarts so far")
        for _ in range(2 if state(agent)["server"]["starts"] else 3):
            node.restart()
            wait_until(lambda: says(agent, "reader") == "200", 20, "it is back")
            assert weight(agent, "reader") <= 50, "and has to warm up"
        wait_until(lambda: says(agent, "writer") == "503 restarts", 10, "no place for writes")
        wait_until(lambda: weight(agent, "reader") == 100, 30, "warm")


def test_a_lock_that_stops_every_commit_is_told(agent: Agent, node: GaleraNode) -> None:
    """Only told: whether it is this node or the whole cluster, it cannot know."""
    write_rows(node, 23, 1)
    node.execute("INSERT INTO shop.orders (client, seq) VALUES (23, 1)")
    update = "UPDATE shop.orders SET seq = 2 WHERE client = 23"
    with node.client() as holder:
        sql.execute(holder, "BEGIN")
        sql.execute(holder, update)
        with in_background(lambda: node.execute(update, timeout=60)):
            wait_until(lambda: state(agent)["state"] == "stalled", 25, "nothing is committed and somebody waits")
            answer = agent.get("/writer")
            assert (answer.status, answer.headers["x-healthagent-reasons"]) == (200, "stalled")
            sql.execute(holder, "ROLLBACK")
    wait_until(lambda: state(agent)["state"] == "synced", 5, "it goes on")
    node.execute("DELETE FROM shop.orders WHERE client = 23")


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_tags_in_the_configuration_and_in_the_question(agent: Agent, role: str) -> None:
    with reloaded(agent, tags={"dc": "fsn1"}):
        assert agent.get(f"/{role}?tag_dc=fsn1").status == 200
        answer = agent.get(f"/{role}?tag_dc=nbg1")
        assert (answer.status, answer.reason) == (503, "tag_mismatch")


def test_a_role_for_those_who_would_rather_have_old_rows(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """Without a quorum tables can be read only with wsrep_dirty_reads."""
    assert agent.get("/stale-ok").status == 400
    with reloaded(agent, roles={"stale-ok": {"enabled": True}}), cut_off(node.address):
        wait_until(lambda: says(agent, "reader") == "503 non_primary", 20, "no quorum")
        assert says(agent, "stale-ok") == "503 non_primary"
        node.execute("SET GLOBAL wsrep_dirty_reads = ON")
        wait_until(lambda: says(agent, "stale-ok") == "200", 5, "old rows can be read")
        assert node.rows("SELECT COUNT(*) AS rows_read FROM shop.orders")
        node.execute("SET GLOBAL wsrep_dirty_reads = OFF")
    up_everywhere(agent, within=60)


def test_a_write_that_does_not_come_back(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """By a lock on the row's own table, which nothing else shows. With the whole cluster waiting it is only told."""
    first, _, third = cluster.galera.nodes
    first.execute("CREATE DATABASE IF NOT EXISTS ops")
    first.execute(create_write_table("ops.alive"))
    asked = {"probe": {"write_table": "ops.alive"}, "roles": {"writer": {"write_probe": True}}}
    locked = threading.Event()

    def write() -> None:
        assert locked.wait(10)
        write_rows(first, 24, 200)

    with reloaded(agent, **asked):
        wait_until(lambda: node.rows("SELECT 1 FROM ops.alive"), 10, "a first write")
        with held_by(node, "LOCK TABLES ops.alive WRITE"):
            took = time.monotonic()
            wait_until(lambda: says(agent, "writer") == "503 stalled", 15, "the write does not come back")
            measured(f"a write that hangs -> writer 503: {time.monotonic() - took:.1f} s")
            assert says(agent, "reader") == "200"
        wait_until(lambda: says(agent, "writer") == "200", 10, "it has come back")

        with in_background(write), held_by(third, "LOCK TABLES shop.orders WRITE"):
            locked.set()
            wait_until(lambda: "stalled" in reasons(agent, "writer"), 20, "flow control stops everybody")
            assert says(agent, "writer") == "200"
    up_everywhere(agent)


def reasons(agent: Agent, role: str) -> list[str]:
    return agent.get(f"/{role}").headers["x-healthagent-reasons"].split(",")
