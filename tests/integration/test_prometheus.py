"""A real Prometheus with the rules of prometheus-examples, and real agents beside a Galera cluster, a replicating pair
and a single server: each condition is caused, its alert fires, and it ends.

The three play at the same time, each on a thread. Only the time is another than in the examples: everything is scraped
and evaluated each second, every `for` is 2 s, and what looks back over minutes looks back over seconds.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from lab import Agent, Galera, MariaDB, Pair, Prometheus, cut_off, lab_dir, sql, wait_until
from lab.agent import HTTP_PORT
from tests.binaries import need
from tests.examples.test_prometheus import (
    DASHBOARD,
    EXAMPLES,
    RULES,
    alerts,
    expressions,
    filled_in,
    known,
    metrics,
    panels,
    rules,
)
from tests.integration.expect import measured, replicating, says, up_everywhere
from tests.integration.test_galera_gates import in_background, write_rows
from tests.integration.test_recipes import printed

FOR = "2s"
WINDOWS = {"[20s]": "[2s]", "[5m]": "[15s]", "[10m]": "[30s]"}
EXPORTER = ("127.0.0.1", 9100)
DISK, DISK_MEGABYTES = "HealthagentDiskSpace", 512
SLOW_KIB_PER_SECOND = 5000
MAX_CONNECTIONS = 40
STORY_SECONDS = 300


def hurried(text: str) -> str:
    """The same rules with less patience."""
    for window, shorter in WINDOWS.items():
        text = text.replace(window, shorter)
    return re.sub(r"^( +for:) .*$", rf"\1 {FOR}", text, flags=re.MULTILINE)


def configuration(targets: dict[str, list[str]]) -> str:
    """That of the examples, for these targets by cluster."""
    config = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    faster = lab_dir() / RULES.name
    faster.write_text(hurried(RULES.read_text()))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(faster)]
    (scrape,) = config["scrape_configs"]
    scrape |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    scrape["static_configs"] = [
        {"targets": found, "labels": {"cluster": cluster}} for cluster, found in targets.items()
    ]
    config["scrape_configs"].append(
        {
            "job_name": "node",
            "static_configs": [{"targets": ["{}:{}".format(*EXPORTER)], "labels": {"cluster": "single"}}],
        }
    )
    return json.dumps(config)


class NodeExporter:
    """What node_exporter tells of the textfile; `age` of it in seconds."""

    def __init__(self) -> None:
        self.age = 0.0
        exporter = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                file = "/var/lib/prometheus/node-exporter/healthagent.prom"
                written = time.time() - exporter.age
                self.wfile.write(f'node_textfile_mtime_seconds{{file="{file}"}} {written}\n'.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(EXPORTER, Page)
        self._thread = Thread(target=self._server.serve_forever)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def instance(agent: Agent) -> str:
    return "{}:{}".format(*agent.address)


def beside(server: MariaDB, address: str) -> Agent:
    """Its agent, asked on an address that stays when the server's own is cut off; it answers on both."""
    http = {"listen": [f"{address}:{HTTP_PORT}", f"{server.address}:{HTTP_PORT}"]}
    trial = {"base": "reader", "max_lag": "1s", "dry_run": True}  # no alert goes by what it does
    return Agent.for_node(server, http=http, roles={"trial": trial})


@contextmanager
def on_a_small_disk(server: MariaDB) -> Iterator[None]:
    """The server's end, too. Not where servers have a root of their own: what is mounted here is not theirs."""
    server.prepare()
    if "LAB_TREE" in os.environ:
        with server:
            yield
        return
    place, copy = server.datadir, server.directory / "copy"
    place.rename(copy)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}M", "prometheus", place], check=True)
    try:
        subprocess.run(["cp", "-a", "--sparse=always", f"{copy}/.", place], check=True)
        yield
    finally:
        server.close()
        subprocess.run(["umount", "--lazy", place], check=True)


