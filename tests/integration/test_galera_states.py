"""Every condition of a Galera node, made on real servers: what /any, /writer and /reader answer, and why."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from lab import Agent, GaleraNode, MariaDB, cut_off, sql, wait_until
from tests.integration.conftest import Cluster
from tests.integration.expect import down_everywhere, expect, measured, says, state, up_everywhere

SYNCED_SECONDS = 60


def test_synced(agent: Agent) -> None:
    expect(agent, any="200", writer="200", reader="200", synced="200", is_state="synced")


def test_desync_holds_five_seconds_then_every_role_is_down(agent: Agent, node: GaleraNode) -> None:
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        expect(agent, any="200", writer="200", reader="200", synced="503 desynced", is_state="desynced")
        assert agent.get("/writer").headers["x-healthagent-reasons"] == "desynced", "a held reason is told"
        took = expect(agent, any="503 desynced", writer="503 desynced", reader="503 desynced", within=8)
        assert took > 3500, "nothing blocks yet: an administrator's short desync is no outage"
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")
    measured(f"desync over -> all roles up: {up_everywhere(agent):.0f} ms")


def test_desync_is_served_by_a_reader_that_allows_it(cluster: Cluster, node: GaleraNode) -> None:
    with Agent.for_node(node, name="lenient", port=9210, roles={"reader": {"desync": True}}).start() as lenient:
        node.execute("SET GLOBAL wsrep_desync = ON")
        try:
            expect(lenient, any="503 desynced", writer="503 desynced", reader="200", within=9)
        finally:
            node.execute("SET GLOBAL wsrep_desync = OFF")


def test_flush_tables_with_read_lock(agent: Agent, node: GaleraNode) -> None:
    """State 2 that hangs writes: the writer falls after 2 s, the reader after 5 s."""
    with node.client() as session:
        sql.execute(session, "FLUSH TABLES WITH READ LOCK")
        expect(agent, any="200", writer="200", reader="200", is_state="desynced")
        expect(agent, any="503 desynced", writer="503 desynced", reader="200")
        expect(agent, any="503 desynced", writer="503 desynced", reader="503 desynced")
        sql.execute(session, "UNLOCK TABLES")
    up_everywhere(agent)


def test_rolling_schema_upgrade(agent: Agent, node: GaleraNode) -> None:
    """An ALTER by RSU, kept from ending by a transaction that has read its table."""
    reader = node.client()
    sql.execute(reader, "BEGIN")
    sql.rows(reader, "SELECT COUNT(*) FROM shop.ballast")

    def alter() -> None:
        with node.client(timeout=60) as session:
            sql.execute(session, "SET SESSION wsrep_OSU_method = 'RSU'")
            sql.execute(session, "ALTER TABLE shop.ballast FORCE")

    with ThreadPoolExecutor() as threads:
        altering = threads.submit(alter)
        try:
            expect(agent, any="503 desynced", writer="503 desynced", reader="200", is_state="desynced")
        finally:
            reader.close()
        altering.result()
    up_everywhere(agent)


def test_read_only(agent: Agent, node: GaleraNode) -> None:
    node.execute("SET GLOBAL read_only = ON")
    try:
        took = expect(agent, any="200", writer="503 read_only", reader="200", synced="200", is_state="synced")
        measured(f"read_only -> writer 503: {took:.0f} ms")
    finally:
        node.execute("SET GLOBAL read_only = OFF")
    up_everywhere(agent)


@pytest.mark.parametrize("setting", ["ALL", "ALL_KILL"])
def test_reject_queries(agent: Agent, node: GaleraNode, setting: str) -> None:
    """ALL_KILL closes our kept connection as well: the agent sees why on the next one."""
    try:
        node.execute(f"SET GLOBAL wsrep_reject_queries = {setting}")
    except sql.Error:
        assert setting == "ALL_KILL", "it kills the session that sets it, too"
    try:
        measured(f"wsrep_reject_queries={setting} -> 503: {down_everywhere(agent, 'rejecting'):.0f} ms")
    finally:
        node.execute("SET GLOBAL wsrep_reject_queries = NONE")
    up_everywhere(agent)


def test_wsrep_on_switched_off(agent: Agent, node: GaleraNode) -> None:
    """The node stays in the cluster, Primary and ready, and keeps what is written to it for itself."""
    node.execute("SET GLOBAL wsrep_on = OFF")
    try:
        down_everywhere(agent, "wsrep_off")
    finally:
        node.execute("SET GLOBAL wsrep_on = ON")
    up_everywhere(agent)


def test_isolated(agent: Agent, node: GaleraNode) -> None:
    """Nothing arrives any more: the node finds itself without quorum when the others have timed out."""
    with cut_off(node.address):
        down_everywhere(agent, "non_primary", within=15)
    up_everywhere(agent)


def test_left_the_cluster(agent: Agent, node: GaleraNode) -> None:
    address = node.variable("wsrep_cluster_address")
    with suppress(sql.Error):  # it closes every connection
        node.execute("SET GLOBAL wsrep_cluster_address = ''")
    down_everywhere(agent, "disconnected")
    node.execute(f"SET GLOBAL wsrep_cluster_address = '{address}'")
    up_everywhere(agent, within=SYNCED_SECONDS)


def test_two_of_three_killed(cluster: Cluster, agent: Agent) -> None:
    """The survivor has no quorum: it answers every SELECT 1 and must serve nothing."""
    first, _, third = cluster.galera.nodes
    first.kill()
    third.kill()
    down_everywhere(cluster.agents[0], "down")
    down_everywhere(agent, "non_primary", within=15)
    cluster.galera.nodes[1].set_provider("pc.bootstrap", "ON")
    up_everywhere(agent)


def test_our_own_connection_killed(agent: Agent, node: GaleraNode) -> None:
    """An administrator's KILL is no outage: a new connection answers within the same probe."""
    sequence = state(agent)["sample"]["sequence"]
    since = state(agent)["roles"]["writer"]["since"]
    ours = node.rows(
        "SELECT id FROM information_schema.PROCESSLIST WHERE command = 'Sleep' AND db IS NULL AND user = 'root'"
    )
    assert ours
    for row in ours:
        node.execute(f"KILL {row['id']}")
    wait_until(lambda: state(agent)["sample"]["sequence"] > sequence + 2, 5, "three more samples")
    assert state(agent)["roles"]["writer"]["since"] == since, "never left up"
    assert says(agent, "writer") == "200"


