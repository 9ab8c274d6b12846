"""A real Galera cluster on 127.0.0.1, .2, .3 ...: fast to start, with real and slow state transfers on demand."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

from lab import sql
from lab.mariadb import MariaDB, Option, template
from lab.process import Closing, LabError, lab_dir, tail

PROVIDER = "/usr/lib/galera/libgalera_smm.so"
CLUSTER_NAME = "lab"
GROUP_PORT, IST_PORT, SST_PORT = 4567, 4568, 4444
TEMPLATE_ADDRESS = "127.0.0.250"
SYNCED = 4
NO_STATE = "00000000-0000-0000-0000-000000000000"

SstMethod = Literal["rsync", "mariabackup"]

# gcache: enough for an IST of whatever a test writes while a node is away.
PROVIDER_OPTIONS: Mapping[str, str] = {"gcache.size": "256M"}

# A dead node is noticed after 3 s instead of 6. Shorter is not safe: with suspect_timeout 1 s one hiccup of a busy
# machine made a whole cluster non-Primary, and keepalive_period must be below a third of it.
FAST_OPTIONS: Mapping[str, str] = {
    "evs.keepalive_period": "PT0.5S",
    "evs.inactive_check_period": "PT0.25S",
    "evs.suspect_timeout": "PT2S",
    "evs.inactive_timeout": "PT5S",
    "evs.install_timeout": "PT5S",
}

# First on the PATH of every node. The receiving rsync, a daemon, would turn into `nobody` because it is started by root
# here. The sending one is slowed down, while the file has a number.
RSYNC_WRAPPER = """\
#!/bin/sh
for argument; do
    case $argument in *rsync_sst.conf) sed -i '1i uid = 0\\ngid = 0' "$argument"; exec /usr/bin/rsync "$@" ;; esac