class Stage:
    """All servers, an agent beside each, and the Prometheus that scrapes them."""

    def __init__(self) -> None:
        self.galera = Galera()
        self.pair = Pair(addresses=("127.0.0.11", "127.0.0.12"))
        self.single = MariaDB("single", "127.0.0.21", options={"max_connections": MAX_CONNECTIONS})
        self.agents = {
            "galera": [beside(node, f"127.0.2.{number}") for number, node in enumerate(self.galera.nodes, start=1)],
            "pair": [beside(self.pair.primary, "127.0.2.11"), beside(self.pair.replica, "127.0.2.12")],
            "single": [beside(self.single, "127.0.2.21")],
        }
        self.targets = {name: [instance(agent) for agent in agents] for name, agents in self.agents.items()}
        self.prometheus = Prometheus(configuration(self.targets))
        self.exporter = NodeExporter()
        self._stack = ExitStack()

    def start(self) -> None:
        everything = [agent for agents in self.agents.values() for agent in agents]
        for process in (self.galera, self.pair, *everything, self.prometheus):
            self._stack.callback(process.close)
        self._stack.callback(self.exporter.close)
        self.exporter.start()
        self._stack.enter_context(on_a_small_disk(self.single))
        with ThreadPoolExecutor() as pool:
            for begun in [pool.submit(work) for work in (self.galera.start, self.pair.start, self.single.up)]:
                begun.result()
        for agent in everything:
            agent.start()
        self.prometheus.start()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    need("mariadbd", "rsync", "mount", "prometheus")
    stage = Stage()
    try:
        stage.start()
        yield stage
    finally:
        stage.close()


@pytest.fixture(scope="module")
def prometheus(stage: Stage) -> Prometheus:
    return stage.prometheus


@pytest.fixture(scope="module")
def began() -> float:
    """Seconds since the epoch."""
    return time.time()


@pytest.fixture(scope="module")
def stories(stage: Stage) -> Iterator[dict[str, "Future[float]"]]:
    """They begin with the first test that asks for one."""
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(timed, story, stage) for name, story in STORIES.items()}


@pytest.fixture(scope="module")
def done(stories: dict[str, "Future[float]"]) -> None:
    """All stories have come to their end, whichever it was."""
    assert not wait(stories.values(), STORY_SECONDS).not_done


def timed(story: Callable[[Stage], None], stage: Stage) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    story(stage)
    return time.monotonic() - began


def quiet(prometheus: Prometheus, cluster: str) -> None:
    """At the end of a story, nothing of its cluster fires."""
    wait_until(lambda: not prometheus.firing(cluster=cluster), 60, f"no alert for {cluster}", logs=[prometheus.log])


# --- the stories -----------------------------------------------------------------------------------------------------


def galera_story(stage: Stage) -> None:
    nobody_serves(stage)
    one_pauses_all(stage)
    one_goes_up_and_down(stage)
    one_is_cut_off(stage)
    two_sides(stage)
    quiet(stage.prometheus, "galera")


def nobody_serves(stage: Stage) -> None:
    prometheus, nodes = stage.prometheus, stage.galera.nodes
    first, last = nodes[0], stage.targets["galera"][2]
    nodes[2].execute("SET GLOBAL wsrep_desync = ON")
    for node in nodes:
        node.execute("SET GLOBAL wsrep_reject_queries = ALL")
    prometheus.wait_firing("HealthagentNoWriter", cluster="galera", severity="critical")
    prometheus.wait_firing("HealthagentNoReader", cluster="galera")
    prometheus.wait_firing("HealthagentOutOfService", instance=stage.targets["galera"][0])
    for node in nodes:
        node.execute("SET GLOBAL wsrep_reject_queries = NONE")
    prometheus.wait_firing("HealthagentDesyncedTooLong", instance=last)
    prometheus.wait_clear("HealthagentOutOfService", cluster="galera")
    nodes[2].execute("SET GLOBAL wsrep_desync = OFF")
    for alert in (
        "HealthagentNoWriter",
        "HealthagentNoReader",
        "HealthagentOutOfService",
        "HealthagentDesyncedTooLong",
    ):
        prometheus.wait_clear(alert, cluster="galera")
    assert first.is_synced()


