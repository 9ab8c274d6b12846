"""hetzner-examples: the hcloud CLI runs every shell file against a recorder of its API; Terraform and YAML are read.

There is no terraform in Debian: its files are parsed as HCL and held against the provider's documented names.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from tests.binaries import need
from tests.examples.hcloud_api import TOKEN, HcloudApi

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "hetzner-examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
PLANS = sorted(EXAMPLES.glob("*.tf"))
ASKED = {"interval": 4, "timeout": 1, "retries": 2}


def http_check(role: str) -> dict[str, Any]:
    http = {"path": f"/{role}", "status_codes": ["200"]}
    return {"protocol": "http", "port": 9200, **ASKED, "http": http}


# listen port -> destination port, health check
SERVICES: dict[str, dict[int, tuple[int, dict[str, Any]]]] = {
    "mariadb": {3306: (3306, http_check("writer")), 3307: (3306, http_check("reader"))},
    "haproxy-nodes": {3306: (3306, http_check("writer")), 3307: (3307, http_check("reader"))},
    "proxysql-nodes": {3306: (6033, {"protocol": "tcp", "port": 6033, **ASKED})},
}


class Run:
    """bash with that text, and hcloud as it is when somebody has logged in: to a recorder that knows `servers`."""

    def __init__(self, text: str, servers: Iterable[str], directory: Path) -> None:
        with HcloudApi(servers) as self.api:
            env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
            env |= {"HCLOUD_ENDPOINT": self.api.url, "HCLOUD_TOKEN": TOKEN}
            done = subprocess.run(
                ["bash", "-c", text], env=env, capture_output=True, text=True, check=False, timeout=120
            )
        self.status, self.error = done.returncode, done.stderr

    def changes(self, what: str) -> list[Any]:
        return self.api.changes(what)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Every script, and what `config hetzner` prints, all at once: hcloud waits half a second for each change."""
    need("hcloud", "bash")
    directory = tmp_path_factory.mktemp("hcloud")
    texts = {path.stem: path.read_text() for path in SCRIPTS}
    asked = {name: (text, servers_of(text)) for name, text in texts.items()}
    asked["a server is missing"] = texts["mariadb"], ["db1"]
    asked["printed"] = printed(directory), ["db1", "db2"]
    asked["printed, and a server is missing"] = printed(directory), ["db1"]
    with ThreadPoolExecutor(len(asked)) as pool:
        started = {name: pool.submit(Run, *what, directory) for name, what in asked.items()}
        return {name: run.result() for name, run in started.items()}


def printed(directory: Path) -> str:
    """`healthagent config hetzner` for two servers."""
    config = directory / "healthagent.yaml"
    config.write_text("mysql: {user: agent, topology: async}\n")
    command = [sys.executable, "-m", "healthagent", "config", "hetzner", "--config", str(config)]
    command += ["--node", "db1=10.0.0.11", "--node", "db2=10.0.0.12", "--detect-within", "20s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def servers_of(script: str) -> list[str]:
    names: str = re.findall(r"^servers=\((.*?)\)", script, re.MULTILINE)[0]
    return names.split()


def told(run: Run, servers: list[str]) -> dict[int, tuple[int, dict[str, Any]]]:
    """What the API was told of every service: listen port -> destination port, health check."""
    (balancer,) = run.changes("load_balancers")
    assert balancer["algorithm"] == {"type": "least_connections"}
    assert len(run.changes("load_balancers/attach_to_network")) == 1
    assert len(run.changes("load_balancers/disable_public_interface")) == 1
    targets = run.changes("load_balancers/add_target")
    assert [run.api.name_of("servers", target["server"]["id"]) for target in targets] == servers
    assert all(target["use_private_ip"] for target in targets)
    last = [path for path, _ in run.api.told][-len(servers) :]
    assert set(last) == {"load_balancers/add_target"}, "the targets come when the checks are right"
    found = {}
    for service in run.changes("load_balancers/add_service"):
        assert (service["protocol"], "health_check" in service) == ("tcp", False)
        found[service["listen_port"]] = (service["destination_port"], dict[str, Any]())
    for update in run.changes("load_balancers/update_service"):
        port = update["listen_port"]
        checked = {key: value for key, value in update["health_check"].items() if value != {}}
        found[port] = (found[port][0], checked)
    return found


def no_port_of_galera(text: str) -> None:
    """In what is configured; a comment may warn of them."""
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())
    assert not re.search(r"\b(4567|4568|4444)\b", code)


def test_there_are_examples() -> None:
    assert {path.stem for path in SCRIPTS} == {*SERVICES, "firewall"}
    assert {path.stem for path in PLANS} == {"mariadb", "haproxy-nodes", "firewall"}
    readme = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.iterdir() if path.name not in readme and path.name != "README.md"] == []