def test_full_server_serves_on_with_weight_1(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    """With a kept connection: weight 1. An agent that cannot get in: 503 connection_limit."""
    node.execute("SET GLOBAL max_connections = 12")
    sessions: list[sql.Connection] = []
    try:
        with pytest.raises(sql.Error, match="1040"):
            while len(sessions) < 20:
                sessions.append(app_session(node))
        wait_until(lambda: agent.get("/writer").headers["x-healthagent-weight"] == "1", 5, "weight 1")
        answer = agent.get("/writer")
        assert (answer.status, answer.headers["x-healthagent-reasons"]) == (200, "connection_limit")
        with tcp_agent(node, password="secret").start() as outsider:
            down_everywhere(outsider, "connection_limit")
    finally:
        for session in sessions:
            session.close()
        node.execute("SET GLOBAL max_connections = 151")
    wait_until(lambda: agent.get("/writer").headers["x-healthagent-weight"] == "100", 20, "up slowly")


def test_wrong_password(cluster: Cluster, node: GaleraNode) -> None:
    with tcp_agent(node, password="wrong").start() as agent:
        down_everywhere(agent, "auth_error")


def test_password_rotation(cluster: Cluster, node: GaleraNode) -> None:
    """The kept connection outlives it; when that ends too, facts of up to max_age hold, and then no more."""
    with tcp_agent(node, password="secret").start() as agent:
        up_everywhere(agent)
        node.execute("ALTER USER healthagent@'127.%' IDENTIFIED BY 'rotated'")
        try:
            sequence = state(agent)["sample"]["sequence"]
            wait_until(lambda: state(agent)["sample"]["sequence"] > sequence + 3, 5, "four more samples")
            assert says(agent, "writer") == "200"
            for row in node.rows("SELECT id FROM information_schema.PROCESSLIST WHERE user = 'healthagent'"):
                node.execute(f"KILL {row['id']}")
            wait_until(lambda: state(agent)["state"] == "auth_error", 5, "the login is refused")
            assert says(agent, "writer") == "200", "held: the facts are younger than max_age"
            down_everywhere(agent, "auth_error")
        finally:
            node.execute("ALTER USER healthagent@'127.%' IDENTIFIED BY 'secret'")
        up_everywhere(agent)


def test_frozen(agent: Agent, node: GaleraNode) -> None:
    node.freeze()
    try:
        measured(f"SIGSTOP -> every role 503: {down_everywhere(agent, 'hung'):.0f} ms")
    finally:
        node.thaw()
    up_everywhere(agent, within=SYNCED_SECONDS)


def test_frozen_when_proc_cannot_be_read(cluster: Cluster, node: GaleraNode) -> None:
    """An agent on another host has only its timeouts: two of them."""
    agent = tcp_agent(node, password="secret", pid_file="/nonexistent", datadir="/nonexistent").start()
    with agent:
        up_everywhere(agent)
        node.freeze()
        try:
            measured(f"SIGSTOP, /proc of no help -> 503: {down_everywhere(agent, 'hung'):.0f} ms")
        finally:
            node.thaw()
    cluster.heal()


def test_killed(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    node.kill()
    measured(f"kill -9 -> every role 503: {down_everywhere(agent, 'down'):.0f} ms")
    # a server that dies resets whoever is just logging in; after that nobody listens
    wait_until(lambda: state(agent)["sample"]["failure"]["kind"] == "refused", 2, "the connection is refused")


def test_stopped_cleanly(cluster: Cluster, agent: Agent, node: GaleraNode) -> None:
    node.stop()
    measured(f"clean stop over -> every role 503: {down_everywhere(agent, 'down'):.0f} ms")


def test_agent_started_while_the_server_is_away(cluster: Cluster, node: GaleraNode) -> None:
    node.stop()
    with Agent.for_node(node, name="early", port=9211).start() as early:
        down_everywhere(early, "down")
        node.start_ist()
        up_everywhere(early, within=SYNCED_SECONDS)


def app_session(node: MariaDB) -> sql.Connection:
    return sql.connect(user="app", password="app", host=node.address, port=node.port, timeout=5)


def tcp_agent(node: MariaDB, *, password: str, name: str = "outsider", **mysql: str) -> Agent:
    """An agent that logs in over TCP with a password, without any privilege but SLAVE MONITOR."""
    login = {"socket": None, "host": node.address, "user": "healthagent", "password": password, **mysql}
    return Agent.for_node(node, name=name, port=9212, mysql=login)