def one_pauses_all(stage: Stage) -> None:
    """The alert names it, and neither of those that wait for it."""
    prometheus, (first, _, third) = stage.prometheus, stage.galera.nodes
    culprit = stage.targets["galera"][2]
    with ExitStack() as stack:
        holder = stack.enter_context(third.client())
        sql.execute(holder, "LOCK TABLES shop.orders WRITE")
        stack.enter_context(in_background(lambda: write_rows(first, 22, 200)))
        stack.callback(sql.execute, holder, "UNLOCK TABLES")
        prometheus.wait_firing("HealthagentClusterPaused", cluster="galera")
        prometheus.wait_firing("HealthagentPausesCluster", instance=culprit)
        prometheus.wait_firing("HealthagentRecvQueue", instance=culprit)
        for alert in ("HealthagentPausesCluster", "HealthagentRecvQueue"):
            assert [found["instance"] for found in prometheus.firing(alertname=alert)] == [culprit]
        holder_sent = prometheus.query(f'healthagent_galera_flow_control_sent_total{{instance="{culprit}"}}')
        assert holder_sent[0][1] > 0
    for alert in ("HealthagentClusterPaused", "HealthagentPausesCluster", "HealthagentRecvQueue"):
        prometheus.wait_clear(alert, cluster="galera")


def one_goes_up_and_down(stage: Stage) -> None:
    node, agent = stage.galera.nodes[0], stage.agents["galera"][0]
    for _ in range(6):
        node.execute("SET GLOBAL read_only = ON")
        wait_until(lambda: says(agent, "writer") == "503 read_only", 5, "down")
        node.execute("SET GLOBAL read_only = OFF")
        wait_until(lambda: says(agent, "writer") == "200", 15, "up")
    stage.prometheus.wait_firing("HealthagentFlapping", instance=instance(agent))


def one_is_cut_off(stage: Stage) -> None:
    """And comes back with a lock that it cannot get past: it is a member again, and not ready."""
    prometheus, (first, _, third) = stage.prometheus, stage.galera.nodes
    gone = stage.targets["galera"][2]
    with third.client() as holder:
        sql.execute(holder, "LOCK TABLES shop.orders WRITE")
        with cut_off(third.address):
            prometheus.wait_firing("HealthagentNonPrimary", instance=gone)
            write_rows(first, 23, 5)
        prometheus.wait_firing("HealthagentNotReady", instance=gone)
    for alert in ("HealthagentNonPrimary", "HealthagentNotReady"):
        prometheus.wait_clear(alert, instance=gone)
    stage.galera.wait_synced()


def two_sides(stage: Stage) -> None:
    """A cut node that is told to be a cluster of its own; then it dies, and comes back by a full copy."""
    prometheus, (_, second, third) = stage.prometheus, stage.galera.nodes
    donor, gone = stage.targets["galera"][1:]
    with cut_off(third.address):
        wait_until(lambda: third.status("wsrep_cluster_status") == "non-Primary", 30, "no quorum")
        third.set_provider("pc.bootstrap", "ON")
        prometheus.wait_firing("HealthagentSplitView", cluster="galera")
        third.kill()
        prometheus.wait_firing("HealthagentNodeDown", instance=gone)
    prometheus.wait_firing("HealthagentClusterSizeChanged", cluster="galera")
    prometheus.wait_clear("HealthagentSplitView", cluster="galera")
    third.join_by_sst("rsync", donor=second, kib_per_second=SLOW_KIB_PER_SECOND)
    prometheus.wait_firing("HealthagentCrashLoop", instance=gone)  # down and starting, and that long: here 2 s will do
    prometheus.wait_firing("HealthagentJoiningTooLong", instance=gone)
    prometheus.wait_firing("HealthagentDonorTooLong", instance=donor)
    prometheus.wait_clear("HealthagentNodeDown", instance=gone)
    second.throttle_sst(None)
    third.wait_synced(90)
    for alert in ("HealthagentCrashLoop", "HealthagentJoiningTooLong", "HealthagentDonorTooLong"):
        prometheus.wait_clear(alert, cluster="galera")
    prometheus.wait_clear("HealthagentClusterSizeChanged", cluster="galera")


