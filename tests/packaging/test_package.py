"""The life of the package: upgraded under the eyes of HAProxy, removed, installed again, purged."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import wait_until
from tests.figures import measured
from tests.packaging.conftest import NEWER, OLDER
from tests.packaging.node import CONFIG, UNIT, Node

# As haproxy-examples have it, twelve times: HAProxy spreads their first checks over the second that follows.
SERVERS = 12
HAPROXY = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend stats
    mode http
    bind 127.0.0.1:8404
    stats enable
    stats uri /
backend writer
    option httpchk
    http-check send meth GET uri /writer ver HTTP/1.1 hdr Host healthagent
    http-check expect status 200
    default-server check port 9200 inter 1s fall 2 rise 1
"""
# what a check may hear while one agent has gone and the next one has not seen its server yet
IN_BETWEEN = {"200", "503 starting", "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}


@contextmanager
def asked(node: Node, path: str) -> Iterator[list[tuple[float, str]]]:
    """All that the agent says to one who asks all the time; known at the end."""
    script = node.bring(Path(__file__).with_name("asker.py"))
    asker = subprocess.Popen(
        node.command("/usr/bin/python3", script, "9200", path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert asker.stdin is not None
    assert asker.stdout is not None
    said: list[tuple[float, str]] = []
    try:
        assert asker.stdout.readline() == "asking\n"
        yield said
        asker.stdin.close()
        found = json.loads(asker.stdout.read().splitlines()[-1])
        said += [(moment, word) for moment, word in found["said"]]
    finally:
        asker.kill()
        asker.wait()


def statistics(node: Node) -> list[dict[str, str]]:
    """One row for each server of HAProxy's backend."""
    names, *lines = node.run("curl", "-s", "http://127.0.0.1:8404/;csv").stdout.lstrip("# ").splitlines()
    rows = [dict(zip(names.split(","), line.split(","), strict=True)) for line in lines]
    return [row for row in rows if row["svname"].startswith("db")]


def test_an_upgrade_is_a_gap_that_haproxy_does_not_see(node: Node, deb: Callable[[str], Path]) -> None:
    servers = "".join(f"    server db{number} 127.0.0.1:3306\n" for number in range(SERVERS))
    node.put("/etc/haproxy/haproxy.cfg", HAPROXY + servers)
    node.systemctl("restart", "haproxy")
    wait_until(
        lambda: [row["check_status"] for row in statistics(node)] == ["L7OK"] * SERVERS,
        10,
        "HAProxy has checked them all",
    )
    older, newer = deb(OLDER), deb(NEWER)
    if not upgraded(node, newer):
        # A neighbour wanted all cores, so that Python took longer to start than two checks are apart: once more.
        node.install(older)
        node.systemctl("restart", "haproxy")
        wait_until(
            lambda: [row["check_status"] for row in statistics(node)] == ["L7OK"] * SERVERS, 10, "all are checked"
        )
        upgraded(node, newer)
    assert [(row["svname"], row["status"]) for row in statistics(node) if row["chkdown"] != "0"] == []


def upgraded(node: Node, newer: Path) -> bool:
    """Whether the gap was shorter than a second."""
    assert node.state()["version"] == OLDER
    with asked(node, "/writer") as said:
        node.install(newer)
        node.wait_says("writer", "200")
    rows = statistics(node)

    assert node.state()["version"] == NEWER
    assert {word for _, word in said} <= IN_BETWEEN
    (gone, *_, back) = (moment for moment, _ in said[1:])
    assert (said[0][1], said[-1][1]) == ("200", "200")
    words, missed = ", ".join(word for _, word in said[1:-1]), sum(int(row["chkfail"]) for row in rows)
    gap = f"{back - gone:.2f} s ({words})"
    measured(f"{node.suite}: an upgrade is a gap of {gap}; {missed} of {SERVERS} checks fell into it")
    return back - gone < 1


def test_before_its_server_stops_haproxy_has_gone_elsewhere(node: Node) -> None:
    """With the drop-in: the server still answers when HAProxy has it DOWN, and the agent is back after its end."""
    drop_in = Path(__file__).parents[2] / "systemd/mariadb.service.d/healthagent-drain.conf"
    node.put(f"/run/systemd/system/mariadb.service.d/{drop_in.name}", drop_in.read_text())
    node.systemctl("daemon-reload")
    node.put("/etc/haproxy/haproxy.cfg", f"{HAPROXY}    server db 127.0.0.1:3306\n")
    node.systemctl("restart", "haproxy")
    wait_until(lambda: [row["check_status"] for row in statistics(node)] == ["L7OK"], 10, "HAProxy has checked it")
    node.systemctl("stop", "--no-block", "mariadb")
    wait_until(lambda: [row["status"] for row in statistics(node)] == ["DOWN"], 10, "HAProxy has it DOWN")

    assert node.sql("SELECT 1") == "1"
    assert node.unit("mariadb")["ActiveState"] == "deactivating"
    wait_until(lambda: node.unit("mariadb")["ActiveState"] == "inactive", 30, "the server has stopped")
    node.wait_says("writer", "503 down")  # the agent is back, and says so
    wrong = "/etc/mysql/mariadb.conf.d/99-wrong.cnf"
    node.put(wrong, "[mariadbd]\nno_such_option = 1\n")
    try:
        assert node.systemctl("start", "mariadb", check=False).returncode != 0
        node.wait_says("writer", "503 down")
    finally:
        node.run("rm", wrong)
    node.systemctl("restart", "mariadb")
    node.wait_says("writer", "200")


def test_a_configuration_that_was_changed_outlives_upgrade_and_removal(node: Node, deb: Callable[[str], Path]) -> None:
    text = "roles: {mine: {base: writer}}\n"
    node.configure(text)
    node.install(deb(OLDER))  # a downgrade is as good
    node.wait_says("mine", "200")
    node.run("dpkg", "--remove", "healthagent")
    assert node.says("writer") == "refused"
    assert node.path(CONFIG).read_text() == text
    assert node.unit(UNIT)["ActiveState"] == "inactive"
    node.install(deb(NEWER))
    node.wait_says("mine", "200")


def test_a_unit_that_was_switched_off_stays_so(node: Node, deb: Callable[[str], Path]) -> None:
    node.systemctl("disable", "--now", UNIT)
    node.install(deb(OLDER))
    assert node.unit(UNIT)["UnitFileState"] == "disabled"
    node.systemctl("enable", "--now", UNIT)


def test_purged_it_leaves_nothing_but_its_user(node: Node) -> None:
    node.put("/etc/healthagent/db2.yaml", "{}\n")
    node.systemctl("enable", "healthagent@db2")
    node.run("dpkg", "--purge", "healthagent")

    wait_until(lambda: "healthagent" not in node.run("ps", "axo", "user,args").stdout, 10, "no process is left")
    places = ("/etc", "/usr", "/lib/systemd", "/var/lib", "/run", "/var/log")
    left = node.run("find", *places, "-xdev", "-name", "*healthagent*").stdout.splitlines()
    assert [path for path in left if not path.startswith("/var/lib/dpkg/")] == []
    assert node.run("id", "-un", "healthagent").stdout == "healthagent\n"
