"""One node of several and the intervals -> a configuration for keepalived: an address that follows the writer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from healthagent.budget import KeepalivedPlan
from healthagent.nodes import Node
from healthagent.trackfile import TrackFile

__all__ = ["TRACK", "Address", "keepalived_text"]

TRACK = TrackFile(role="writer", path=Path("/run/healthagent-track/writer.alive"), up=1, down=0)
FIRST_PRIORITY = 100

FILE = """\
global_defs {{
    # Only here: without version 3 keepalived takes a fraction of a second for a whole one, without a word.
    vrrp_version 3
    enable_script_security
    script_user {user}
}}

# The fast way: the agent writes 0 when this node is no writer. That is FAULT, and the peer is told so at once. Missing,
# empty and garbage are read as 0, too.
track_file healthagent_alive {{
    file "{track}"
    weight 0 reverse
}}

# For what the file cannot tell: an agent that is frozen, together with what writes the file. A restart of the agent may
# cost a run: hence no fall 1.
vrrp_script healthagent_writer {{
    script "{program} check writer --socket {socket}"
    interval 1
    timeout 1
    fall {fall}
    rise 1
    init_fail
}}

vrrp_instance writer {{
    # The address does not come back by itself. nopreempt needs BACKUP on every node, and trackers of weight 0.
    state BACKUP
    nopreempt
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
        healthagent_alive
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
The agent's configuration on this node needs these lines, and the directory {TRACK.path.parent}:

keepalived:
  track_files:
    - {{role: {TRACK.role}, path: {TRACK.path}, up: {TRACK.up}, down: {TRACK.down}}}

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
    socket: Path,
    user: str,
    tracked: bool,
) -> str:
    """A complete file for the node `this`. `program`: healthagent, by its path; `user` runs it, and asks the agent by
    `socket`. `tracked`: the agent's configuration has TRACK already.
    """
    place = nodes.index(this)
    said = [*head, *([] if tracked else TRACK_FILES.splitlines())]
    return "".join(f"# {line}".rstrip() + "\n" for line in said) + FILE.format(
        user=user,
        track=TRACK.path,
        program=program,
        socket=socket,
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
