"""What `config haproxy` and `config keepalived` print for a real cluster: the nodes are its members, and a real HAProxy
takes a node out within the budget that stands in the file's head.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from healthagent.kinds import duration_seconds
from lab import Agent, GaleraNode, HAProxy, sql
from lab.network import cut_off
from lab.process import lab_dir
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import measured, reloaded

BUSY_SECONDS = 0.7  # a machine on which other tests run


def printed(*arguments: str) -> str:
    """`healthagent config ARGUMENTS`."""
    command = [sys.executable, "-m", "healthagent", "config", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def budget(text: str, what: str) -> float:
    """Seconds that the head of the file gives the class of events."""
    line = next(line for line in text.splitlines() if what in line)
    return duration_seconds(line.split()[-1])


@pytest.fixture(scope="module")
def weighing(running_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with agent-check for readers where the printed file expects it."""
    running_cluster.heal()
    with ExitStack() as stack:
        for agent, node in zip(running_cluster.agents, running_cluster.galera.nodes, strict=True):
            stack.enter_context(reloaded(agent, agent_check={"listen": {f"{node.address}:9202": "reader"}}))
        yield running_cluster


@pytest.fixture(scope="module")
def text(weighing: Cluster) -> str:
    """Printed by the second node, out of what its daemon knows."""
    return printed("haproxy", "--config", str(weighing.agents[1].config_file))


@pytest.fixture(scope="module")
def haproxy(text: str) -> Iterator[HAProxy]:
    need("haproxy")
    with HAProxy(text, name="recipe") as haproxy:
        haproxy.start()
        yield haproxy


@pytest.fixture
def balancer(haproxy: HAProxy, weighing: Cluster) -> HAProxy:
    """Every server up for writer and reader."""
    weighing.heal()
    for name in ("n1", "n2", "n3"):
        haproxy.wait_status("writer", name, "UP", 20)
        haproxy.wait_until(lambda name=name: haproxy.server("reader", name)["weight"] == "100", 20, "its weight")  # type: ignore[misc]
    return haproxy


def test_the_nodes_are_those_of_the_cluster(text: str, weighing: Cluster) -> None:
    """Whoever is asked: each agent prints the same, and so does one probe where no agent runs."""
    found = re.findall(r"server (n\d) (\S+)( backup)?\n", text)
    assert found[:3] == [
        ("n1", "127.0.0.1:3306", ""),
        ("n2", "127.0.0.2:3306", " backup"),
        ("n3", "127.0.0.3:3306", " backup"),
    ]
    assert found[3:] == [(name, place, "") for name, place, _ in found[:3]]
    assert "agent-port 9202" in text
    agent = weighing.agents[0]
    assert printed("haproxy", "--config", str(agent.config_file)) == text
    alone = lab_dir() / "alone.yaml"
    listen = '{http: {listen: ["127.0.0.1:9200"]}, agent_check: {listen: {"127.0.0.1:9202": reader}}'
    alone.write_text(f"{listen}, mysql: {{socket: {weighing.galera.nodes[0].socket}}}, control: {{socket: /nobody}}}}")
    assert printed("haproxy", "--config", str(alone)) == text


def test_sessions_go_where_the_file_says(balancer: HAProxy) -> None:
    def node(port: int) -> str:
        session = sql.connect(user="app", password="app", timeout=5, host="127.0.0.1", port=port)
        try:
            (row,) = sql.rows(session, "SELECT @@wsrep_node_name AS name")
            return str(row["name"])
        finally:
            session.close()

    assert {node(3307) for _ in range(4)} == {"n1"}
    assert {node(3308) for _ in range(6)} == {"n1", "n2", "n3"}


def out(balancer: HAProxy, name: str, do: Callable[[], object]) -> float:
    """Seconds from the fault until the server is down for writes and for reads."""
    began = time.monotonic()
    do()
    for backend in ("writer", "reader"):
        balancer.wait_status(backend, name, "DOWN", 12)
    return time.monotonic() - began


def within(text: str, event: str, what: str, took: float) -> None:
    allowed = budget(text, event)
    measured(f"printed HAProxy file: {what}: out after {1000 * took:.0f} ms, budget {1000 * allowed:.0f} ms")
    assert took < allowed + BUSY_SECONDS


def test_a_server_that_says_so(balancer: HAProxy, node: GaleraNode, text: str) -> None:
    try:
        took = out(balancer, "n2", lambda: node.execute("SET GLOBAL wsrep_reject_queries = ALL"))
    finally:
        node.execute("SET GLOBAL wsrep_reject_queries = NONE")
    within(text, "the server says so", "wsrep_reject_queries", took)


def test_a_frozen_agent(balancer: HAProxy, agent: Agent, text: str) -> None:
    try:
        took = out(balancer, "n2", agent.freeze)
    finally:
        agent.thaw()
    within(text, "its host, is silent", "a frozen agent", took)


def test_a_host_that_is_cut_off(balancer: HAProxy, text: str) -> None:
    """For as short a time as this takes, so the cluster does not lose the member. Here the kernel says at once that
    there is no way; where packets just vanish HAProxy gives up after `inter`.
    """
    with ExitStack() as stack:
        took = out(balancer, "n3", lambda: stack.enter_context(cut_off("127.0.0.3")))
    within(text, "its host, is silent", "a host that is cut off", took)


def test_a_frozen_server(balancer: HAProxy, node: GaleraNode, text: str) -> None:
    try:
        took = out(balancer, "n2", node.freeze)
    finally:
        node.thaw()
    within(text, "the server hangs", "a frozen server", took)


def test_a_killed_server(balancer: HAProxy, node: GaleraNode, text: str) -> None:
    took = out(balancer, "n2", node.kill)
    within(text, "or is gone", "a killed server", took)


# --- keepalived -----------------------------------------------------------------------------------------------------


OWN, VIP = "10.9.8.1", "10.9.8.7/24"


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def interface() -> Iterator[str]:
    """keepalived takes no loopback interface."""
    need("ip", "keepalived")
    ip("link", "add", "vip0", "type", "veth", "peer", "name", "vip1")
    ip("address", "add", f"{OWN}/24", "dev", "vip0")
    for name in ("vip0", "vip1"):
        ip("link", "set", name, "up")
    yield "vip0"
    ip("link", "del", "vip0")


def written(text: str) -> Path:
    """The file, with a script whose path only root could have written, and track files in a directory of the lab."""
    file = lab_dir() / "keepalived.conf"
    text = re.sub(r'script "\S+ check', 'script "/bin/true check', text)
    file.write_text(text.replace("/run/healthagent-track", str(lab_dir())))
    return file


def accepted(text: str) -> None:
    """`keepalived -t` has nothing to say."""
    file = written(text)
    done = subprocess.run(["keepalived", "-t", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), text


@pytest.mark.parametrize("within", ["2700ms", "3s", "10s"])
def test_keepalived_accepts_what_is_printed(within: str, interface: str, weighing: Cluster) -> None:
    config = str(weighing.agents[0].config_file)
    vip = ["--vip", VIP, "--interface", interface, "--detect-within", within]
    first, second = (printed("keepalived", "--config", config, *vip, "--this", name) for name in ("n1", "n2"))
    for text in (first, second):
        accepted(text)
    assert re.findall(r"priority (\d+)", first + second) == ["100", "99"]
    assert re.findall(r"unicast_src_ip (\S+)", first + second) == ["127.0.0.1", "127.0.0.2"]
