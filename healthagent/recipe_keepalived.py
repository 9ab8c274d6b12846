"""One node of several and the intervals -> a configuration for keepalived: an address that follows the writer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from healthagent.budget import KeepalivedPlan
from healthagent.nodes import Node

__all__ = ["ALIVE", "FAULT", "Address", "keepalived_text"]

TRACKS = "/run/healthagent-track"
FAULT, ALIVE = f"{TRACKS}/writer.fault", f"{TRACKS}/writer.alive"
ALIVE_WEIGHT, FIRST_PRIORITY = 100, 100

FILE = """\
global_defs {{
    # Only here: without version 3 keepalived takes a fraction of a second for a whole one, without a word.
    vrrp_version 3
    enable_script_security
    script_user {user}
}}

# The fast way: the agent writes 1 when this node is no writer, and keepalived gives the address up within milliseconds.
# Weight 0 makes anything but 0 a FAULT. A missing file counts as 0, that is as well: hence the second file.
track_file healthagent_fault {{
    file "{fault}"
    weight 0
}}

# A node whose agent has put no 1 here (never started, stopped for good, directory emptied) loses against any that has.
track_file healthagent_alive {{
    file "{alive}"
    weight {weight}
}}

# For an agent that is frozen or gone: its files hold what they held for max_age. The script asks it; silence is FAULT.
# {falls}
vrrp_script healthagent_writer {{
    script "{program} check writer"
    interval {interval}
    timeout {interval}
    fall {fall}
    rise 2
    init_fail
}}

vrrp_instance writer {{
    # BACKUP and a priority on every node. Never nopreempt here: with a weight the address would not move any more.
    state BACKUP
    interface {interface}
    virtual_router_id {router_id}
    # {place} by address
    priority {priority}
    advert_int {advert}
    unicast_src_ip {own}
    unicast_peer {{
{peers}
    }}
    track_file {{
        healthagent_fault weight 0
        healthagent_alive weight {weight}
    }}
    track_script {{
        healthagent_writer
    }}
    virtual_ipaddress {{
        {vip}
    }}
}}
"""
TRACK_FILES = f"""\
The agent's configuration on this node needs these lines, and the directory {TRACKS}:

keepalived:
  track_files:
    - {{role: writer, path: {FAULT}, up: 0, down: 1}}
    - {{role: writer, path: {ALIVE}, up: 1, down: 0}}

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address that moves. `vip` with its prefix; `priority` None: by the order of the nodes."""

    vip: str
    interface: str
    router_id: int
    priority: int | None = None


def keepalived_text(
    nodes: Sequence[Node],
    this: Node,
    address: Address,
    plan: KeepalivedPlan,
    head: Iterable[str],
    *,
    program: str,
    user: str,
    tracked: bool,
) -> str:
    """A complete file for the node `this`. `program`: healthagent, by its path; `user` runs it. `tracked`: the agent's
    configuration has the two files already.
    """
    place = nodes.index(this)
    said = [*head, *([] if tracked else TRACK_FILES.splitlines())]
    return "".join(f"# {line}".rstrip() + "\n" for line in said) + FILE.format(
        user=user,
        fault=FAULT,
        alive=ALIVE,
        weight=ALIVE_WEIGHT,
        falls=_falls(plan),
        program=program,
        interval=plan.interval,
        fall=plan.fall,
        interface=address.interface,
        router_id=address.router_id,
        place=f"{place + 1} of {len(nodes)}",
        priority=address.priority if address.priority is not None else FIRST_PRIORITY - place,
        advert=plan.advert,
        own=this.address,
        peers="\n".join(f"        {node.address}" for node in nodes if node is not this),
        vip=address.vip,
    )


def _falls(plan: KeepalivedPlan) -> str:
    if plan.fall > 1:
        return "Once is no fault: a busy machine may be late."
    return "There is time for one run only: on a machine that is very busy, ask for a longer --detect-within."
