"""From an event to another answer, with real servers: `lab/enter python -m benchmarks.detection [--runs N] [NAME ...]`.

What a client sees over HTTP on a kept connection, asked every 2 ms: that is the resolution, and 0 to 2 ms of each
figure. A machine that does something else meanwhile shows in the p99.
"""

import argparse
import os
import random
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.polling import Listener, Watcher
from benchmarks.report import Section, markdown, percentile
from lab import Agent, Galera, MariaDB, Pair, cut_off, sql, wait_until
from lab.agent import HTTP_PORT

__all__ = ["SECTIONS", "sections"]

COLUMNS = ("event", "runs", "p50 ms", "p99 ms", "max ms", "goal p50 / p99")
ELSEWHERE = "10.9.9.9"  # not a loopback address: there the agent does not look for the server's process
REST_SECONDS = 60.0
Row = tuple[str, ...]


def row(event: str, seconds: Sequence[float], goal: str) -> Row:
    found = [1000 * value for value in seconds]
    shown = (median(found), percentile(found, 99), max(found))
    return (event, str(len(found)), *(f"{value:.1f}" for value in shown), goal)


def is_down(said: str) -> bool:
    return said == "503"


def settle(agent: Agent, path: str) -> None:
    """A new agent that is up, at no particular moment between two looks.

    A new one, because a gate that has fallen five times comes back later and later.
    """
    agent.stop()
    agent.start()
    agent.wait_answer(path, 200, 60)
    time.sleep(random.uniform(0.3, 0.8))


def timed(watcher: Watcher, event: Callable[[], float | None]) -> float:
    """How long after the moment that `event` returns (None: when it began) the answer was 503."""
    began = time.monotonic()
    since = event() or began
    return max(0.0, watcher.when(is_down, began) - since)


def measure(
    name: str,
    goal: str,
    agent: Agent,
    path: str,
    runs: int,
    event: Callable[[], float | None],
    back: Callable[[], object],
) -> Row:
    found = []
    for _ in range(runs):
        settle(agent, path)
        with Watcher(agent.address, path) as watcher:
            found.append(timed(watcher, event))
        back()
    return row(name, found, goal)


def ended(server: MariaDB, end: Callable[[], object]) -> float:
    """The moment at which a connection of our own that nobody uses has been closed: so the server is gone."""
    client = server.client()
    assert client._sock is not None  # type: ignore[attr-defined]
    poll = select.poll()
    poll.register(client._sock, select.POLLIN | select.POLLHUP)  # type: ignore[attr-defined]
    end()
    poll.poll(60_000)
    return time.monotonic()


def deaths(runs: int) -> Section:
    return _deaths(runs, "Unix socket", {})


def deaths_by_tcp(runs: int) -> Section:
    return _deaths(runs, "TCP", {"user": "healthagent", "password": "secret"})


def _deaths(runs: int, way: str, login: Mapping[str, str]) -> Section:
    """kill -9 and a clean stop of a standalone server."""
    rows = []
    with MariaDB("alone", options={"log_bin": "binlog"}) as server:
        server.up()
        agent = Agent.for_node(server)
        if login:
            agent.config = {**agent.config, "mysql": {**login, "host": server.address, "datadir": str(server.datadir)}}
        with agent:
            for word, end in (("kill -9", lambda: ended(server, server.kill)), ("clean stop", lambda: _stop(server))):
                rows.append(measure(word, "10 / 30", agent, "/any", runs, end, server.up))
    method = (
        "A standalone server. It is gone when it has closed a connection of our own, which nobody uses; 0 is an answer"
        " that came before that."
    )
    return Section(title=f"A server that ends, asked by {way}", method=method, columns=COLUMNS, rows=tuple(rows))


