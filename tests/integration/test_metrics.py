"""/metrics of real agents beside real servers: what it says of them, and mysqld_exporter's names against the server."""

from lab import Agent, GaleraNode, wait_until
from tests.integration.conftest import Cluster
from tests.integration.expect import expect, reloaded, up_everywhere


def series(agent: Agent) -> dict[str, float]:
    """`name{label="value",...}` -> number."""
    lines = agent.get("/metrics").body.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_a_member_is_desynced_and_comes_back(cluster: Cluster, node: GaleraNode, agent: Agent) -> None:
    before = series(agent)
    assert before["healthagent_up"] == before['healthagent_state{state="synced"}'] == 1
    assert before["healthagent_galera_cluster_size"] == 3
    assert before["healthagent_galera_desyncs"] == 0
    assert 0 < before["healthagent_connections_used_ratio"] < 1
    assert 0 < before["healthagent_datadir_free_ratio"] < 1
    assert before["process_resident_memory_bytes"] > 2**20
    node.execute("SET GLOBAL wsrep_desync = ON")
    try:
        expect(agent, any="503 desynced", writer="503 desynced", reader="503 desynced")
        down = series(agent)
    finally:
        node.execute("SET GLOBAL wsrep_desync = OFF")
    assert down['healthagent_state{state="desynced"}'] == down["healthagent_galera_desyncs"] == 1
    assert down['healthagent_role_reason{reason="desynced",role="writer"}'] == 1
    assert down['healthagent_role_up{role="writer"}'] == down['healthagent_role_weight{role="writer"}'] == 0
    up_everywhere(agent)
    after = series(agent)
    for to in ("up", "down"):
        name = f'healthagent_transitions_total{{role="writer",to="{to}"}}'
        assert after[name] == before[name] + 1
    listener = f'listener="{agent.address[0]}:{agent.address[1]}"'
    counted = f'healthagent_checks_total{{code="503",{listener},role="writer"}}'
    assert after[counted] > before.get(counted, 0)


def test_the_exporters_names_say_what_the_server_says(cluster: Cluster, node: GaleraNode, agent: Agent) -> None:
    with reloaded(agent, metrics={"mysqld_names": True}):
        found = series(agent)
        status = ("wsrep_cluster_conf_id", "wsrep_cluster_size", "wsrep_local_state", "wsrep_local_index")
        for name in (*status, "wsrep_desync_count", "wsrep_flow_control_sent"):
            assert found[f"mysql_global_status_{name}"] == float(node.status(name) or "nan"), name
        for name in ("max_connections", "server_id", "port"):
            assert found[f"mysql_global_variables_{name}"] == float(node.variable(name) or "nan"), name
        switches = {"ON": 1.0, "OFF": 0.0, "Primary": 1.0}
        for name in ("wsrep_ready", "wsrep_connected", "wsrep_cluster_status"):
            assert found[f"mysql_global_status_{name}"] == switches[node.status(name) or ""], name
        for name in ("read_only", "wsrep_on", "log_bin", "skip_networking"):
            assert found[f"mysql_global_variables_{name}"] == switches[node.variable(name) or ""], name
        assert found["mysql_up"] == 1


def test_a_server_that_is_gone_takes_its_facts_along(cluster: Cluster, node: GaleraNode, agent: Agent) -> None:
    node.kill()
    wait_until(lambda: series(agent)["healthagent_up"] == 0, 5, "it is seen")
    found = series(agent)
    assert not [name for name in found if name.startswith(("healthagent_galera_", "healthagent_conn"))]
    assert found['healthagent_probe_failures_total{kind="refused"}'] >= 1
    assert found["healthagent_sample_age_seconds"] < 3
