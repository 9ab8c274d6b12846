"""`config haproxy` and the like: where the nodes come from, what is refused, and what the files hold."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from healthagent import cli
from tests.binaries import need
from tests.examples.test_keepalived import mistakes
from tests.examples.test_prometheus import RULES

ADDRESS = ["--vip", "10.0.0.100/24", "--interface", "eth0"]
COMMANDS = {"haproxy": [], "keepalived": [*ADDRESS, "--this", "n1"], "hetzner": [], "prometheus": []}
BY_HAND = ["--node", "db1=10.0.0.11", "--node", "db2=10.0.0.12:3307"]
PEERS = 'peers: ["http://10.0.0.12:9200", "http://10.0.0.13:9200"]\n'


class Printer:
    """The commands with one configuration."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self._capsys = directory / "healthagent.yaml", capsys
        self._base = (
            f"mysql: {{user: agent, socket: {directory}/no.sock}}\ncontrol: {{socket: {directory}/no.control}}\n"
        )
        self.configure()

    def configure(self, more: str = 'http: {listen: ["10.0.0.11:9200"]}\n') -> None:
        self.file.write_text(self._base + more)

    def run(self, *argv: str) -> tuple[int, str, str]:
        try:
            status = cli.main(["--config", str(self.file), "config", *argv])
        except SystemExit as stopped:
            assert isinstance(stopped.code, int)
            status = stopped.code
        return status, *self._capsys.readouterr()

    def printed(self, *argv: str) -> str:
        status, out, err = self.run(*argv)
        assert (status, err) == (0, "")
        return out

    def refused(self, *argv: str) -> str:
        status, out, err = self.run(*argv)
        assert (status, out) == (2, "")
        return err


@pytest.fixture
def printer(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printer:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Printer(tmp_path, capsys)


def servers(text: str) -> list[str]:
    return re.findall(r"^    server (.*)", text, re.MULTILINE)


def test_haproxy_from_peers(printer: Printer) -> None:
    printer.configure(f'http: {{listen: ["10.0.0.11:9200"]}}\n{PEERS}')
    text = printer.printed("haproxy")
    plain = ["n1 10.0.0.11:3306", "n2 10.0.0.12:3306", "n3 10.0.0.13:3306"]
    assert servers(text) == [plain[0], f"{plain[1]} backup", f"{plain[2]} backup", *plain]
    assert "# Detection budget: 3s asked for, 3s reached.\n" in text
    assert "check port 9200 inter 300ms fastinter 200ms downinter 300ms fall 2 rise 2\n" in text
    assert "timeout check 500ms\n" in text
    assert "agent-check agent-port 9202 agent-inter 300ms weight 100\n" in text
    assert "balance roundrobin\n" in text


def test_haproxy_without_agent_check(printer: Printer) -> None:
    printer.configure("agent_check: {listen: {}}\n")
    text = printer.printed("haproxy", *BY_HAND)
    assert "agent-port" not in text, "nor a word about it"
    assert "balance leastconn\n" in text


def test_ports_of_their_own(printer: Printer) -> None:
    printer.configure('http: {listen: ["10.0.0.11:9300"]}\npeers: ["http://10.0.0.12:9200", "http://10.0.0.13:9200"]\n')
    text = printer.printed("haproxy")
    assert "check port 9200" in text
    assert servers(text)[0] == "n1 10.0.0.11:3306 port 9300"
    printer.configure('http: {listen: ["10.0.0.11:9300"]}\n')
    assert "check port 9300" in printer.printed("haproxy", *BY_HAND)
    assert "10.0.0.12:3307 backup" in printer.printed("haproxy", *BY_HAND)


@pytest.mark.parametrize("within", ["2700ms", "3s", "10s", "10m"])
@pytest.mark.parametrize("nodes", [BY_HAND, ["--node", "a=fd00::1", "--node", "b=fd00::2"], ["--node", "a=10.0.0.1"]])
def test_haproxy_accepts_it(within: str, nodes: list[str], printer: Printer, tmp_path: Path) -> None:
    need("haproxy")
    file = tmp_path / "haproxy.cfg"
    file.write_text(printer.printed("haproxy", *nodes, "--detect-within", within))
    done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr


def test_keepalived(printer: Printer, tmp_path: Path) -> None:
    printer.configure(f'http: {{listen: ["10.0.0.11:9200"]}}\n{PEERS}')
    text = printer.printed("keepalived", *ADDRESS, "--this", "n2")
    assert re.findall(r"unicast_src_ip (\S+)\n    unicast_peer \{\n\s+(\S+)\n\s+(\S+)\n", text) == [
        ("10.0.0.12", "10.0.0.11", "10.0.0.13")
    ]
    for line in (
        "vrrp_version 3",
        "advert_int 0.4",
        "priority 99",
        "virtual_router_id 51",
        "state BACKUP",
        "nopreempt",
    ):
        assert f"    {line}\n" in text
    assert '    file "/run/healthagent-track/writer.alive"\n    weight 0 reverse\n' in text
    (script,) = re.findall(r'script "\S+ (.*)"\n((?:    .*\n)*)', text)
    assert script[0] == f"check writer --socket {tmp_path}/no.control"
    assert " ".join(script[1].split()) == "interval 1 timeout 1 fall 2 rise 1 init_fail"
    own = printer.printed("keepalived", *ADDRESS, "--this", "10.0.0.12", "--priority", "7", "--router-id", "9")
    assert ("    priority 7\n" in own, "    virtual_router_id 9\n" in own) == (True, True)


@pytest.mark.parametrize("within", ["2700ms", "3s", "10s"])
def test_keepalived_moves_and_fails_closed(within: str, printer: Printer) -> None:
    """By the rules of the examples; as one file for both hosts, of which each reads the lines that have its name."""
    printed = {
        name: printer.printed("keepalived", *ADDRESS, *BY_HAND, "--this", name, "--detect-within", within)
        for name in ("db1", "db2")
    }
    lines = [f"@{name} {line}" for name, text in printed.items() for line in text.splitlines()]
    assert mistakes("\n".join(lines)) == set()


TRACKED = "{role: writer, path: /run/healthagent-track/writer.alive, up: 1, down: 0}"


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ("", True),
        (TRACKED, False),
        (TRACKED.replace("writer,", "reader,"), True),
        (TRACKED.replace("up: 1", "up: 2"), True),
        (TRACKED.replace("up: 1, down: 0", "up: 0, down: 1"), True),
        (TRACKED.replace("writer.alive", "writer.alive.not"), True),
        (f"{TRACKED.replace('writer', 'reader')}, {TRACKED}", False),
    ],
)
def test_keepalived_says_what_the_agent_has_to_write(files: str, missing: bool, printer: Printer) -> None:
    printer.configure(f"keepalived: {{track_files: [{files}]}}\n")
    text = printer.printed("keepalived", *ADDRESS, *BY_HAND, "--this", "db1")
    assert (f"#     - {TRACKED}\n" in text) is missing