def pair_story(stage: Stage) -> None:
    replicating(stage.agents["pair"][1])
    lags(stage)
    stops_and_fails(stage)
    hears_nothing(stage)
    two_writers(stage)
    quiet(stage.prometheus, "pair")


@contextmanager
def behind(pair: Pair, seconds: int) -> Iterator[None]:
    """A transaction that is so old, by the clock of the session that has made it, and that cannot be applied."""
    with pair.replica.client() as holder, pair.primary.client() as session:
        sql.execute(holder, "LOCK TABLES shop.orders WRITE")
        # By rows: a statement's event also says how long it took, from that clock to the real one.
        sql.execute(session, f"SET SESSION binlog_format = ROW, timestamp = UNIX_TIMESTAMP() - {seconds}")
        sql.execute(session, "INSERT INTO shop.orders (client, seq) VALUES (31, 1)")
        yield
    pair.primary.execute("DELETE FROM shop.orders WHERE client = 31")
    pair.wait_caught_up()


def lags(stage: Stage) -> None:
    prometheus, replica = stage.prometheus, stage.targets["pair"][1]
    alert, fired = "HealthagentReplicaLag", []
    for seconds, severity in ((12, "info"), (40, "warning"), (100, "critical")):
        with behind(stage.pair, seconds):
            prometheus.wait_firing(alert, instance=replica, severity=severity)
            fired.append({found["severity"] for found in prometheus.firing(alertname=alert)})
        prometheus.wait_clear(alert, instance=replica)
    assert fired == [{"info"}, {"info", "warning"}, {"info", "warning", "critical"}]


def stops_and_fails(stage: Stage) -> None:
    prometheus, pair, replica = stage.prometheus, stage.pair, stage.targets["pair"][1]
    pair.replica.execute("STOP SLAVE IO_THREAD")
    prometheus.wait_firing("HealthagentReplicaStopped", instance=replica, thread="io")
    pair.follow()
    prometheus.wait_clear("HealthagentReplicaStopped", instance=replica)
    pair.break_sql()
    prometheus.wait_firing("HealthagentReplicaError", instance=replica, thread="sql")
    assert [value for _, value in prometheus.query("healthagent_replication_error != 0")] == [1062]
    pair.repair_sql()
    prometheus.wait_clear("HealthagentReplicaError", instance=replica)


def hears_nothing(stage: Stage) -> None:
    """A primary that is frozen: its own agent says so, and so does the replica, when the heartbeats are missed."""
    prometheus, (primary, replica) = stage.prometheus, stage.targets["pair"]
    stage.pair.primary.freeze()
    prometheus.wait_firing("HealthagentNodeDown", instance=primary)
    prometheus.wait_firing("HealthagentNoWriter", cluster="pair")
    prometheus.wait_firing("HealthagentLinkStale", instance=replica)
    stage.pair.primary.thaw()
    for alert in ("HealthagentNodeDown", "HealthagentNoWriter", "HealthagentLinkStale"):
        prometheus.wait_clear(alert, cluster="pair")


def two_writers(stage: Stage) -> None:
    pair = stage.pair
    pair.forget("")
    assert "thread" not in stage.prometheus.wait_firing("HealthagentReplicaStopped", instance=stage.targets["pair"][1])
    pair.replica.execute("SET GLOBAL read_only = OFF")
    stage.prometheus.wait_firing("HealthagentSeveralWriters", cluster="pair")
    pair.replica.execute("SET GLOBAL read_only = ON")
    stage.prometheus.wait_clear("HealthagentSeveralWriters", cluster="pair")
    pair.follow()
    stage.prometheus.wait_clear("HealthagentReplicaStopped", cluster="pair")