def deaths_of_a_member(runs: int) -> Section:
    """The same of a Galera node: after a clean stop its port takes connections for a while, and never greets."""
    rows = []
    with Galera(1) as cluster:
        cluster.start()
        (node,) = cluster.nodes

        def back() -> None:
            node.bootstrap()
            node.wait_synced()

        with Agent.for_node(node) as agent:
            for word, end in (("kill -9", lambda: ended(node, node.kill)), ("clean stop", lambda: _stop(node))):
                rows.append(measure(word, "10 / 30", agent, "/any", runs, end, back))
    method = (
        "A Galera node of one; gone as above. After a clean stop its port still takes connections for a while and never"
        " greets, so that the agent waits for a greeting for 100 ms."
    )
    return Section(title="A Galera node that ends", method=method, columns=COLUMNS, rows=tuple(rows))


def _stop(server: MariaDB) -> float:
    moment = ended(server, lambda: server.execute("SHUTDOWN"))
    server.wait()
    return moment


def gates(runs: int) -> Section:
    """What a statement changes, on a Galera node and on a replica."""
    rows = []
    with Galera(1) as cluster:
        cluster.start()
        (node,) = cluster.nodes
        with Agent.for_node(node) as agent:
            for on, off in (
                ("wsrep_reject_queries = 'ALL'", "wsrep_reject_queries = 'NONE'"),
                ("read_only = ON", "read_only = OFF"),
            ):
                rows.append(_switched(node, agent, "/writer", runs, f"SET GLOBAL {on}", f"SET GLOBAL {off}"))
    with Pair() as pair, Agent.for_node(pair.replica) as agent:
        pair.start()
        for thread in ("SQL_THREAD", "IO_THREAD"):
            rows.append(
                _switched(pair.replica, agent, "/reader", runs, f"STOP SLAVE {thread}", f"START SLAVE {thread}")
            )
    method = "From the moment before the statement is sent."
    return Section(title="Gates that fall at once", method=method, columns=COLUMNS, rows=tuple(rows))


def _switched(server: MariaDB, agent: Agent, path: str, runs: int, on: str, off: str) -> Row:
    client = server.client()

    def event() -> None:
        sql.execute(client, on)

    def back() -> None:
        server.execute(off)

    return measure(on, "60 / 150", agent, path, runs, event, back)


def left(runs: int) -> Section:
    """A node that leaves its cluster, which also closes all connections of clients."""
    found = []
    with Galera(2, fast=True) as cluster:
        cluster.start()
        node = cluster.nodes[1]
        with Agent.for_node(node) as agent:
            for _ in range(runs):
                settle(agent, "/any")
                with Watcher(agent.address, "/any") as watcher:
                    began = time.monotonic()
                    node.execute("SET GLOBAL wsrep_cluster_address = ''")
                    found.append(watcher.when(is_down, began) - began)
                node.execute(f"SET GLOBAL wsrep_cluster_address = 'gcomm://{','.join(cluster.members)}'")
                wait_until(lambda: _quiet_synced(node), 60, "a member again")
    rows = (row("SET GLOBAL wsrep_cluster_address = ''", found, "60 / 150"),)
    method = "From the moment before the statement is sent: the server itself needs some 30 ms."
    return Section(title="A node that leaves its cluster", method=method, columns=COLUMNS, rows=rows)


def _quiet_synced(node: MariaDB) -> bool:
    try:
        return node.status("wsrep_local_state") == "4" and node.status("wsrep_ready") == "ON"
    except Exception:
        return False


def donor(runs: int) -> Section:
    """A node that becomes the donor of an rsync SST, and blocks its writes from then on."""
    found = []
    with Galera(2, fast=True) as cluster:
        cluster.start()
        first, joiner = cluster.nodes
        with Agent.for_node(first) as agent:
            for _ in range(runs):
                joiner.stop()
                wait_until(lambda: first.sees(1), 30, "alone")
                settle(agent, "/writer")
                with Watcher(agent.address, "/writer") as watcher, Listener(first, "wsrep_local_state") as listener:
                    began = time.monotonic()
                    joiner.join_by_sst("rsync", donor=first, kib_per_second=50_000)
                    shown = listener.when(lambda said: said == "2", began, 60)
                    found.append(max(0.0, watcher.when(is_down, began, 60) - shown))
                joiner.wait_synced()
                first.wait_synced()
    method = "From the moment at which wsrep_local_state, asked every 2 ms, is 2."
    rows = (row("rsync donor", found, "60 / 150"),)
    return Section(title="A donor that blocks", method=method, columns=COLUMNS, rows=rows)