def test_keepalived_asks_by_a_program_with_its_path(
    printer: Printer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keepalived has no PATH."""

    def script() -> str:
        text = printer.printed("keepalived", *ADDRESS, *BY_HAND, "--this", "db1")
        (found,) = re.findall(r'script "(\S+) check writer --socket', text)
        return str(found)

    directory, elsewhere = tmp_path / "bin", tmp_path / "elsewhere"
    for place in (directory, elsewhere):
        place.mkdir()
        (place / "healthagent").touch(0o755)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/healthagent").symlink_to(directory / "healthagent")
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setattr("sys.argv", [str(tmp_path / "link/healthagent")])
    assert script() == str(directory / "healthagent"), "the one that prints, and no link that others could turn"
    (tmp_path / "__main__.py").touch()
    monkeypatch.setattr("sys.argv", [str(tmp_path / "__main__.py")])
    assert script() == str(elsewhere / "healthagent")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script() == "/usr/bin/healthagent"


@pytest.mark.parametrize("there", [True, False])
def test_keepalived_asks_as_the_agents_user(there: bool, printer: Printer, monkeypatch: pytest.MonkeyPatch) -> None:
    class User:
        pw_name = "healthagent"

    def named(name: str) -> User:
        if there and name == User.pw_name:
            return User()
        raise KeyError(name)

    monkeypatch.setattr("pwd.getpwnam", named)
    text = printer.printed("keepalived", *ADDRESS, *BY_HAND, "--this", "db1")
    assert f"    script_user {'healthagent' if there else 'root'}\n" in text


def test_keepalived_finds_this_node_by_its_address(printer: Printer) -> None:
    there = ["--node", "b=203.0.113.1"]
    assert "unicast_src_ip 127.0.0.1\n" in printer.printed("keepalived", *ADDRESS, "--node", "a=127.0.0.1", *there)
    said = printer.refused("keepalived", *ADDRESS, "--node", "a=203.0.113.2", *there)
    assert "0 of the nodes have an address of this machine: say which one it is by --this NAME" in said
    assert "a (203.0.113.2), b (203.0.113.1)" in said


def test_this_nodes_own_address_towards_its_peers(printer: Printer) -> None:
    """Where it listens on every address: the one that the kernel would use."""
    printer.configure('peers: ["http://127.0.0.2:9200"]\n')
    assert servers(printer.printed("haproxy"))[:2] == ["n1 127.0.0.1:3306", "n2 127.0.0.2:3306 backup"]


def test_an_agent_that_nobody_reaches(printer: Printer) -> None:
    printer.configure(f'http: {{listen: ["127.0.0.1:9200"]}}\n{PEERS}')
    assert "http.listen: no balancer beside 10.0.0.12 reaches 127.0.0.1" in printer.refused("haproxy")
    printer.configure(f'http: {{listen: ["127.0.0.1:9200", "10.0.0.11:9200"]}}\n{PEERS}')
    assert servers(printer.printed("haproxy"))[0] == "n1 10.0.0.11:3306"
    printer.configure('http: {listen: ["127.0.0.1:9200"]}\n')
    assert "http.listen: no balancer beside 10.0.0.11 reaches 127.0.0.1" in printer.refused("haproxy", *BY_HAND)


def test_ports_are_those_of_listeners_that_a_balancer_reaches(printer: Printer) -> None:
    listen = 'http: {listen: ["127.0.0.1:9200", "10.0.0.11:9300"]}\n'
    for nodes, more in (([], 'peers: ["http://10.0.0.12:9300"]\n'), (BY_HAND, "")):
        printer.configure(listen + more)
        text = printer.printed("haproxy", *nodes)
        assert ("check port 9300" in text, "port 9200" in text) == (True, False)
        assert "agent-port 9202" in text
        printer.configure(listen + more + 'agent_check: {listen: {"127.0.0.1:9202": reader}}\n')
        assert "agent-port" not in printer.printed("haproxy", *nodes)
        printer.configure(
            listen + more + 'agent_check: {listen: {"127.0.0.1:9202": reader, "10.0.0.11:9402": reader}}\n'
        )
        assert "agent-port 9402" in printer.printed("haproxy", *nodes)


def test_the_socket_is_for_commands_that_ask(printer: Printer) -> None:
    assert "unrecognized arguments: --socket" in printer.refused("show", "--socket", "/x")


def test_hetzner(printer: Printer) -> None:
    text = printer.printed("hetzner", "--node", "db1=10.0.0.11", "--node", "db2=10.0.0.12")
    assert "servers=(db1 db2)" in text
    assert "# Detection budget: 15s asked for, 15s reached.\n" in text
    assert "every node that says 200 to /writer" in text


@pytest.mark.parametrize(("topology", "one_writer"), [("async", True), ("standalone", True), ("galera", False)])
def test_hetzner_warns_of_several_writers(topology: str, one_writer: bool, printer: Printer) -> None:
    printer.file.write_text(printer.file.read_text().replace("mysql: {", f"mysql: {{topology: {topology}, "))
    text = printer.printed("hetzner", "--node", "db1=10.0.0.11", "--node", "db2=10.0.0.12")
    assert ("# ATTENTION" not in text) is one_writer


@pytest.mark.parametrize("within", ["4500ms", "15s", "10m"])
@pytest.mark.parametrize("nodes", [BY_HAND, ["--node", "a=fd00::1", "--node", "b=fd00::2"], ["--node", "a=10.0.0.1"]])
def test_prometheus_accepts_it(within: str, nodes: list[str], printer: Printer, tmp_path: Path) -> None:
    """Beside the rules that it names; without them promtool says that they are missing."""
    need("promtool")
    printer.configure("")
    file = tmp_path / "prometheus.yml"
    file.write_text(printer.printed("prometheus", *nodes, "--detect-within", within))

    def check() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True, check=False)

    assert "does not point to an existing file" in check().stderr
    shutil.copy(RULES, tmp_path)
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus(printer: Printer) -> None:
    printer.configure(f'http: {{listen: ["10.0.0.11:9300"]}}\n{PEERS}')
    text = printer.printed("prometheus", "--cluster", "shop")
    assert "# Detection budget: 15s asked for, 15s reached.\n" in text
    config = yaml.safe_load(text)
    assert config["global"] == {"evaluation_interval": "5s"}
    (scrape,) = config["scrape_configs"]
    assert (scrape["job_name"], scrape["scrape_interval"], scrape["scrape_timeout"]) == ("healthagent", "5s", "5s")
    targets = ["10.0.0.11:9300", "10.0.0.12:9200", "10.0.0.13:9200"]
    assert scrape["static_configs"] == [{"targets": targets, "labels": {"cluster": "shop"}}]


def test_a_default_name_says_that_it_is_one(printer: Printer) -> None:
    text = printer.printed("prometheus", *BY_HAND)
    assert yaml.safe_load(text)["scrape_configs"][0]["static_configs"][0]["labels"] == {"cluster": "mariadb"}
    assert "# unseen: --cluster NAME sets this one apart.\n" in text
    assert "sets this one apart" not in printer.printed("prometheus", "--cluster", "mariadb", *BY_HAND)


def test_rules_are_made_for_five_seconds(printer: Printer) -> None:
    """The intervals that are printed otherwise say so."""
    says = "# The rules are made for scrapes each 5s. With 15s, make each `for: 30s`"
    assert says in printer.printed("prometheus", "--detect-within", "60s", *BY_HAND)
    assert "are made for" not in printer.printed("prometheus", *BY_HAND)


def test_the_example_for_prometheus_is_what_is_printed(printer: Printer) -> None:
    printed = yaml.safe_load(
        printer.printed("prometheus", "--cluster", "shop", *(f"--node=db{n}=10.0.0.1{n}" for n in (1, 2, 3)))
    )
    example = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    assert example["global"].pop("scrape_interval") == "15s", "for other jobs"
    assert printed == example


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, printer: Printer) -> None:
    text = printer.printed(command, "--help")
    for option in ("--config FILE", "--socket PATH", "--detect-within TIME", "--node NAME=ADDRESS[:PORT]"):
        assert option in text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_nodes_are_known(command: str, printer: Printer) -> None:
    said = printer.refused(command, *COMMANDS[command])
    assert said.startswith("healthagent: no nodes are known, no agent answers, nor does the server (")
    assert "put the other nodes' agents into peers, or name the nodes: --node db1=10.0.0.11" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_daemon_that_was_named_must_answer(command: str, printer: Printer, tmp_path: Path) -> None:
    status, out, err = printer.run(command, *COMMANDS[command], "--socket", str(tmp_path / "nobody"))
    assert (status, out) == (3, "")
    assert "is `healthagent serve` running?" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["haproxy", "--detect-within", "1s", *BY_HAND], "the least is 2.7s"),
        (["keepalived", *ADDRESS, "--detect-within", "2s", *BY_HAND], "whatever the agent does"),
        (["hetzner", "--detect-within", "3s", "--node", "a=10.0.0.1"], "it takes 8s at least"),
        (["haproxy", "--detect-within", "3"], "'3': must be a duration such as 500ms, 5s or 10m"),
        (["haproxy", "--detect-within", "0s"], "must be from 0.1s to 600s"),
        (["haproxy", "--node", "a"], "'a': must be a name and an IP address"),
        (["haproxy", "--node", "a=10.0.0.1", "--node", "a=10.0.0.2"], "two nodes have the same name"),
        (["haproxy", "--node", "a=10.0.0.1", "--node", "b=10.0.0.1"], "two nodes have the same address"),
        (["hetzner", *BY_HAND], "different ones"),
        (["keepalived", "--vip", "10.0.0.100/24"], "--interface"),
        (
            ["keepalived", "--vip", "10.0.0.100", "--interface", "eth0"],
            "'10.0.0.100': must be an address and its prefix",
        ),
        (["keepalived", "--vip", "10.0.0.100/33", "--interface", "eth0"], "must be an address and its prefix"),
        (["keepalived", "--vip", "fe80::1%a/64", "--interface", "eth0"], "must be an address and its prefix"),
        (["keepalived", "--vip", "x/24", "--interface", "eth0"], "must be an address and its prefix"),
        (
            ["keepalived", "--vip", "0.0.0.0/0", "--interface", "eth0"],
            "must be an address that is one host's at a time",
        ),
        (["keepalived", "--vip", "10.0.0.11/24", "--interface", "eth0", *BY_HAND], "a node has this address"),
        (["keepalived", "--vip", "10.0.0.100/24", "--interface", "eth0; reboot"], "name of a network interface"),
        (["keepalived", *ADDRESS, "--priority", "200"], "must be a whole number from 1 to 150"),
        (["keepalived", *ADDRESS, "--router-id", "0"], "must be a whole number from 1 to 255"),
        (["keepalived", *ADDRESS, "--node", "a=10.0.0.1"], "a is alone"),
        (["keepalived", *ADDRESS, *BY_HAND, "--this", "x"], "no node is called x"),
        (["keepalived", *ADDRESS, *BY_HAND, "--node", "c=fd00::1"], "must all be IPv4, or all IPv6"),
        (["prometheus", "--detect-within", "4s", *BY_HAND], "the least is 4.5s"),
        (["prometheus", "--detect-within", "2s", *BY_HAND], "it takes 3s at least"),
        (["prometheus", "--cluster", 'a"', *BY_HAND], "must be a name of letters, digits, dots"),
        (["proxysql"], "invalid choice"),
    ],
)
def test_what_is_refused(argv: list[str], says: str, printer: Printer) -> None:
    assert says in printer.refused(*argv)


def test_a_wrong_configuration_is_said_as_everywhere(printer: Printer) -> None:
    printer.configure("peers: [1]\n")
    assert f"healthagent: {printer.file}:3: peers: [1]: 1 must be http://" in printer.refused("haproxy")
