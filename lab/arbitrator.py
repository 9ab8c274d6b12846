"""A real Galera arbitrator: it votes and relays, has no data, and counts in wsrep_cluster_size."""

from collections.abc import Sequence

from lab.galera import CLUSTER_NAME, GROUP_PORT
from lab.process import Process, lab_dir


class Arbitrator(Process):
    """One garbd, joining the cluster whose members' addresses are given."""

    def __init__(self, address: str = "127.0.0.9", *, members: Sequence[str]) -> None:
        options = f"base_host={address};gmcast.listen_addr=tcp://{address}:{GROUP_PORT}"
        cluster = "gcomm://" + ",".join(f"{member}:{GROUP_PORT}" for member in members)
        argv = ["garbd", "--address", cluster, "--group", CLUSTER_NAME, "--name", "arbitrator", "--options", options]
        super().__init__(argv, log=lab_dir() / "garbd.log")
