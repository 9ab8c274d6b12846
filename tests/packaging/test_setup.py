"""`healthagent setup` on a node that has the package: account, rights and service, in a real systemd."""

import re

from tests.packaging.node import UNIT, Node

ACCOUNT = "SELECT COUNT(*) FROM mysql.user WHERE User = 'healthagent' AND Host = 'localhost'"


def steps(said: str) -> dict[str, str]:
    found = re.findall(r"^(\w+) +(is there|would do|done|failed:|note) ", said, re.MULTILINE)
    return {name: mark for name, mark in found if name != "firewall"}


def test_a_node_is_set_up_by_one_command(node: Node) -> None:
    node.sql("DROP USER healthagent@localhost")
    node.systemctl("disable", "--now", UNIT)

    said = node.run("healthagent", "setup").stdout
    there = {"user": "is there", "server": "is there"}
    assert steps(said) == there | dict.fromkeys(("account", "grant", "service"), "would do")
    assert (node.sql(ACCOUNT), node.unit(UNIT)["ActiveState"]) == ("0", "inactive")
    assert "\nstate " in said

    said = node.run("healthagent", "setup", "--apply").stdout
    assert steps(said) == there | dict.fromkeys(("account", "grant", "service"), "done") | {"login": "is there"}
    assert (node.sql(ACCOUNT), node.unit(UNIT)["ActiveState"]) == ("1", "active")
    assert node.systemctl("is-enabled", UNIT).stdout.strip() == "enabled"
    node.wait_says("writer", "200")

    said = node.run("healthagent", "setup", "--apply").stdout
    assert set(steps(said).values()) == {"is there"}
    assert "nothing was changed" not in said
