"""What stands in /metrics for a publication: each fact once, the unknown absent, and counters that only grow."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from healthagent.board import Board
from healthagent.facts import ClientPort, Disk, FailureKind, Snapshot
from healthagent.families import FAMILIES
from healthagent.measures import LABEL_CHARACTERS, MAX_CONNECTIONS
from healthagent.metrics import Metrics, understood
from healthagent.model import Publication
from healthagent.mysqld_names import MYSQLD_FAMILIES
from healthagent.policy import Base, Role
from healthagent.reasons import State
from tests.build import (
    DOWN,
    HUNG,
    POLICY,
    PRIMARY,
    REPLICA,
    ROLES,
    SYNCED,
    Agent,
    beating,
    beside,
    changed,
    failed,
    galera,
    galera_rows,
    healthy,
    plain_rows,
    replica,
    slave_row,
    snapshot,
    with_role,
)

Series = dict[str, float]


class Scraped:
    """An agent that has published what it has seen, and its metrics."""

    def __init__(self, agent: Agent, *, mysqld_names: bool = False) -> None:
        self.agent, self.age = agent, 0.0
        self.board = Board(agent.publication, POLICY.max_age_seconds, lambda: agent.now + self.age)
        self.metrics = Metrics(self.board)
        self.metrics.adopt(mysqld_names=mysqld_names)

    def sees(self, what: Snapshot, *, after: float = 0.5) -> "Scraped":
        self.agent.sees(what, after=after)
        self.board.publish(self.agent.publication, POLICY.max_age_seconds)
        return self

    @property
    def series(self) -> Series:
        """`name{label="value",...}` without the healthagent_ -> number."""
        lines = self.metrics.text().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        found = [(name.removeprefix("healthagent_"), float(value)) for name, _, value in pairs]
        assert len(dict(found)) == len(found), "one series twice"
        return dict(found)

    def named(self, beginning: str) -> Series:
        return {name: value for name, value in self.series.items() if name.startswith(beginning)}


def of(what: Snapshot, *, mysqld_names: bool = False) -> Scraped:
    return Scraped(healthy(what), mysqld_names=mysqld_names)


def test_a_synced_node() -> None:
    series = of(beside(SYNCED, disk=Disk(free_bytes=250, total_bytes=1000))).series
    assert series["up"] == 1
    assert series["state_code"] == State.SYNCED
    assert series['role_up{role="writer"}'] == 1
    assert series['role_weight{role="writer"}'] == 100
    assert series['role_draining{role="writer"}'] == 0
    assert series['gate_passed{gate="writable",role="writer"}'] == 1
    assert series["galera_cluster_size"] == 3
    assert series["galera_local_state"] == 4
    assert (series["galera_primary"], series["galera_ready"], series["galera_connected"]) == (1, 1, 1)
    assert (series["galera_recv_queue"], series["galera_desyncs"]) == (0, 0)
    assert series["galera_flow_control_sent_total"] == 0
    assert series["galera_flow_control_paused_ratio"] == 0
    assert series["connections_used_ratio"] == 9 / 151
    assert series["datadir_free_ratio"] == 0.25
    assert series["election_enabled"] == 0
    assert (series['admin_state{kind="drain"}'], series['admin_state{kind="maintenance"}']) == (0, 0)
    assert not [name for name in series if name.startswith(("replication_", "role_reason", "process_", "mysql_"))]


def test_one_state_is_1_and_every_other_one_0() -> None:
    states = of(galera(ready="OFF")).named("state{")
    assert [name for name, value in states.items() if value] == ['state{state="not_ready"}']
    assert len(states) == len(State)


def test_what_is_down_says_why() -> None:
    scraped = of(galera(read_only=1))
    assert scraped.series['role_up{role="writer"}'] == scraped.series['role_weight{role="writer"}'] == 0
    assert scraped.named("role_reason") == {
        'role_reason{reason="read_only",role="candidate"}': 1,
        'role_reason{reason="read_only",role="writer"}': 1,
    }
    assert scraped.series['gate_passed{gate="writable",role="writer"}'] == 0


def test_a_dry_run_is_marked_and_no_other_role() -> None:
    trial = replace(with_role("reader").roles[0], name="trial", dry_run=True)
    series = Scraped(healthy(policy=replace(POLICY, roles=(*POLICY.roles, trial)))).series
    assert {name: value for name, value in series.items() if name.startswith("role_dry_run")} == {
        'role_dry_run{role="trial"}': 1
    }


def test_what_drains() -> None:
    series = Scraped(healthy(policy=with_role("reader", drain=True))).series
    assert (series['role_draining{role="reader"}'], series['role_up{role="reader"}']) == (1, 0)
    assert series['role_reason{reason="draining",role="reader"}'] == 1


def test_gates_are_as_why_tells_them() -> None:
    scraped = of(galera(read_only=1, ready="OFF"))
    fallen = [name for name, value in scraped.named("gate_passed").items() if 'role="writer"' in name and not value]
    assert fallen == ['gate_passed{gate="ready",role="writer"}', 'gate_passed{gate="writable",role="writer"}']


def test_what_a_replica_tells() -> None:
    rows = [
        slave_row(Connection_name="a", Seconds_Behind_Master=7, Slave_IO_Running="Connecting", Last_IO_Errno=2003),
        slave_row(Connection_name="b", Master_Server_Id=102, Slave_SQL_Running="No", Last_SQL_Errno=1062),
    ]
    scraped = of(beating(replica(*rows), (102, 1.5)))
    assert scraped.named("replication_lag") == {
        'replication_lag_seconds{connection="a",source="seconds_behind"}': 7,
        'replication_lag_seconds{connection="b",source="heartbeat"}': 1.5,
    }
    assert scraped.named("replication_thread") == {
        'replication_thread_running{connection="a",thread="io"}': 0,
        'replication_thread_running{connection="a",thread="sql"}': 1,
        'replication_thread_running{connection="b",thread="io"}': 1,
        'replication_thread_running{connection="b",thread="sql"}': 0,
    }
    assert {name: value for name, value in scraped.named("replication_error").items() if value} == {
        'replication_error{connection="a",thread="io"}': 2003,
        'replication_error{connection="b",thread="sql"}': 1062,
    }
    assert scraped.named("replication_link_age") == {'replication_link_age_seconds{connection="b"}': 2.5}, (
        "of one that was away when it was seen first nobody knows"
    )
    assert scraped.named("galera_") == {}, "a server without a provider is no member of anything"


@pytest.mark.parametrize("what", [DOWN, HUNG], ids=["down", "hung"])
def test_without_facts_nothing_is_told_of_them(what: Snapshot) -> None:
    """mysqld_exporter does the same: an old number that looks like a new one helps nobody."""
    scraped = of(replace(SYNCED, replications=REPLICA.replications), mysqld_names=True)
    assert scraped.named("galera_")
    assert scraped.named("replication_")
    scraped.sees(what)
    series = scraped.series
    assert series["up"] == series["mysql_up"] == 0
    assert not [name for name in series if name.startswith(("galera_", "replication_", "mysql_g", "mysql_s", "conn"))]


def test_before_the_first_sample() -> None:
    series = Scraped(Agent()).series
    assert series["up"] == 0
    assert series['role_reason{reason="starting",role="any"}'] == 1
    assert "sample_age_seconds" not in series
    assert series["probe_duration_seconds_count"] == 0
    assert "config_last_reload_timestamp_seconds" not in series


def test_what_is_too_old_is_told_as_stale() -> None:
    scraped = of(SYNCED)
    scraped.age = POLICY.max_age_seconds + 1
    series = scraped.series
    assert (series["up"], series['state{state="stale"}'], series['role_up{role="any"}']) == (0, 1, 0)
    assert series['transitions_total{role="any",to="down"}'] == 1
    gates = [name for name in scraped.named("gate_passed") if 'role="any"' in name]
    assert gates == ['gate_passed{gate="fresh",role="any"}'], "what the others saw last may not hold any more"
    assert series[gates[0]] == 0
    assert scraped.named("galera_") == {}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("galera_cluster_size", galera(cluster_size=None)),
        ("galera_primary", galera(cluster_status=None)),
        ("galera_recv_queue", galera(local_recv_queue=None)),
        ("galera_flow_control_sent_total", galera(flow_control_sent="-1")),
        ("connections_used_ratio", snapshot(changed(galera_rows(), {"max_connections": None}))),
        ("connections_used_ratio", galera(max_connections=0)),
        ("datadir_free_ratio", beside(SYNCED, disk=Disk(free_bytes=0, total_bytes=0))),
        ("datadir_free_ratio", beside(SYNCED, client_port=ClientPort(open=True))),
        ("replication_lag_seconds", replica(slave_row(Seconds_Behind_Master=None))),
        ("replication_thread_running", replica(slave_row(Slave_IO_Running=None, Slave_SQL_Running=""))),
        ("replication_error", replica(slave_row(Last_IO_Errno=None, Last_SQL_Errno="x"))),
        ("replication_", snapshot(plain_rows(), None)),
    ],
)
def test_what_is_not_known_is_absent(name: str, what: Snapshot) -> None:
    assert of(what).named(name) == {}


# --- counters -------------------------------------------------------------------------------------------------------


def test_transitions_are_counted_from_zero() -> None:
    scraped = Scraped(Agent())
    assert scraped.named('transitions_total{role="writer"') == {
        f'transitions_total{{role="writer",to="{to}"}}': 0 for to in ("up", "drain", "down")
    }
    scraped.sees(SYNCED).sees(SYNCED).sees(DOWN)
    series = scraped.series
    assert series['transitions_total{role="writer",to="up"}'] == 1
    assert series['transitions_total{role="writer",to="down"}'] == 1
    assert series['state_transitions_total{to="synced"}'] == 1
    assert series['state_transitions_total{to="down"}'] == 1
    assert sum(scraped.named("state_transitions").values()) == 2


@pytest.mark.parametrize("met", [True, False])
def test_a_fall_by_age_is_counted_once_whoever_has_met_it(met: bool) -> None:
    scraped = of(SYNCED)
    scraped.age = POLICY.max_age_seconds + 1
    for _ in range(2 if met else 0):
        assert scraped.series['transitions_total{role="any",to="down"}'] == 1
    scraped.age = 0
    scraped.sees(SYNCED, after=POLICY.max_age_seconds + 1)
    for _ in range(2):
        assert scraped.series['transitions_total{role="any",to="down"}'] == 1
        assert scraped.series['state_transitions_total{to="stale"}'] == 1


def test_probes_are_counted_once_each_however_often_they_are_told() -> None:
    scraped = of(SYNCED)
    before = scraped.series["probe_duration_seconds_count"]
    scraped.sees(replace(SYNCED, duration_seconds=0.002)).sees(replace(HUNG, duration_seconds=1.5))
    scraped.sees(replace(failed(FailureKind.LOGIN, 1045), duration_seconds=99.0))
    for _ in range(3):  # a reload publishes the same sample again
        scraped.board.publish(scraped.agent.publication, POLICY.max_age_seconds)
    series = scraped.series
    assert series["probe_duration_seconds_count"] == series['probe_duration_seconds_bucket{le="+Inf"}'] == before + 3
    assert series['probe_duration_seconds_bucket{le="0.001"}'] == before
    assert series['probe_duration_seconds_bucket{le="0.002"}'] == before + 1
    assert series['probe_duration_seconds_bucket{le="2"}'] == before + 2
    assert series["probe_duration_seconds_sum"] == pytest.approx(100.502)
    failures = scraped.named("probe_failures")
    assert {name: value for name, value in failures.items() if value} == {
        'probe_failures_total{kind="timeout"}': 1,
        'probe_failures_total{kind="login"}': 1,
    }
    assert len(failures) == len(FailureKind)


def test_reloads() -> None:
    scraped = of(SYNCED)
    scraped.metrics.loaded()
    loaded = scraped.series["config_last_reload_timestamp_seconds"]
    assert loaded > 1.7e9
    scraped.metrics.tally.reload_failed = True
    series = scraped.series
    assert (series["config_last_reload_success"], series["config_last_reload_timestamp_seconds"]) == (0, loaded)
    scraped.metrics.loaded()
    assert scraped.series["config_last_reload_success"] == 1


def test_a_role_that_is_gone_keeps_its_transitions_and_nothing_else() -> None:
    scraped = Scraped(Agent()).sees(SYNCED)
    scraped.agent.reloads(replace(POLICY, roles=ROLES[:1]))
    scraped.board.publish(scraped.agent.publication, POLICY.max_age_seconds)
    told = {name.partition("{")[0] for name in scraped.series if 'role="writer"' in name}
    assert told == {"transitions_total"}


# --- labels ---------------------------------------------------------------------------------------------------------


def test_questions_with_parameters_are_no_labels() -> None:
    agent = healthy(REPLICA)
    asked = replace(agent.publication.verdicts["reader"])
    publication = replace(agent.publication, verdicts={**agent.publication.verdicts, "reader?max_lag=5": asked})
    metrics = Metrics(Board(publication, POLICY.max_age_seconds, lambda: agent.now))
    assert "max_lag" not in metrics.text().decode()


def test_names_of_the_server_become_tame_labels() -> None:
    wild = ['"', "\\", "a\nb", "\x00", "\ud800", "é", "x" * 1000, "a\u2028b"]
    scraped = of(replica(*[slave_row(Connection_name=name) for name in [*wild, *wild]]), mysqld_names=True)
    labels = {
        sample.labels["connection"]
        for family in text_string_to_metric_families(scraped.metrics.text().decode())
        for sample in family.samples
        if sample.name == "healthagent_replication_thread_running"
    }
    assert labels == {'"', "\\", "a\ufffdb", "\ufffd", "é", "x" * LABEL_CHARACTERS}


def test_only_so_many_connections_are_told_of() -> None:
    rows = [slave_row(Connection_name=f"c{number}") for number in range(3 * MAX_CONNECTIONS)]
    assert len(of(replica(*rows)).named("replication_error")) == 2 * MAX_CONNECTIONS


# --- mysqld_exporter's names ----------------------------------------------------------------------------------------


def test_the_exporters_names() -> None:
    what = replace(SYNCED, replications=replica(slave_row(Connection_name="m", Seconds_Behind_Master=3)).replications)
    series = of(what, mysqld_names=True).series
    labels = '{channel_name="",connection_name="m",master_host="127.0.0.1",master_uuid=""}'
    assert series["mysql_up"] == 1
    assert series["mysql_global_status_wsrep_local_state"] == 4
    assert series["mysql_global_status_wsrep_cluster_status"] == 1
    assert series["mysql_global_status_wsrep_ready"] == 1
    assert series["mysql_global_variables_read_only"] == 0
    assert series["mysql_global_variables_max_connections"] == 151
    assert series[f"mysql_slave_status_slave_io_running{labels}"] == 1
    assert series[f"mysql_slave_status_seconds_behind_master{labels}"] == 3


@pytest.mark.parametrize(("says", "value"), [("non-Primary", 0), ("Disconnected", 0), ("Primary", 1)])
def test_words_become_the_exporters_numbers(says: str, value: float) -> None:
    series = of(galera(cluster_status=says), mysqld_names=True).series
    assert series["mysql_global_status_wsrep_cluster_status"] == value


@pytest.mark.parametrize(("says", "values"), [("Yes", [1.0]), ("No", [0.0]), ("Connecting", [0.0]), ("Preparing", [])])
def test_threads_become_the_exporters_numbers(says: str, values: list[float]) -> None:
    scraped = of(replica(slave_row(Slave_IO_Running=says)), mysqld_names=True)
    assert list(scraped.named("mysql_slave_status_slave_io_running").values()) == values


def test_a_host_is_told_without_its_port() -> None:
    for host in ("db1.example", "::1", "10.0.0.1"):
        scraped = of(replica(slave_row(Master_Host=host, Master_Port=3306)), mysqld_names=True)
        (name,) = scraped.named("mysql_slave_status_slave_io_running")
        assert f'master_host="{host}"' in name


def test_without_the_setting_there_is_none_of_them() -> None:
    assert of(SYNCED).named("mysql_") == {}


# --- formats --------------------------------------------------------------------------------------------------------

TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
PROMETHEUS_2 += "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
PROMETHEUS_3 += "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
PROMETHEUS_3 += "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, "application/openmetrics-text"])
def test_openmetrics_where_it_is_asked_for(accept: str) -> None:
    content_type, body = of(SYNCED).metrics.scrape(accept)
    assert content_type.startswith("application/openmetrics-text; version=")
    assert body.endswith(b"\n# EOF\n")
    assert body.count(b"# EOF") == 1
    assert b"# TYPE healthagent_checks counter" in body or b"# TYPE healthagent_transitions counter" in body


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/json", "text/plain;version=0.0.4", ",;=,;;"])
def test_text_for_everybody_else(accept: str) -> None:
    content_type, body = of(SYNCED).metrics.scrape(accept)
    assert (content_type, b"# EOF" in body) == (TEXT, False)
    assert b"# TYPE healthagent_transitions_total counter" in body


@pytest.mark.parametrize(
    "version", ["x", "", "1", "9.9.9", "1.0.0.0", "1.0.x", "0.0.4\\", '1.0.0"', "1" * 5000, "2.0.0", "1.0.0 ;version=x"]
)
@pytest.mark.parametrize("media", ["application/openmetrics-text", "text/plain"])
def test_versions_that_there_are_not_change_nothing(media: str, version: str) -> None:
    """prometheus_client 0.26 compares what it finds with numbers, fails, or says it again in its answer."""
    content_type, body = of(SYNCED).metrics.scrape(f"{media};version={version}, */*")
    assert content_type == TEXT
    assert b"healthagent_up 1" in body


def test_what_is_kept_of_the_header() -> None:
    assert understood(PROMETHEUS_2) == PROMETHEUS_2
    assert understood("a;version=x, b") == "b"


def test_the_agents_own_process_is_told_on_the_network_and_not_in_the_file() -> None:
    metrics = of(SYNCED).metrics
    assert b"process_cpu_seconds_total" in metrics.scrape("")[1]
    assert b"process_" not in metrics.text()


@pytest.mark.parametrize("accept", ["", PROMETHEUS_2], ids=["text", "OpenMetrics"])
def test_what_is_kept_between_scrapes_is_what_would_be_encoded_anew(accept: str) -> None:
    scraped = of(SYNCED)
    for what in (SYNCED, galera(read_only=1), DOWN, REPLICA, SYNCED):
        scraped.sees(what).metrics.tally.cell("x", "any", "200")[0] += 1
        fresh = Metrics(scraped.board)
        fresh.tally = scraped.metrics.tally
        assert without_moving(scraped.metrics.scrape(accept)[1]) == without_moving(fresh.scrape(accept)[1])


def without_moving(text: bytes) -> list[bytes]:
    moving = re.compile(rb"(process_|healthagent_sample_age_seconds )")
    return [line for line in text.splitlines() if not moving.match(line)]


def test_there_is_no_series_of_when_a_counter_began() -> None:
    for accept in ("", PROMETHEUS_2):
        assert b"_created" not in of(SYNCED, mysqld_names=True).metrics.scrape(accept)[1]


# --- the table ------------------------------------------------------------------------------------------------------


def everything() -> set[tuple[str, str, tuple[str, ...]]]:
    """(name, type, labels) of all that stands in the text of agents of several kinds."""
    own = Role(name="own", base=Base.READER, drain=True)
    makes: list[Callable[[], Publication | Snapshot]] = [lambda: SYNCED, lambda: REPLICA, lambda: PRIMARY, lambda: DOWN]
    found: set[tuple[str, str, tuple[str, ...]]] = set()
    for make in makes:
        agent = Agent(replace(POLICY, roles=(*ROLES, own, replace(own, name="trial", dry_run=True))))
        scraped = Scraped(agent, mysqld_names=True)
        for _ in range(4):
            scraped.sees(beside(make(), disk=Disk(free_bytes=1, total_bytes=2)))  # type: ignore[arg-type]
        scraped.metrics.loaded()
        scraped.metrics.tally.cell("0.0.0.0:9200", "any", "200")[0] += 1
        for family in text_string_to_metric_families(scraped.metrics.text().decode()):
            for sample in family.samples:
                name = re.sub("_(bucket|sum|count)$", "", sample.name) if family.type == "histogram" else sample.name
                labels = tuple(sorted(label for label in sample.labels if label != "le"))
                found.add((name, "untyped" if family.type == "unknown" else family.type, labels))
    return found


def test_the_table_has_every_metric_with_its_type_and_labels() -> None:
    listed = {(it.name, it.kind.value, tuple(sorted(it.labels))) for it in (*FAMILIES, *MYSQLD_FAMILIES)}
    told = everything()
    assert told - listed == set()
    missing = {name for name, _, _ in listed - told}
    assert missing == {"mysql_global_variables_port", "mysql_global_variables_server_id"} | {
        "mysql_global_variables_skip_networking"
    }, "these the example rows do not have"