def quorum(runs: int) -> Section:
    """A node that is cut off: its warning, and the moment at which it knows."""
    warned, told = [], []
    with Galera(3, fast=True) as cluster:
        cluster.start()
        node = cluster.nodes[2]
        agent = Agent.for_node(
            node,
            http={"listen": [f"127.0.2.3:{HTTP_PORT}"]},
            roles={"careful": {"base": "writer", "membership": "paranoid"}},
        )
        with agent:
            for _ in range(runs):
                settle(agent, "/careful")
                with (
                    Watcher(agent.address, "/reader") as watcher,
                    Watcher(agent.address, "/careful") as careful,
                    Listener(node, "wsrep_cluster_status") as status,
                    Listener(node, "wsrep_evs_state") as evs,
                ):
                    began = time.monotonic()
                    with cut_off(node.address):
                        at = evs.when(lambda said: said != "OPERATIONAL", began)
                        warned.append(max(0.0, careful.when(is_down, began) - at))
                        at = status.when(lambda said: said != "Primary", began)
                        told.append(max(0.0, watcher.when(is_down, began) - at))
                cluster.wait_synced()
    rows = (
        row("wsrep_evs_state leaves OPERATIONAL -> `paranoid` writer", warned, "-"),
        row("non-Primary", told, "- / 120"),
    )
    method = "From the moment at which the server's own status, asked every 2 ms, shows it; evs.suspect_timeout 2 s."
    return Section(title="A node that is cut off", method=method, columns=COLUMNS, rows=rows)


