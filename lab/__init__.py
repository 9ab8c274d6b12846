"""Real servers as plain processes in private namespaces, for tests and for demonstrations: see README.md."""

from lab.agent import Agent, Answer
from lab.arbitrator import Arbitrator
from lab.galera import Galera, GaleraNode
from lab.haproxy import HAProxy
from lab.hosts import Cable, Host
from lab.keepalived import Keepalived
from lab.mariadb import MariaDB
from lab.network import cut_off
from lab.process import LabError, Process, lab_dir, wait_until
from lab.prometheus import Prometheus
from lab.replication import Pair
from lab.writers import Writer, seconds_apart

__all__ = [
    "Agent",
    "Answer",
    "Arbitrator",
    "Cable",
    "Galera",
    "GaleraNode",
    "HAProxy",
    "Host",
    "Keepalived",
    "LabError",
    "MariaDB",
    "Pair",
    "Process",
    "Prometheus",
    "Writer",
    "cut_off",
    "lab_dir",
    "seconds_apart",
    "wait_until",
]