def single_story(stage: Stage) -> None:
    refuses_its_configuration(stage)
    fills_its_disk(stage)
    fills_its_connections(stage)
    stops_looking(stage)
    is_gone(stage)
    leaves_its_file(stage)
    quiet(stage.prometheus, "single")


def fills_its_disk(stage: Stage) -> None:
    if "LAB_TREE" in os.environ:
        return
    prometheus, single, ballast = stage.prometheus, stage.targets["single"][0], stage.single.datadir / "ballast"
    for free, severity in ((0.07, "warning"), (0.03, "critical")):
        ballast.unlink(missing_ok=True)
        (_, before) = prometheus.query(f'healthagent_datadir_free_ratio{{instance="{single}"}}')[0]
        assert before > 0.1
        size = round((before - free) * DISK_MEGABYTES)
        subprocess.run(["fallocate", f"--length={size}M", ballast], check=True)
        prometheus.wait_firing(DISK, instance=single, severity=severity)
        if severity == "warning":
            assert [found["severity"] for found in prometheus.firing(alertname=DISK)] == [severity]
        ballast.unlink()
        prometheus.wait_clear(DISK, instance=single)


def fills_its_connections(stage: Stage) -> None:
    single = stage.targets["single"][0]
    with ExitStack() as clients:
        for _ in range(round(0.9 * MAX_CONNECTIONS)):
            where = {"host": stage.single.address, "port": stage.single.port}
            clients.enter_context(sql.connect(user="app", password="app", timeout=10, **where))
        stage.prometheus.wait_firing("HealthagentConnections", instance=single)
    stage.prometheus.wait_clear("HealthagentConnections", instance=single)


def refuses_its_configuration(stage: Stage) -> None:
    agent, single = stage.agents["single"][0], stage.targets["single"][0]
    agent.config_file.write_text("prob: {}\n")
    agent.signal(signal.SIGHUP)
    stage.prometheus.wait_firing("HealthagentReloadFailed", instance=single)
    agent.configure()
    agent.signal(signal.SIGHUP)
    stage.prometheus.wait_clear("HealthagentReloadFailed", instance=single)


def stops_looking(stage: Stage) -> None:
    """As one that is told to look twice a minute."""
    agent, single, before = stage.agents["single"][0], stage.targets["single"][0], stage.agents["single"][0].config
    agent.configure(probe={"interval": "30s", "fast_interval": "30s", "max_age": "60s", "client_port": "off"})
    agent.signal(signal.SIGHUP)
    stage.prometheus.wait_firing("HealthagentAgentStale", instance=single, timeout=45)
    agent.config = before
    agent.configure()
    agent.signal(signal.SIGHUP)
    stage.prometheus.wait_clear("HealthagentAgentStale", instance=single)


def is_gone(stage: Stage) -> None:
    agent, single = stage.agents["single"][0], stage.targets["single"][0]
    agent.kill()
    stage.prometheus.wait_firing("HealthagentAgentGone", instance=single)
    stage.prometheus.wait_firing("HealthagentNoReader", cluster="single")
    agent.start()
    stage.prometheus.wait_clear("HealthagentAgentGone", instance=single)


def leaves_its_file(stage: Stage) -> None:
    stage.exporter.age = 1000
    stage.prometheus.wait_firing("HealthagentTextfileOld", cluster="single")
    stage.exporter.age = 0
    stage.prometheus.wait_clear("HealthagentTextfileOld", cluster="single")


STORIES = {"galera": galera_story, "pair": pair_story, "single": single_story}


# --- the tests -------------------------------------------------------------------------------------------------------