@contextmanager
def elsewhere() -> Iterator[None]:
    """An address on this machine that looks like one of another."""
    subprocess.run(["ip", "address", "add", f"{ELSEWHERE}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "del", f"{ELSEWHERE}/32", "dev", "lo"], check=True)


def freezes(runs: int) -> Section:
    """SIGSTOP, with /proc and without; and how long an answer takes meanwhile."""
    rows, slowest = [], []
    with elsewhere(), MariaDB("frozen", ELSEWHERE, options={"log_bin": "binlog"}) as server:
        server.up()
        server.execute("CREATE USER far@'%' IDENTIFIED BY 'far'")
        server.execute("GRANT SLAVE MONITOR ON *.* TO far@'%'")
        remote = {"host": ELSEWHERE, "user": "far", "password": "far"}
        for name, goal, login in (("/proc read", "900 / 1200", {}), ("/proc not readable", "2000 / -", remote)):
            agent = Agent.for_node(server, http={"listen": [f"127.0.0.1:{HTTP_PORT}"]})
            if login:
                agent.config = {**agent.config, "mysql": dict(login)}
            path, found = "/writer", []
            with agent:
                for _ in range(runs):
                    settle(agent, path)
                    with Watcher(agent.address, path) as watcher:
                        found.append(timed(watcher, server.freeze))
                        time.sleep(0.2)
                        slowest.append(watcher.slowest)
                    server.thaw()
            rows.append(row(f"SIGSTOP, {name}", found, goal))
    rows.append(row("the slowest of some 500 answers meanwhile", slowest, "- / 5"))
    method = "A standalone server, from the signal on. Without /proc: it is reached by an address of another host."
    return Section(title="A server that is frozen", method=method, columns=COLUMNS, rows=tuple(rows))


def files(runs: int) -> Section:
    """The track file beside the answer, and the way from the start to the first verdict."""
    later, first = [], []
    with Galera(1) as cluster:
        cluster.start()
        (node,) = cluster.nodes
        track = node.directory / "writer.fault"
        entry = {"role": "writer", "path": str(track), "up": 0, "down": 1}
        with Agent.for_node(node, keepalived={"track_files": [entry]}) as agent:
            for _ in range(runs):
                settle(agent, "/writer")
                with Watcher(agent.address, "/writer") as watcher:
                    began = time.monotonic()
                    node.execute("SET GLOBAL wsrep_reject_queries = 'ALL'")
                    at = _content(track, "1")
                    later.append(at - watcher.when(is_down, began))
                node.execute("SET GLOBAL wsrep_reject_queries = 'NONE'")
                agent.wait_answer("/writer", 200)
        for _ in range(runs):
            agent = Agent.for_node(node)
            with agent:
                first.append(_first_verdict(agent))
    rows = (
        row("track file written after the answer has changed", later, "- / 5"),
        row("start of serve -> first verdict", first, "- / 600"),
    )
    method = "A negative figure: the file came first. The start is that of the process; its port is asked every 2 ms."
    return Section(title="Files and the start", method=method, columns=COLUMNS, rows=rows)


def _content(track: Path, word: str) -> float:
    deadline = time.monotonic() + 10
    while track.read_text().strip() != word:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{track} never says {word}")
        time.sleep(0.0005)
    return time.monotonic()


def _first_verdict(agent: Agent) -> float:
    agent.configure()
    Path(agent.config["state_dir"]).mkdir(exist_ok=True)
    began = time.monotonic()
    super(Agent, agent).start()
    while time.monotonic() < began + 20:
        try:
            if agent.get("/writer").status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.002)
    raise TimeoutError("no verdict")


def cpu_seconds(pid: int) -> float:
    """utime and stime of /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rest(_: int) -> Section:
    """What it costs while nothing happens."""
    rows = []
    with Galera(1) as cluster:
        cluster.start()
        rows.append(_at_rest("Galera node", cluster.nodes[0]))
    with Pair() as pair:
        pair.start()
        rows.append(_at_rest("replica", pair.replica))
    columns = ("server", "statements/s", "server, % of a core", "of that without the agent", "agent, % of a core")
    method = f"Over {REST_SECONDS:g} s, by the server's Questions and by utime and stime in /proc."
    return Section(title="At rest", method=method, columns=columns, rows=tuple(rows))


def _at_rest(name: str, server: MariaDB) -> Row:
    def spent(seconds: float, pids: Sequence[int]) -> list[float]:
        before = [cpu_seconds(pid) for pid in pids]
        time.sleep(seconds)
        return [100 * (cpu_seconds(pid) - then) / seconds for pid, then in zip(pids, before, strict=True)]

    (idle,) = spent(REST_SECONDS / 3, [server.pid])
    with Agent.for_node(server) as agent:
        agent.start()
        agent.wait_answer("/any", 200)
        asked = int(server.status("Questions") or 0)
        busy, own = spent(REST_SECONDS, [server.pid, agent.pid])
        rate = (int(server.status("Questions") or 0) - asked - 1) / REST_SECONDS
    return (name, f"{rate:.1f}", f"{busy:.2f}", f"{idle:.2f}", f"{own:.2f}")


SECTIONS: dict[str, Callable[[int], Section]] = {
    "deaths": deaths,
    "deaths_by_tcp": deaths_by_tcp,
    "deaths_of_a_member": deaths_of_a_member,
    "gates": gates,
    "left": left,
    "donor": donor,
    "quorum": quorum,
    "freezes": freezes,
    "files": files,
    "rest": rest,
}


def sections(runs: int = 30, names: Sequence[str] = tuple(SECTIONS)) -> list[Section]:
    """Each with servers of its own; to be run under lab/enter."""
    return [SECTIONS[name](runs) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="of each event (default 30)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SECTIONS)}; default: all")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in SECTIONS]
    if unknown or arguments.runs < 1:
        parser.error(f"{unknown or arguments.runs}: no such name, or less than one run")
    print(markdown(sections(arguments.runs, arguments.names or tuple(SECTIONS))))


if __name__ == "__main__":
    main()