done
limit=$(cat {limit} 2>/dev/null)
exec /usr/bin/rsync ${{limit:+--bwlimit="$limit"}} "$@"
"""


class GaleraNode(MariaDB):
    """One member; its name is also its wsrep_node_name."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        members: Sequence[str],
        options: Mapping[str, Option] | None = None,
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        wsrep = _wsrep_options(name, address, members, {**PROVIDER_OPTIONS, **(provider_options or {})})
        super().__init__(name, address, options={**wsrep, **(options or {})})
        self._limit = self.directory / "sst-limit"

    def _own_environment(self) -> dict[str, str]:
        # The server puts its own directory, spelled so, before everything else unless the PATH has it already.
        return {"PATH": f"{self.directory}/bin:/usr//bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def prepare(self, source: Path | None = None) -> None:
        super().prepare(source or galera_template())
        wrapper = self.directory / "bin" / "rsync"
        wrapper.parent.mkdir()
        wrapper.write_text(RSYNC_WRAPPER.format(limit=self._limit))
        wrapper.chmod(0o755)

    @property
    def local_state(self) -> int | None:
        """wsrep_local_state; None when no connection is to be had."""
        try:
            value = self.status("wsrep_local_state")
        except sql.Error:
            return None
        return int(value) if value is not None else None

    def is_synced(self) -> bool:
        """State 4 and ready: local_state alone says 4 for some ms on a node that is non-Primary already."""
        try:
            return self.local_state == SYNCED and self.status("wsrep_ready") == "ON"
        except sql.Error:
            return False

    def sees(self, size: int) -> bool:
        """Whether its view has so many members, arbitrators included."""
        return self.status("wsrep_cluster_size") == str(size)

    def wait_synced(self, timeout: float = 60) -> None:
        self.wait_until(self.is_synced, timeout, "synced")

    def wait_ready(self, timeout: float = 60) -> None:
        self.wait_synced(timeout)

    def set_provider(self, option: str, value: str) -> None:
        """An option of the provider while it runs, such as pc.bootstrap; ValueError for one that this server lacks.

        With the plugin wsrep_provider, which Debian's 11.8 loads, each is a variable of its own, durations are
        seconds, and the variable with all of them is read-only. It still shows what was set.
        """
        variable = f"wsrep_provider_{option.replace('.', '_')}"
        if self.variable(variable) is not None:
            number = re.fullmatch(r"(?:PT)?([0-9.]+)S?", value)  # in quotes it has the wrong type: error 1232
            self.execute(f"SET GLOBAL {variable} = {number[1] if number else repr(value)}")
        elif self.variable("wsrep_provider_pc_bootstrap") is None:
            self.execute("SET GLOBAL wsrep_provider_options = %s", [f"{option}={value}"])
        else:
            raise ValueError(f"{self!r} has no {variable}")

    def bootstrap(self) -> None:
        """Starts a new cluster from this node; returns at once."""
        self._grastate_set("safe_to_bootstrap", "1")
        self.start("--wsrep-new-cluster", *self.recovered_position())

    def start_ist(self) -> None:
        """Rejoins with what is in the datadir, so that the others send only what it missed; returns at once."""
        self.start(*self.recovered_position())

    def restart(self) -> None:
        """stop(), start_ist(), and waits for Synced."""
        self.stop()
        self.start_ist()
        self.wait_synced()

    def join_by_sst(
        self, method: SstMethod = "rsync", *, donor: "GaleraNode", kib_per_second: int | None = None
    ) -> None:
        """Forgets its position and joins by a full copy from the donor. Returns at once, with the copy still to come.

        The donor stays throttled until throttle_sst(None).
        """
        self.stop()
        donor.throttle_sst(kib_per_second)
        self._forget_position()
        self.configure(wsrep_sst_method=method)
        self.start(f"--wsrep-sst-donor={donor.name}")

    def throttle_sst(self, kib_per_second: int | None) -> None:
        """How fast this node may send: both SST methods look when they start."""
        if kib_per_second is None:
            self._limit.unlink(missing_ok=True)
            self.sections.pop("sst", None)
            self.configure()
        else:
            self._limit.write_text(str(kib_per_second))
            self.configure("sst", rlimit=f"{kib_per_second}k")

    def _forget_position(self) -> None:
        self._grastate_set("uuid", NO_STATE)
        self._grastate_set("seqno", "-1")
        (self.datadir / "gvwstate.dat").unlink(missing_ok=True)

    def _grastate_set(self, key: str, value: str) -> None:
        file = self.datadir / "grastate.dat"
        file.write_text(re.sub(rf"^{key}:.*$", f"{key}: {value}", file.read_text(), flags=re.MULTILINE))

    def recovered_position(self) -> list[str]:
        """What galera_recovery does in the systemd unit: after a crash only InnoDB knows the position.

        Without it a node that was killed asks for a full SST.
        """
        grastate = (self.datadir / "grastate.dat").read_text()
        if NO_STATE in grastate or not re.search(r"^seqno:\s*-1$", grastate, re.MULTILINE):
            return []
        log = self.directory / "recover.log"
        with log.open("wb") as output:
            subprocess.run([*self.argv, "--wsrep-recover"], stdout=output, stderr=output, check=False)
        found = re.search(r"WSREP: Recovered position:\s*(\S+)", log.read_text(errors="replace"))
        if found is None:
            raise LabError(f"no position recovered for {self!r}\n{tail(log)}")
        return [f"--wsrep-start-position={found[1]}"]


def _wsrep_options(
    name: str, address: str, members: Sequence[str], provider_options: Mapping[str, str]
) -> dict[str, Option]:
    """All addresses explicit: the defaults take the first interface or all of them, and the members would collide."""
    provider = {
        "base_host": address,
        "base_port": str(GROUP_PORT),
        "gmcast.listen_addr": f"tcp://{address}:{GROUP_PORT}",
        "ist.recv_addr": f"{address}:{IST_PORT}",
        **provider_options,
    }
    return {
        "binlog_format": "ROW",
        "innodb_autoinc_lock_mode": 2,
        "wsrep_on": "ON",
        "wsrep_provider": PROVIDER,
        "wsrep_provider_options": '"' + ";".join(f"{key}={value}" for key, value in provider.items()) + '"',
        "wsrep_cluster_name": CLUSTER_NAME,
        "wsrep_cluster_address": "gcomm://" + ",".join(members),
        "wsrep_node_name": name,
        "wsrep_node_address": address,
        "wsrep_node_incoming_address": address,
        "wsrep_sst_receive_address": f"{address}:{SST_PORT}",
        "wsrep_sst_method": "rsync",
        "wsrep_sst_auth": "root:",  # mariabackup on the donor logs in through the socket
    }


def galera_template() -> Path:
    """The template once run as a cluster of one and stopped cleanly.

    InnoDB and grastate.dat then hold one and the same position, so that copies of it join by a tiny IST.
    """
    done = lab_dir() / "template-galera"
    if not done.exists():
        with GaleraNode("template-run", TEMPLATE_ADDRESS, members=[TEMPLATE_ADDRESS]) as node:
            node.prepare(template())
            node.start("--wsrep-new-cluster")
            node.wait_synced()
            node.stop()
            for file in ("galera.cache", "gvwstate.dat"):
                (node.datadir / file).unlink(missing_ok=True)
            node.datadir.rename(done)
        shutil.rmtree(node.directory)
    return done


class Galera(Closing):
    """A cluster of N nodes named n1, n2, ... on 127.0.0.1, 127.0.0.2, ..."""

    def __init__(
        self,
        size: int = 3,
        *,
        fast: bool = False,
        options: Mapping[str, Option] | None = None,
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        self.members = tuple(f"127.0.0.{number}" for number in range(1, size + 1))
        evs = FAST_OPTIONS if fast else {}
        self.nodes = tuple(
            GaleraNode(
                f"n{number}",
                address,
                members=self.members,
                options=options,
                provider_options={**evs, **(provider_options or {})},
            )
            for number, address in enumerate(self.members, start=1)
        )
        self._sequence = itertools.count(1)

    @property
    def logs(self) -> list[Path]:
        return [node.log for node in self.nodes]

    @property
    def alive(self) -> list[GaleraNode]:
        return [node for node in self.nodes if node.alive]

    def start(self) -> Self:
        """A fresh cluster, all nodes Synced. One joiner at a time: two at once cost a timeout of 5 s."""
        for node in self.nodes:
            node.prepare()
        first, *others = self.nodes
        first.bootstrap()
        first.wait_synced()
        for size, node in enumerate(others, start=2):
            node.start_ist()
            node.wait_until(partial(first.sees, size), 60, f"{first.name} sees {size} members")
        self.wait_synced()
        return self

    def wait_synced(self, timeout: float = 60) -> None:
        """All nodes that run are Synced, and each sees all of them."""
        alive = self.alive
        for node in alive:
            node.wait_synced(timeout)
            node.wait_until(partial(node.sees, len(alive)), timeout, f"sees {len(alive)} members")

    def write(self, node: GaleraNode | None = None, *, timeout: float = 30) -> int:
        """One row through the node, else through the first that runs; returns its seq (the client is 0)."""
        seq = next(self._sequence)
        statement = "INSERT INTO shop.orders (client, seq) VALUES (0, %s)"
        (node or self.alive[0]).execute(statement, [seq], timeout=timeout)
        return seq

    def load(self, megabytes: int) -> None:
        self.alive[0].load(megabytes)

    def stop(self) -> None:
        """A clean stop of all; the last one to go may bootstrap again."""
        for node in reversed(self.nodes):
            node.stop()

    def close(self) -> None:
        for node in self.nodes:
            node.close()
