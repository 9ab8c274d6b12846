"""Staying up: how to reach everything from another terminal, and Enter for the table."""

import select
import sys

from demo.stand import HOST, READER_PORT, STATS_PORT, WRITER_PORT, Stand
from demo.table import show_table
from lab import lab_dir

WAIT_SECONDS = 0.5

INVITATION = """
All of it stays up until Ctrl-C. From another terminal, as root, after these two assignments:

  LAB={lab}
  NS=$(pgrep -of $LAB/)    # some process in the demo's network

  ask an agent             curl --unix-socket $LAB/agent-n1/control http://localhost/writer
                           also /any /reader /synced /candidate /liveness /state /why?role=writer
  as HAProxy asks it       nsenter -t $NS -n curl -i http://127.0.0.1:9200/writer
                           n2 is 127.0.0.2, n3 is 127.0.0.3
  what HAProxy thinks      nsenter -t $NS -n curl -s '{host}:{stats}/;csv' | cut -d, -f1,2,18,37,57
  write through HAProxy    nsenter -t $NS -n mariadb -h{host} -P{writer} -uapp -papp -e 'SELECT @@report_host'
  read through HAProxy     the same with -P{reader}
  change a server          mariadb -S $LAB/n1/sock -e 'SET GLOBAL wsrep_desync = ON'
  crash a server           pkill -KILL -f $LAB/n1/my.cnf
  freeze a server          pkill -STOP -f $LAB/n1/my.cnf

Enter: the table again; servers that you have killed are started again first.
"""


def play(stand: Stand) -> None:
    """Until Ctrl-C, which is the proper end of it."""
    print(INVITATION.format(lab=lab_dir(), host=HOST, stats=STATS_PORT, writer=WRITER_PORT, reader=READER_PORT), end="")
    try:
        while True:
            if _enter_pressed():
                _restart_dead(stand)
                show_table(stand)
    except KeyboardInterrupt:
        print("\nstopping")


def _enter_pressed() -> bool:
    """A line on stdin; without a terminal, or after its end, only Ctrl-C is heard."""
    if sys.stdin.closed or not select.select([sys.stdin], [], [], WAIT_SECONDS)[0]:
        return False
    if sys.stdin.readline():
        return True
    sys.stdin.close()
    return False


def _restart_dead(stand: Stand) -> None:
    for node in stand.galera.nodes:
        if not node.alive:
            print(f"starting {node.name}")
            node.start_ist()
            node.wait_synced()