@pytest.mark.parametrize("name", SERVICES)
def test_hcloud_runs_it(name: str, runs: dict[str, Run]) -> None:
    assert runs[name].status == 0, runs[name].error
    text = (EXAMPLES / f"{name}.sh").read_text()
    assert told(runs[name], servers_of(text)) == SERVICES[name]
    no_port_of_galera(text)


def test_hcloud_runs_what_is_printed(runs: dict[str, Run]) -> None:
    run = runs["printed"]
    assert run.status == 0, run.error
    budget = {"interval": 5, "timeout": 1, "retries": 2}
    assert told(run, ["db1", "db2"]) == {
        3306: (3306, http_check("writer") | budget),
        3307: (3306, http_check("reader") | budget),
    }


def test_hcloud_makes_the_firewall(runs: dict[str, Run]) -> None:
    run = runs["firewall"]
    assert run.status == 0, run.error
    (rules,) = run.changes("firewalls/set_rules")
    assert [(rule["direction"], rule["protocol"], rule["port"]) for rule in rules["rules"]] == [("in", "tcp", "22")]
    assert len(run.changes("firewalls/apply_to_resources")) == 3


def test_a_script_stops_where_the_api_refuses(runs: dict[str, Run]) -> None:
    """The recorder knows no such server: as with a name that somebody has forgotten to adapt."""
    run = runs["a server is missing"]
    assert run.status != 0
    assert "db2" in run.error
    assert len(run.changes("load_balancers/add_target")) == 1


def test_what_is_printed_makes_nothing_where_a_server_is_missing(runs: dict[str, Run]) -> None:
    run = runs["printed, and a server is missing"]
    assert run.status != 0
    assert "db2" in run.error
    assert run.api.told == []


# --- Terraform ------------------------------------------------------------------------------------------------------

# The provider's documentation, docs/resources/*.md: arguments (True: required) and blocks.
HEALTH_HTTP = {"domain": False, "path": False, "response": False, "tls": False, "status_codes": False}
HEALTH = {"protocol": True, "port": True, "interval": True, "timeout": True, "retries": True, "http": HEALTH_HTTP}
SCHEMA: dict[str, dict[str, Any]] = {
    "hcloud_load_balancer": {
        "name": True,
        "load_balancer_type": True,
        "location": False,
        "network_zone": False,
        "algorithm": {"type": True},
        "labels": False,
        "delete_protection": False,
    },
    "hcloud_load_balancer_network": {
        "load_balancer_id": True,
        "network_id": False,
        "subnet_id": False,
        "ip": False,
        "enable_public_interface": False,
    },
    "hcloud_load_balancer_service": {
        "load_balancer_id": True,
        "protocol": True,
        "listen_port": False,
        "destination_port": False,
        "proxyprotocol": False,
        "http": {},
        "health_check": HEALTH,
    },
    "hcloud_load_balancer_target": {
        "type": True,
        "load_balancer_id": True,
        "server_id": False,
        "label_selector": False,
        "ip": False,
        "use_private_ip": False,
    },
    "hcloud_firewall": {
        "name": False,
        "labels": False,
        "rule": {
            "direction": True,
            "protocol": True,
            "port": False,
            "source_ips": True,
            "destination_ips": False,
            "description": False,
        },
    },
    "hcloud_firewall_attachment": {"firewall_id": True, "server_ids": False, "label_selectors": False},
}
OF_EVERY_RESOURCE = {"for_each", "depends_on", "count", "lifecycle", "provider"}


def plain(value: Any) -> Any:
    """Without what some versions of the parser add: quotes around texts, and marks for blocks and comments."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


def terraform(path: Path) -> Any:
    with path.open() as file:
        return plain(hcl2.load(file))


def resources(plan: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, name and body of each."""
    return [
        (kind, name, body)
        for entry in plan["resource"]
        for kind, named in entry.items()
        for name, body in named.items()
    ]


