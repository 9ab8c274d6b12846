"""keepalived-examples/ in real keepalived: two hosts on one cable, on each a server, its agent and keepalived.

Only the hosts' networks are their own. Agents and servers stand beside them, as do the files and sockets in between.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from healthagent.kinds import duration_seconds
from lab import Agent, Cable, HAProxy, Host, Keepalived, LabError, MariaDB, lab_dir, wait_until
from lab.keepalived import PROGRAM, adapted, program_of
from lab.tree import trixie
from tests.binaries import need
from tests.integration.expect import measured, state

EXAMPLES = Path(__file__).parents[2] / "keepalived-examples"
WRITER_VIP, READER_VIP, HAPROXY_VIP, PRINTED_VIP = "10.0.0.100", "10.0.0.101", "10.0.0.102", "10.0.0.103"
CHECK = f"{sys.executable} -m healthagent check"
PRINTED = "printed"  # instead of the name of an example
MAX_AGE_SECONDS = 3.0
BUSY_SECONDS = 0.7
BUSY_RESTART_SECONDS = 0.9  # a run of the script each second: two cannot fall into less
Program = Sequence[str | Path]
# The second row of the matrix: where `tools/install trixie` has made a tree with keepalived in it.
RELEASES = ["Debian 12", *(["Debian 13"] if (trixie() / "usr/sbin/keepalived").exists() else [])]
FILES = {
    "writer.alive": ("writer", 1),
    "writer.fault": ("writer", 0),
    "reader.alive": ("reader", 1),
    "reader.fault": ("reader", 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A database server, the agent beside it, and the host whose keepalived goes by them."""

    name: str
    host: Host
    server: MariaDB
    agent: Agent
    track: Path

    def keepalived(self, example: str, program: Program = PROGRAM, still: Sequence[str] = ()) -> Keepalived:
        """`still`: files that say `up` for ever there, as those of a writer that hears nothing."""
        text = self.printed() if example == PRINTED else self.adapted(example)
        for name in still:
            file = lab_dir() / f"still-{name}"
            file.write_text(f"{FILES[name][1]}\n")
            assert str(self.track / name) in text
            text = text.replace(str(self.track / name), str(file))
        return Keepalived(example, self.host, text, identity=self.name, program=program)

    def printed(self) -> str:
        """What `healthagent config keepalived` prints for this node, with the paths of the lab."""
        nodes = ["--node", "db1=10.0.0.1", "--node", "db2=10.0.0.2", "--this", self.name]
        vip = ["--vip", f"{PRINTED_VIP}/32", "--interface", "eth0"]
        command = [sys.executable, "-m", "healthagent", "config", "keepalived", *nodes, *vip]
        command += ["--config", str(self.agent.config_file)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        script = f"check writer --socket {self.agent.control_socket}"
        text, scripts = re.subn(rf'"\S+ {script}"', f'"{sys.executable} -m healthagent {script}"', text)
        assert scripts == 1
        return text.replace("/run/healthagent-track", str(self.track))

    def adapted(self, example: str) -> str:
        return adapted(
            EXAMPLES / f"{example}.conf",
            {
                "/run/healthagent-track": str(self.track),
                "/usr/bin/healthagent check": CHECK,
                "/run/healthagent/control.sock": str(self.agent.control_socket),
                "script_user healthagent": "script_user root",
            },
        )

    def holds(self, name: str, value: int, within: float = 10) -> None:
        def reached() -> bool:
            try:
                return (self.track / name).read_text() == f"{value}\n"
            except FileNotFoundError:
                return False

        wait_until(reached, within, f"{self.track / name} holds {value}", logs=[self.agent.log])

    def since(self, role: str) -> float:
        """When the role's verdict was made, in seconds since the epoch."""
        return datetime.fromisoformat(state(self.agent)["roles"][role]["since"]).timestamp()

    def turn(self, *, writable: bool) -> None:
        """A standalone server that is read_only is down for every role."""
        self.server.execute(f"SET GLOBAL read_only = {'OFF' if writable else 'ON'}")

    def writers(self) -> list[int]:
        """The processes that write its track files, those of an agent that has gone too."""
        return [child.pid for child in self.agent.children() if any("trackwriter" in word for word in child.argv)]

    def heal(self) -> None:
        """Up in every role, with all of its files, whatever the last test did."""
        self.track.mkdir(exist_ok=True)
        self.turn(writable=True)
        self.agent.thaw()
        if not self.agent.alive:
            self.agent.start()
        for name, (_, up) in FILES.items():
            self.holds(name, up)


def remove(directory: Path) -> None:
    """Again where the agent has just made a file in it."""
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    need("keepalived")
    with Cable() as cable:
        yield cable.start()


@pytest.fixture(scope="module")
def running(cable: Cable) -> Iterator[tuple[Node, Node]]:
    need("mariadbd")
    nodes = []
    try:
        for number, host in enumerate(cable.hosts, start=1):
            server = MariaDB(f"db{number}", f"127.0.0.{number}")
            track = lab_dir() / f"track-{number}"
            track.mkdir()
            files = [
                {"role": role, "path": str(track / name), "up": up, "down": 1 - up}
                for name, (role, up) in FILES.items()
            ]
            agent = Agent.for_node(server, keepalived={"track_files": files})
            nodes.append(Node(name=f"db{number}", host=host, server=server, agent=agent, track=track))
        for node in nodes:
            node.server.start()
        for node in nodes:
            node.server.wait_ready()
            node.agent.start()
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.agent.close()
            node.server.close()


@pytest.fixture
def nodes(running: tuple[Node, Node]) -> tuple[Node, Node]:
    for node in running:
        node.heal()
    return running


def samples(node: Node, count: int) -> None:
    """Waits for so many of its agent."""
    sequence = state(node.agent)["sample"]["sequence"]
    wait_until(lambda: state(node.agent)["sample"]["sequence"] >= sequence + count, 20, "samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The keepalived of both nodes with one example; `master` has the address `vip`, `backup` has not."""

    vip: str
    master: Node
    backup: Node
    daemons: dict[str, Keepalived]

    def moves(self, what: str, act: Callable[[], object], *, since: str | None = None, within: float = 12) -> float:
        """Does something that must move the address; after how many ms the peer had it. They count from the verdict on
        `since`, else from what was done.
        """
        before = time.time()
        act()
        got = self.backup.host.changed(self.vip, came=True, since=before, timeout=within)
        lost = self.master.host.changed(self.vip, came=False, since=before)
        began = before if since is None else self.master.since(since)
        measured(
            f"keepalived: {what}: {self.master.name} loses the address after {1000 * (lost - began):.0f} ms, "
            f"its peer has it after {1000 * (got - began):.0f} ms"
        )
        assert self.backup.host.has(self.vip)
        assert not self.master.host.has(self.vip)
        return 1000 * (got - began)

    def stays(self, beats: int = 8) -> None:
        """Where it is now it still is after so many samples of the agent beside it."""
        node = self.backup if self.backup.host.has(self.vip) else self.master
        other = self.master if node is self.backup else self.backup
        told = len(node.host.changes(self.vip)), len(other.host.changes(self.vip))
        samples(node, beats)
        assert (len(node.host.changes(self.vip)), len(other.host.changes(self.vip))) == told
        assert node.host.has(self.vip)

    def back(self) -> float:
        """Waits until the address is where it was at first; ms."""
        began = time.time()
        wait_until(lambda: self.master.host.has(self.vip), 10, f"{self.vip} back on {self.master.name}")
        wait_until(lambda: not self.backup.host.has(self.vip), 5, f"no {self.vip} on {self.backup.name}")
        return 1000 * (time.time() - began)


@contextmanager
def running_pair(
    nodes: tuple[Node, Node], example: str, vip: str, program: Program = PROGRAM, still: Sequence[str] = ()
) -> Iterator[Pair]:
    """db1 first, so that it is there that the address is; its peer is ready to take over."""
    daemons = {node.name: node.keepalived(example, program, still) for node in nodes}
    try:
        for node in nodes:
            daemons[node.name].start()
            wait_until(lambda: nodes[0].host.has(vip), 5, f"{vip} on db1", logs=[daemons["db1"].log])
        peer = daemons["db2"]
        peer.wait_until(lambda: peer.states()[-1:] == ["BACKUP"], 5, "is ready to take over")
        yield Pair(vip=vip, master=nodes[0], backup=nodes[1], daemons=daemons)
    finally:
        for daemon in daemons.values():
            daemon.close()
        for node in nodes:  # one that was killed has left its address
            if node.host.has(vip):
                node.host.ip("address", "del", f"{vip}/32", "dev", "eth0")


@pytest.fixture(params=RELEASES)
def program(request: pytest.FixtureRequest) -> Program:
    """keepalived as Debian 12 and 13 ship it."""
    return PROGRAM if request.param == "Debian 12" else program_of(trixie())


@pytest.fixture
def writer(nodes: tuple[Node, Node]) -> Iterator[Pair]:
    with running_pair(nodes, "writer-vip", WRITER_VIP) as pair:
        yield pair


@pytest.fixture
def reader(nodes: tuple[Node, Node]) -> Iterator[Pair]:
    with running_pair(nodes, "reader-vip", READER_VIP) as pair:
        yield pair


# --- what `config keepalived` prints ---------------------------------------------------------------------------------


def test_what_is_printed_keeps_its_budget(nodes: tuple[Node, Node], program: Program) -> None:
    """From the fault, not from the verdict, as it stands in the head of the file."""
    text = nodes[0].printed()
    with running_pair(nodes, PRINTED, PRINTED_VIP, program) as pair:
        what = f"as printed, {release(program)}: FAULT by the file, from the fault"
        took = pair.moves(what, lambda: pair.master.turn(writable=False))
        assert took < budgeted(text, "the server says so, or is gone")
        pair.master.heal()
        pair.stays()
        back = Pair(vip=pair.vip, master=pair.backup, backup=pair.master, daemons=pair.daemons)
        (writing,) = back.master.writers()

        def freeze() -> None:
            os.kill(writing, signal.SIGSTOP)
            back.master.agent.freeze()

        try:
            took = back.moves(f"as printed, {release(program)}: agent and writer frozen (script)", freeze)
        finally:
            os.kill(writing, signal.SIGCONT)
        assert took < budgeted(text, "the agent is silent")


def test_a_clean_restart_moves_nothing_of_what_is_printed(nodes: tuple[Node, Node], program: Program) -> None:
    """One after the other: the script may miss one run, not two. Where the machine is so busy that two may fall into a
    restart, it shows nothing, and others are tried.
    """
    shown = 0

    def up(pair: Pair) -> bool:
        return check(pair.master, "writer")[0] == 0

    for _ in range(5):
        with running_pair(nodes, PRINTED, PRINTED_VIP, program) as pair:
            for _ in range(4):
                told = [node.host.changes(pair.vip) for node in nodes]
                began = time.monotonic()
                assert pair.master.agent.stop() == 0
                pair.master.agent.start()
                wait_until(partial(up, pair), 10, "it says up again")
                took = time.monotonic() - began
                measured(f"keepalived: no `check` says up for {1000 * took:.0f} ms of a restart")
                samples(pair.master, 2)
                if took > BUSY_RESTART_SECONDS:
                    break
                assert [node.host.changes(pair.vip) for node in nodes] == told
                shown += 1
        if shown >= 4:
            return
    raise AssertionError(f"only {shown} restarts took less than {BUSY_RESTART_SECONDS} s")


def budgeted(text: str, event: str) -> float:
    """Milliseconds that the head of the printed file gives the event, and some for a machine that does other things."""
    (line,) = (line for line in text.splitlines() if f"#   {event} " in line)
    return 1000 * (duration_seconds(line.split()[-1]) + BUSY_SECONDS)


# --- the files themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", sorted(path.stem for path in EXAMPLES.glob("*.conf")))
def test_keepalived_accepts_it(example: str, nodes: tuple[Node, Node], program: Program) -> None:
    """`keepalived -t` says nothing and ends with 0, for each of the two hosts.

    With root for scripts: as any other user 2.2.7 ends itself by SIGTERM once it has looked at the first script.
    """
    need("curl")
    for number, node in enumerate(nodes, start=1):
        text = (EXAMPLES / f"{example}.conf").read_text()
        for user in ("healthagent", "nobody"):
            text = text.replace(f"script_user {user}", "script_user root")
        text = text.replace("/usr/bin/healthagent check", CHECK).replace("/run/healthagent-track", str(node.track))
        file = node.host.directory / f"{example}.conf"
        file.write_text(text)
        identity = f"lb{number}" if "@lb1" in text else node.name
        command = node.host.inside(*program, "-t", "-f", file, "-i", identity)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- writer-vip.conf: no failback -----------------------------------------------------------------------------------


def test_the_writers_address_moves_with_the_verdict_and_stays(nodes: tuple[Node, Node], program: Program) -> None:
    with running_pair(nodes, "writer-vip", WRITER_VIP, program) as pair:
        what = f"{release(program)}: FAULT by one file (weight 0 reverse)"
        took = pair.moves(what, lambda: pair.master.turn(writable=False), since="writer")
        assert took < 250, "below 100 ms where nothing else runs"
        pair.master.heal()
        pair.stays()


def test_the_verdict_moves_the_address_by_the_script_alone(nodes: tuple[Node, Node], program: Program) -> None:
    with running_pair(nodes, "writer-vip", WRITER_VIP, program, still=["writer.alive"]) as pair:
        what = f"{release(program)}: verdict by the script alone (interval 1, fall 3)"
        assert pair.moves(what, lambda: pair.master.turn(writable=False), since="writer") < 4000


def release(program: Program) -> str:
    return "2.2" if program is PROGRAM else "Debian 13"


def test_a_directory_that_is_not_there_yet_gives_nobody_the_address(nodes: tuple[Node, Node], program: Program) -> None:
    """Debian 13's keepalived leaves a file out whose directory is not there when it starts, as if all were well: then
    the script is the only one to say no. 2.2 takes it for 0.
    """
    down, up = nodes
    down.turn(writable=False)
    down.holds("writer.alive", 0)
    remove(down.track)
    began = time.time()
    with down.keepalived("writer-vip", program) as one, up.keepalived("writer-vip", program) as other:
        one.start()
        assert one.said("track file writer_alive not found, ignoring") is (program is not PROGRAM)
        one.wait_until(lambda: one.said("VRRP_Script(writer_check) failed"), 5, "the script says no")
        other.start()
        up.host.changed(WRITER_VIP, came=True, since=began)
        assert "MASTER" not in one.states()
        assert not down.host.has(WRITER_VIP)
    up.host.ip("address", "del", f"{WRITER_VIP}/32", "dev", "eth0")


def test_an_agent_that_is_frozen_or_killed_loses_the_address(writer: Pair) -> None:
    """Its file is written by another process, which hears nothing more."""
    writer.moves("agent frozen", writer.master.agent.freeze)
    writer.master.heal()
    back = Pair(vip=writer.vip, master=writer.backup, backup=writer.master, daemons=writer.daemons)
    back.moves("agent killed", back.master.agent.kill)
    wait_until(lambda: not back.master.writers(), 5, "the writer of a killed agent has ended")


def test_agent_and_writer_frozen_together(nodes: tuple[Node, Node], program: Program) -> None:
    """What a frozen control group is: only the script tells."""
    node = nodes[0]
    (writing,) = node.writers()

    def freeze() -> None:
        os.kill(writing, signal.SIGSTOP)
        node.agent.freeze()

    with running_pair(nodes, "writer-vip", WRITER_VIP, program) as pair:
        pair.moves(f"{release(program)}: agent and writer of its files frozen (script)", freeze)
        assert (node.track / "writer.alive").read_text() == "1\n", "the file says nothing of it"
        os.kill(writing, signal.SIGCONT)


def test_a_directory_that_is_removed_loses_the_address(writer: Pair) -> None:
    node = writer.master

    def told() -> int:
        return sum(f"{node.track / 'writer.alive'}: cannot be written" in line for line in node.agent.log_lines())

    before = told()
    writer.moves("directory removed", lambda: remove(node.track))
    node.agent.wait_until(lambda: told() > before, 5, "says so")
    node.track.mkdir()
    node.holds("writer.alive", 1)
    assert told() == before + 1
    # keepalived watches the directory that was: until it is told, the node stays out
    assert writer.daemons[node.name].states()[-1] == "FAULT"
    writer.daemons[node.name].reload()
    wait_until(lambda: writer.daemons[node.name].states()[-1] == "BACKUP", 5, "may be master again")


def test_files_that_are_removed_are_written_again(writer: Pair) -> None:
    node = writer.master

    def empty() -> None:
        for file in node.track.iterdir():
            file.unlink()

    writer.moves("directory emptied", empty)
    for name, (_, up) in FILES.items():
        node.holds(name, up, within=3)
    wait_until(lambda: writer.daemons[node.name].states()[-1] == "BACKUP", 5, "may be master again")


def test_a_clean_restart_moves_nothing_and_a_stop_does(writer: Pair) -> None:
    node = writer.master
    identity = (node.track / "writer.alive").stat().st_ino
    for _ in range(2):
        assert node.agent.stop() == 0
        node.agent.start()
    wait_until(lambda: len(node.writers()) == 1, 3, "the writers of before have left")
    assert (node.track / "writer.alive").stat().st_ino != identity
    writer.stays()
    assert all(up for _, up in node.host.changes(writer.vip)[-1:]), "it has never gone"
    took = writer.moves("agent stopped for good", node.agent.stop)
    assert took < 1000 * (MAX_AGE_SECONDS + 1)
    wait_until(lambda: not node.writers(), 2, "then its writer ends")


def test_keepalived_that_is_killed_keeps_its_address(writer: Pair) -> None:
    """What no file can fence. Started again it takes back what it has left: so `Restart=always`."""
    a, b = writer.master, writer.backup
    began = time.time()
    writer.daemons[a.name].kill()
    took = 1000 * (b.host.changed(writer.vip, came=True, since=began) - began)
    assert a.host.has(writer.vip), "both have it"
    began = time.time()
    writer.daemons[a.name].start()
    wait_until(lambda: not a.host.has(writer.vip), 5, "one has it")
    measured(
        f"keepalived: killed -9: both have the address after {took:.0f} ms, "
        f"until it is started again ({1000 * (time.time() - began):.0f} ms)"
    )


# --- reader-vip.conf: failback, two files ---------------------------------------------------------------------------


def test_the_readers_address_moves_by_either_file_and_comes_back(nodes: tuple[Node, Node], program: Program) -> None:
    """Without its directory `fault` alone would say that all is well."""
    with running_pair(nodes, "reader-vip", READER_VIP, program) as pair:
        what = f"{release(program)}: FAULT by the file `fault` (weight 0)"
        pair.moves(what, lambda: pair.master.turn(writable=False), since="reader")
        pair.master.turn(writable=True)
        measured(f"keepalived: and comes back {pair.back():.0f} ms after the server is writable again")
        what = f"{release(program)}: weight by the file `alive`, directory removed"
        pair.moves(what, lambda: remove(pair.master.track))
        assert pair.daemons["db1"].states()[-1] == "BACKUP", "no FAULT: only fewer points"


def test_the_verdict_moves_the_address_by_weight(nodes: tuple[Node, Node], program: Program) -> None:
    with running_pair(nodes, "reader-vip", READER_VIP, program, still=["reader.fault"]) as pair:
        what = f"{release(program)}: verdict by weight alone, file `alive`"
        assert pair.moves(what, lambda: pair.master.turn(writable=False), since="reader") < 1000
        assert pair.daemons["db1"].states()[-1] == "BACKUP", "no FAULT: only fewer points"


def test_readers_of_an_agent_that_is_frozen_or_killed(reader: Pair) -> None:
    reader.moves("agent frozen (reader)", reader.master.agent.freeze)
    reader.master.heal()
    reader.back()
    reader.moves("agent killed (reader)", reader.master.agent.kill)


# --- fence.conf -----------------------------------------------------------------------------------------------------


def test_a_fence_that_hears_nothing_fails_closed(nodes: tuple[Node, Node]) -> None:
    """The kernel tells of processes in its first network namespace only. Elsewhere, as here and in most containers,
    nothing seems to run, so the fence holds its node in FAULT.
    """
    with nodes[0].keepalived("fence") as daemon:
        daemon.start()
        daemon.wait_until(lambda: daemon.said("entering FAULT state (tracked process agent_runs"), 5, "FAULT")
        assert daemon.said("entering FAULT state (tracked process mariadb_runs"), "though it runs"
        assert not nodes[0].host.has(WRITER_VIP)


# --- haproxy-vip.conf -----------------------------------------------------------------------------------------------

ALIVE = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s

frontend alive
    mode http
    bind 127.0.0.1:8405
    monitor-uri /alive
    monitor fail if { nbsrv(writer) lt 1 }

backend writer
    server n1 127.0.0.1:3306
"""


class Balancer(HAProxy):
    """A HAProxy in the network of one host."""

    def __init__(self, host: Host) -> None:
        super().__init__(ALIVE, name=f"haproxy-{host.name}")
        self.argv = tuple(host.inside(*self.argv))


def test_the_address_in_front_of_two_haproxys(cable: Cable) -> None:
    """Without track_process: see test_a_fence_that_hears_nothing_fails_closed."""
    need("haproxy", "curl")
    text = (EXAMPLES / "haproxy-vip.conf").read_text()
    untracked = re.sub(r"^    track_process \{.*?^    \}\n", "", text, flags=re.DOTALL | re.MULTILINE)
    assert untracked != text
    a, b = cable.hosts
    balancers = [Balancer(host) for host in cable.hosts]
    daemons = [
        Keepalived("haproxy-vip", host, untracked, identity=f"lb{number}")
        for number, host in enumerate(cable.hosts, start=1)
    ]

    def gone(act: Callable[[], object], what: str) -> None:
        wait_until(lambda: a.has(HAPROXY_VIP) and not b.has(HAPROXY_VIP), 10, f"on lb1 before: {what}")
        began = time.time()
        act()
        took = 1000 * (b.changed(HAPROXY_VIP, came=True, since=began) - began)
        measured(f"keepalived: {what}: the peer has the address after {took:.0f} ms")

    try:
        for process in (*balancers, *daemons):
            process.start()
        gone(lambda: balancers[0].command("set server writer/n1 state maint"), "HAProxy has no writer (weight, script)")
        balancers[0].command("set server writer/n1 state ready")
        gone(balancers[0].kill, "HAProxy killed (script)")
        balancers[0].start()
        gone(balancers[0].freeze, "HAProxy frozen (script)")
    finally:
        for process in (*daemons, *balancers):
            process.close()


# --- healthagent check ----------------------------------------------------------------------------------------------


def check(node: Node, *arguments: str) -> tuple[int, str]:
    command = [*CHECK.split(), *arguments, "--socket", str(node.agent.control_socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.returncode, done.stdout


def test_the_statuses_of_check(nodes: tuple[Node, Node]) -> None:
    """As MISC_CHECK reads them; the kernel here has no IP_VS, so keepalived's own reading is not seen."""
    node = nodes[0]
    assert check(node, "writer") == (0, "OK writer weight=100 state=standalone\n")
    assert check(node, "writer", "--weight")[0] == 102
    assert check(node, "reader", "--max-lag", "5s")[0] == 0
    assert (check(node, "wirter")[0], check(node, "wirter", "--weight")[0]) == (2, 1)
    assert (check(node, "liveness")[0], check(node, "state")[0]) == (2, 2)
    node.turn(writable=False)
    node.holds("writer.alive", 0)
    assert check(node, "writer") == (1, "FAIL writer weight=0 state=replica_stopped reasons=read_only\n")
    assert check(node, "writer", "--weight")[0] == 1
    node.agent.freeze()
    began = time.monotonic()
    frozen = check(node, "writer")[0], check(node, "writer", "--weight")[0]
    took = (time.monotonic() - began) / 2
    measured(f"check: a frozen agent is told after {1000 * took:.0f} ms")
    assert frozen == (3, 1)
    assert took < 0.7
    node.agent.thaw()
    node.agent.stop()
    assert (check(node, "writer")[0], check(node, "writer", "--weight")[0]) == (3, 1)


def test_what_a_check_costs(nodes: tuple[Node, Node]) -> None:
    """Beside curl, which tells less; the smallest of several, for the machine is noisy."""
    need("curl")
    path = str(nodes[0].agent.control_socket)
    commands = {
        "healthagent check": [*CHECK.split(), "writer", "--socket", path],
        "curl --unix-socket": ["curl", "-s", "-o", "/dev/null", "--unix-socket", path, "http://localhost/writer"],
    }
    for name, command in commands.items():
        took = []
        for _ in range(10):
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took.append(1000 * (time.monotonic() - began))
        measured(f"check: {name} takes {min(took):.0f} ms")


# --- a filesystem that is full --------------------------------------------------------------------------------------


def test_a_full_filesystem_is_no_reason_to_stay(nodes: tuple[Node, Node]) -> None:
    """Where nothing can be renamed into place the few bytes are written over those that are there."""
    node = nodes[0]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "track", node.track], check=True)
    try:
        for name, (_, up) in FILES.items():
            node.holds(name, up)
        with pytest.raises(OSError), (node.track / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        node.turn(writable=False)
        for name, (_, up) in FILES.items():
            node.holds(name, 1 - up)
        assert sorted(path.name for path in node.track.iterdir()) == sorted([*FILES, "ballast"])
    finally:
        subprocess.run(["umount", "--lazy", node.track], check=True)


def test_a_file_that_was_read_only_gets_its_down_at_last(nodes: tuple[Node, Node]) -> None:
    """Of a writer whose agent is gone, and whose time was over long before."""
    node = nodes[0]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "track", node.track], check=True)
    try:
        for name, (_, up) in FILES.items():
            node.holds(name, up)
        subprocess.run(["mount", "-o", "remount,ro", node.track], check=True)
        (writing,) = node.writers()
        node.agent.kill()
        with pytest.raises(LabError):
            wait_until(lambda: writing not in node.writers(), MAX_AGE_SECONDS + 1, "it has ended")
        subprocess.run(["mount", "-o", "remount,rw", node.track], check=True)
        for name, (_, up) in FILES.items():
            node.holds(name, 1 - up)
        wait_until(lambda: not node.writers(), 5, "then it ends")
    finally:
        subprocess.run(["umount", "--lazy", node.track], check=True)