def test_nothing_fires_while_all_is_well(stage: Stage, prometheus: Prometheus, began: float) -> None:
    """Nor is anything about to."""
    for agents in stage.agents.values():
        for agent in agents[:1]:
            up_everywhere(agent)
    count = sum(map(len, stage.targets.values()))
    well = f"count(count_over_time(healthagent_up[5s]) >= 5 and min_over_time(healthagent_up[5s]) == 1) == {count}"
    prometheus.wait_until(lambda: prometheus.query(well) and not prometheus.alerts(), 30, "all is well for 5 s")
    fired = prometheus.query('count_over_time(ALERTS{alertstate="firing"}[5m])')
    # Until it has scraped for the first time there is no target, and that is longer than 2 s.
    assert [labels for labels, _ in fired if labels["alertname"] != "HealthagentNotScraped"] == []


@pytest.mark.parametrize("name", STORIES)
def test_each_condition_fires_and_ends(name: str, stories: dict[str, "Future[float]"]) -> None:
    took = stories[name].result(STORY_SECONDS)
    measured(f"Prometheus: the alerts of {name} fire and end within {took:.0f} s")


def test_every_metric_that_is_asked_for_has_been_scraped(prometheus: Prometheus, done: None) -> None:
    told = set(prometheus.ask("label/__name__/values"))
    asked = {name for rule in rules() for name in metrics(rule["expr"])}
    asked |= {name for _, expression in expressions() for name in metrics(expression)}
    assert asked - told == set()


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_shows_something(panel: dict[str, Any], stage: Stage, began: float, done: None) -> None:
    """By the variables that are filled in as Grafana does it, over all of the time; where it repeats, for each role."""
    chosen = ["any", "reader", "writer"] if panel.get("repeat") else ["(any|reader|writer)"]
    for expression in (target["expr"] for target in panel["targets"]):
        for role in chosen:
            found: list[Any] = []
            for cluster, instances in stage.targets.items():
                asked = filled_in(expression, cluster=cluster, instances=instances, role=role, interval="15s")
                times = {"start": began, "end": time.time(), "step": 2}
                found += stage.prometheus.ask("query_range", query=asked, **times)["result"]
            assert found, expression


def test_every_variable_has_values(prometheus: Prometheus, done: None) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            ((match, label),) = re.findall(r"^label_values\((.*), (\w+)\)$", variable["query"]["query"])
            asked = filled_in(match, cluster="galera", instances=[], role="any", interval="15s")
            assert prometheus.ask(f"label/{label}/values", **{"match[]": asked}), variable["name"]


def test_a_prometheus_without_targets_or_their_cluster_says_so(
    stage: Stage, prometheus: Prometheus, done: None
) -> None:
    prometheus.reload(configuration({"": stage.targets["single"]}))
    prometheus.wait_firing("HealthagentNoClusterLabel")
    prometheus.reload(configuration({}))
    prometheus.wait_clear("HealthagentNoClusterLabel")
    prometheus.wait_firing("HealthagentNotScraped", severity="critical")
    prometheus.reload(configuration(stage.targets))
    prometheus.wait_clear("HealthagentNotScraped")


def test_every_alert_has_fired_and_none_does_now(prometheus: Prometheus, done: None) -> None:
    wanted = {known(alert) for alert in alerts() if "LAB_TREE" not in os.environ or alert["alert"] != DISK}
    fired = prometheus.query('count by (alertname, severity) (count_over_time(ALERTS{alertstate="firing"}[1h]))')
    assert wanted - {(labels["alertname"], labels["severity"]) for labels, _ in fired} == set()
    assert prometheus.firing() == []


def test_what_is_printed_scrapes_the_cluster(stage: Stage, done: None) -> None:
    """By its own intervals, and beside the rules as they stand."""
    name = "printed"
    socket = stage.agents["galera"][0].control_socket
    text = printed("prometheus", "--socket", str(socket), "--cluster", "shop", "--detect-within", "4500ms")
    with Prometheus(text, name=name, port=9091) as prometheus:
        shutil.copy(RULES, prometheus.directory)
        prometheus.start()
        prometheus.wait_until(
            lambda: prometheus.query('count(up{cluster="shop"} == 1) == 3'), 15, "three agents are up"
        )
        found = prometheus.ask("rules")["groups"]
        assert sum(len(group["rules"]) for group in found) == len(rules())