def fits(given: dict[str, Any], schema: dict[str, Any], where: str) -> None:
    assert set(given) - set(schema) == set(), f"{where} has no such argument"
    assert {key for key, needed in schema.items() if needed is True} - set(given) == set(), f"{where} lacks an argument"
    for key, below in schema.items():
        for block in given.get(key, []) if isinstance(below, dict) else []:
            fits(block, below, f"{where}.{key}")


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_terraform_fits_the_providers_schema(path: Path) -> None:
    found = resources(terraform(path))
    assert found
    for kind, name, body in found:
        fits(
            {key: value for key, value in body.items() if key not in OF_EVERY_RESOURCE}, SCHEMA[kind], f"{kind}.{name}"
        )
    no_port_of_galera(path.read_text())


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_what_terraform_refers_to_is_there(path: Path) -> None:
    plan = terraform(path)
    variables = {name for entry in plan.get("variable", []) for name in entry}
    there = {f"{kind}.{name}" for kind, name, _ in resources(plan)} | {f"var.{name}" for name in variables}
    code = re.sub(r"#.*|\"[^\"]*\"", "", path.read_text())
    used = set(re.findall(r"\b((?:hcloud_\w+|var)\.\w+)", code))
    assert used
    assert used - there == set()


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_for_each_takes_texts(path: Path) -> None:
    """Terraform refuses a set of numbers there: `set containing type number`."""
    plan = terraform(path)
    types = {name: body["type"] for entry in plan.get("variable", []) for name, body in entry.items()}
    for _, _, body in resources(plan):
        each = body.get("for_each", "")
        for variable in re.findall(r"var\.(\w+)", each):
            assert "number" not in types[variable] or re.search(r"toset\(\[for (\w+) in .* : tostring\(\1\)\]\)", each)


@pytest.mark.parametrize("name", ["mariadb", "haproxy-nodes"])
def test_terraform_makes_the_same_as_the_commands(name: str) -> None:
    found = resources(terraform(EXAMPLES / f"{name}.tf"))
    made = {}
    for kind, _, body in found:
        if kind == "hcloud_load_balancer_service":
            (health,) = body["health_check"]
            (http,) = health["http"]
            assert body["protocol"] == "tcp"
            made[body["listen_port"]] = (body["destination_port"], {**health, "http": http})
    assert made == SERVICES[name]
    ((algorithm,),) = [body["algorithm"] for kind, _, body in found if kind == "hcloud_load_balancer"]
    assert algorithm == {"type": "least_connections"}
    (target,) = [body for kind, _, body in found if kind == "hcloud_load_balancer_target"]
    assert target["use_private_ip"] is True
    assert len(target["depends_on"]) == 3


# --- Kubernetes -----------------------------------------------------------------------------------------------------

# hcloud-cloud-controller-manager, docs/reference/load_balancer_annotations.md: name -> what its value must be
PREFIX = "load-balancer.hetzner.cloud/"
NUMBER, DURATION, BOOLEAN = r"[0-9]+", r"[0-9]+s", r"true|false"
ANNOTATIONS = {
    "name": r"[a-z0-9-]+",
    "type": r"lb[123]1",
    "location": r"[a-z]{3}[0-9]",
    "network-zone": r"[a-z]+-[a-z]+",
    "algorithm-type": r"round_robin|least_connections",
    "use-private-ip": BOOLEAN,
    "disable-public-network": BOOLEAN,
    "disable-private-ingress": BOOLEAN,
    "node-selector": r"[^=]+=[^=]+",
    "protocol": r"tcp|http|https",
    "uses-proxyprotocol": BOOLEAN,
    "health-check-protocol": r"tcp|http|https",
    "health-check-port": NUMBER,
    "health-check-http-path": r"/\w*",
    "health-check-http-domain": r".+",
    "http-status-codes": r"[0-9?*,]+",
    "health-check-interval": DURATION,
    "health-check-timeout": DURATION,
    "health-check-retries": NUMBER,
}


def test_the_annotations_are_those_of_the_cloud_controller() -> None:
    text = (EXAMPLES / "mariadb-service.yaml").read_text()
    service = yaml.safe_load(text)
    assert (service["apiVersion"], service["kind"], service["spec"]["type"]) == ("v1", "Service", "LoadBalancer")
    said = {name.removeprefix(PREFIX): value for name, value in service["metadata"]["annotations"].items()}
    for name, value in said.items():
        assert isinstance(value, str), f"{name}: an annotation is a text, quote it"
        assert re.fullmatch(ANNOTATIONS[name], value), name
    asked = {key: said[f"health-check-{key}"] for key in ("protocol", "port", "interval", "timeout", "retries")}
    assert asked == {"protocol": "http", "port": "9200", "interval": "4s", "timeout": "1s", "retries": "2"}
    assert (said["protocol"], said["health-check-http-path"], said["http-status-codes"]) == ("tcp", "/writer", "200")
    assert said["use-private-ip"] == said["disable-public-network"] == "true"
    assert [port["port"] for port in service["spec"]["ports"]] == [3306]
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    no_port_of_galera(text)


def test_what_an_haproxy_node_says_of_itself() -> None:
    need("haproxy")
    examples = sorted((ROOT / "haproxy-examples").glob("*.cfg"))
    beside = [path for path in examples if {"backend writer\n", "backend reader\n"} <= set(path.open())]
    assert beside
    for example in beside:
        command: list[str | Path] = ["haproxy", "-c", "-f", example, "-f", EXAMPLES / "haproxy-node.cfg"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
