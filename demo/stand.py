"""What the demonstration stands on: three nodes, three agents, one HAProxy, one client that writes."""

import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import Agent, Galera, GaleraNode, HAProxy, Writer

EXAMPLE = Path(__file__).parents[1] / "haproxy-examples" / "read-write-split.cfg"
HOST, WRITER_PORT, READER_PORT, STATS_PORT = "127.0.0.1", 3307, 3308, 8404
BACKENDS = ("writer", "reader")
FIRST_CHECKS_SECONDS = 10
# Longer than Galera's own pause after a member was lost (6 s), so that a write waits for its end instead of giving up.
CLIENT_TIMEOUT_SECONDS = 15
STATE_WORDS = {1: "joining", 2: "donor", 3: "joined", 4: "synced"}


class Progress:
    """Says what every node is doing while the cluster starts: a line whenever it changes."""

    def __init__(self, galera: Galera) -> None:
        self._galera = galera
        self._started = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def _run(self) -> None:
        before = ""
        while not self._ending.wait(0.25):
            now = ", ".join(f"{node.name} {_word(node)}" for node in self._galera.nodes)
            if now != before and self._galera.alive:
                self.say(now)
                before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


def _word(node: GaleraNode) -> str:
    state = node.local_state if node.alive else None
    return STATE_WORDS.get(state or 0, "starting") if node.alive else "waits"


def _agent(node: GaleraNode) -> Agent:
    """With its agent-check ports, which the example asks for weights."""
    ports = {f"{node.address}:9201": "writer", f"{node.address}:9202": "reader"}
    return Agent.for_node(node, agent_check={"listen": ports})


class Stand:
    """All of it, up and with one opinion: every agent says 200 and HAProxy has every server UP by a check."""

    def __init__(self) -> None:
        self.galera = Galera()
        self.agents = {node.name: _agent(node) for node in self.galera.nodes}
        self.haproxy = HAProxy(EXAMPLE)
        self.client = Writer(HOST, WRITER_PORT, timeout=CLIENT_TIMEOUT_SECONDS)
        self._client_runs = False

    @property
    def nodes(self) -> dict[str, GaleraNode]:
        return {node.name: node for node in self.galera.nodes}

    def start(self) -> None:
        print("starting three MariaDB servers with Galera, all on this machine, in a network of their own")
        with Progress(self.galera) as progress:
            self.galera.start()
        progress.say("the cluster is complete; now an agent beside each node")
        for agent in self.agents.values():
            agent.start()
        for agent in self.agents.values():
            agent.wait_answer("/writer", 200)
        progress.say(f"the agents answer; now HAProxy with {EXAMPLE.parent.name}/{EXAMPLE.name}")
        self.haproxy.start()
        self.haproxy.wait_until(self._checked, FIRST_CHECKS_SECONDS, "every server UP by a check")
        progress.say("HAProxy has checked every server")

    def _checked(self) -> bool:
        servers = [row for row in self.haproxy.stat() if row["svname"] in self.nodes]
        return all(row["status"] == "UP" and row["check_status"] == "L7OK" for row in servers)

    def start_client(self) -> None:
        """Writes through the frontend from now on, every 10 ms."""
        self.client.start()
        self._client_runs = True

    def close(self) -> None:
        """HAProxy first: the client's write under way then ends at once, whatever the servers do."""
        self.haproxy.close()
        if self._client_runs:
            self.client.stop()
        for agent in self.agents.values():
            agent.close()
        self.galera.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close_undisturbed()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_undisturbed()

    def _close_undisturbed(self) -> None:
        """A second Ctrl-C must not interrupt the cleaning up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.close()
