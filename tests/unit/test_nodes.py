"""Which nodes there are: by hand, by `peers`, by Galera's list."""

from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from healthagent import config
from healthagent.errors import AskedWrongError, ConfigError
from healthagent.nodes import Node, given, of_members, of_peers

PEERS = ["http://10.0.0.13:9200", "http://10.0.0.12:9200"]


def load(path: Path, peers: str) -> config.Config:
    path.write_text(f"mysql: {{user: agent}}\npeers: {peers}\n")
    return config.load(path)


def test_peers_are_kept_and_shown(tmp_path: Path) -> None:
    found = load(tmp_path / "a.yaml", str(PEERS))
    assert found.peers == tuple(PEERS)
    assert config.shown(found)["peers"] == PEERS
    again = yaml.safe_dump(config.shown(found)["peers"], default_flow_style=True)
    assert load(tmp_path / "b.yaml", again).peers == found.peers
    assert config.load(None).peers == ()
    assert load(tmp_path / "c.yaml", '["http://[fd00::12]:9200"]').peers == ("http://[fd00::12]:9200",)


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ("http://10.0.0.12:9200", "must be a list of URLs"),
        ("[10.0.0.12:9200]", "must be http://"),
        ("['https://10.0.0.12:9200']", "must be http://"),
        ("['http://10.0.0.12']", "must be http://"),
        ("['http://10.0.0.12:9200/']", "must be http://"),
        ("['http://10.0.0.12:0']", "must be http://"),
        ("['http://10.0.0.12:65536']", "must be http://"),
        ("['http://db2:9200']", "must be http://"),
        ("['http://0.0.0.0:9200']", "must be http://"),
        ("['http://:9200']", "must be http://"),
        ("['http://u@10.0.0.12:9200']", "must be http://"),
        ("['http://http://10.0.0.12:9200']", "must be http://"),
        ("[1]", "must be http://"),
        ("[null]", "must be http://"),
        ("[{a: b}]", "must be http://"),
        ("['http://10.0.0.12:9200', 'http://10.0.0.12:9200']", "is there twice"),
        ("{a: b}", "must be a list of URLs"),
    ],
)
def test_peers_are_checked(peers: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "x.yaml", peers)
    (line,) = caught.value.lines()
    assert "x.yaml:2: peers: " in line
    assert says in line


def test_peers_and_this_node() -> None:
    """In the order of their addresses, whoever of them prints it."""
    expected = tuple(Node(name=f"n{n}", address=f"10.0.0.1{n}") for n in (1, 2, 3))
    assert of_peers("10.0.0.11", 9200, PEERS) == expected
    assert of_peers("10.0.0.12", 9200, ["http://10.0.0.11:9200", "http://10.0.0.13:9200"]) == expected
    assert of_peers("10.0.0.11", 9200, ["http://10.0.0.11:9200", *PEERS]) == expected, "one file for all nodes"
    assert of_peers("9.0.0.1", 9200, PEERS)[0].address == "9.0.0.1", "by number, not by letters"
    assert of_peers("10.0.0.11", 9300, ["http://10.0.0.12:9200"], 3307) == (
        Node(name="n1", address="10.0.0.11", port=3307, agent_port=9300),
        Node(name="n2", address="10.0.0.12", port=3307, agent_port=9200),
    )


def test_two_agents_on_one_address() -> None:
    with pytest.raises(AskedWrongError, match="two nodes have the address 10"):
        of_peers("10.0.0.11", 9200, ["http://10.0.0.11:9201"])
    with pytest.raises(AskedWrongError, match="two nodes have the address 10"):
        of_members(["10.0.0.11:3306", "10.0.0.12:3306", "10.0.0.11:3307"])


def test_the_members_of_a_cluster() -> None:
    """As wsrep_incoming_addresses has them: in the order of their index, an arbitrator's entry empty."""
    assert of_members(["10.0.0.12:3306", "10.0.0.11:3307", ""], 9300) == (
        Node(name="n1", address="10.0.0.11", port=3307, agent_port=9300),
        Node(name="n2", address="10.0.0.12", agent_port=9300),
    )
    assert of_members(["10.0.0.11", "[fd00::12]:3306"])[1].address == "fd00::12"


@pytest.mark.parametrize(
    "entry", ["AUTO", "db1:3306", "0.0.0.0:3306", ":3306", "10.0.0.11:0", "10.0.0.11:x", "x\ny", "fe80::1%a"]
)
def test_a_member_that_does_not_say_where_it_is(entry: str) -> None:
    with pytest.raises(AskedWrongError) as caught:
        of_members(["10.0.0.12:3306", entry])
    said = str(caught.value)
    assert repr(entry) in said
    assert "wsrep_node_address" in said
    assert "--node db1=10.0.0.11" in said
    assert "\n" not in said


def test_no_member_says_where_it_is() -> None:
    with pytest.raises(AskedWrongError, match="--node"):
        of_members(["", ""])


@hypothesis.given(st.text() | st.text("0123456789abcdef.:[]=\n ,AUTO"))
def test_whatever_a_server_or_a_person_says(text: str) -> None:
    """A node with an IP address, or an error of one line."""
    try:
        (node,) = of_members([text])
        assert (ip_address(node.address).is_unspecified, 0 < node.port < 65536) == (False, True)
    except AskedWrongError as error:
        assert str(error).isprintable()
    with suppress(ValueError):
        node = given(text)
        assert node.name.isprintable()
        assert not ip_address(node.address).is_unspecified


def test_by_hand() -> None:
    assert given("db1=10.0.0.11") == Node(name="db1", address="10.0.0.11")
    assert given("db-1.a_b=10.0.0.11:3307", 9300) == Node(
        name="db-1.a_b", address="10.0.0.11", port=3307, agent_port=9300
    )
    assert given("db1=[fd00::11]:3306").address == given("db1=fd00::11").address == "fd00::11"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db1",
        "=10.0.0.1",
        "db1=",
        "db1=db1",
        "db1=0.0.0.0",
        "db1=:3306",
        "d b=10.0.0.1",
        "db1=fe80::1%eth0",
        "db1=10.0.0.1:0",
        "a\nb=1.2.3.4",
    ],
)
def test_by_hand_and_wrong(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a name and an IP address"):
        given(text)
