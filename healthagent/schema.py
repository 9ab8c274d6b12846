"""The settings as data: every key with its kind, default and meaning. docs/configuration.md is held against it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from healthagent.kinds import (
    MAX_QUEUE,
    Kind,
    absolute,
    address_roles,
    addresses,
    amount,
    as_it_is,
    boolean,
    cluster_uuid,
    connections,
    drain_code,
    duration,
    either,
    file_mode,
    flow_control,
    loopback,
    one_of,
    pace,
    peers,
    ratio,
    secret,
    some_connections,
    some_of,
    spoken,
    spoken_address,
    spoken_amount,
    spoken_pace,
    step,
    table,
    tags,
    text,
    whole,
)
from healthagent.paths import file_path, prom_file, spoken_path
from healthagent.places import CONTROL_SOCKET
from healthagent.policy import Base, PrimaryLost, Role, Weights
from healthagent.trackfile import spoken_track_files, track_files

__all__ = [
    "IGNORABLE",
    "OWN_ONLY",
    "RESERVED_NAMES",
    "ROLE_NAME",
    "ROLE_SETTINGS",
    "SECTIONS",
    "TOP_LEVEL",
    "WEIGHTS",
    "Setting",
    "role_keys",
]


@dataclass(frozen=True, slots=True)
class Setting:
    """`kind` takes the YAML value and returns ours, or raises ValueError with what would be right; `say` turns back.

    The value of a `secret` one is never shown: whoever mixes up password and password_file has a password there.
    `field` is its name in the policy, of a setting that goes straight there.
    """

    kind: Kind
    default: Any
    meaning: str
    secret: bool = False
    say: Callable[[Any], Any] = as_it_is
    field: str = ""


def _of_weights(field: str, kind: Kind, meaning: str, say: Callable[[Any], Any] = as_it_is) -> Setting:
    return Setting(kind, getattr(Weights(), field), meaning, say=say, field=field)


def _of_role(field: str, kind: Kind, meaning: str, say: Callable[[Any], Any] = as_it_is) -> Setting:
    """One whose default is None takes `null` as well."""
    return Setting(kind, getattr(_ANY_ROLE, field), meaning, say=say, field=field)


_ANY_ROLE = Role(name="", base=Base.READER)

WEIGHTS: dict[str, Setting] = {
    "lag": _of_weights("lag", boolean, "a replica between `soft_lag` and `max_lag` weighs less"),
    "queue": _of_weights("queue", boolean, "so does a Galera node whose receive queue grows"),
    "flow": _of_weights("flow", boolean, "one that pauses its cluster"),
    "connections": _of_weights("connections", boolean, "one that runs out of connections"),
    "donor": _of_weights("donor", ratio, "factor of a donor that its role lets serve; 1: none"),
    "desynced": _of_weights("desynced", ratio, "factor of a desynced node that its role lets serve; 1: none"),
    "warm_up": _of_weights(
        "warm_up_seconds",
        duration(0, 3600),
        "how long a node that came back takes to its full weight; 0s: none",
        spoken,
    ),
    "step": _of_weights("step", step, "weights are rounded to it; it divides 100"),
    "raise_interval": _of_weights(
        "raise_seconds", duration(0, 600), "a weight falls at once and rises at most this often", spoken
    ),
}
SECTIONS: dict[str, dict[str, Setting]] = {
    "mysql": {
        "socket": Setting(absolute, None, "Unix socket of the server; the default where no `host` is given"),
        "host": Setting(text, None, "log in over TCP instead; not together with `socket`"),
        "port": Setting(whole(1, 65535), 3306, "TCP port, with `host`"),
        "user": Setting(text, None, "account; default: the system user, as unix_socket login needs it"),
        "password": Setting(secret, None, "in place; a file is better", secret=True),
        "password_file": Setting(absolute, None, "file whose first line is the password", secret=True),
        "defaults_file": Setting(absolute, None, "my.cnf to take user, password, socket, host and port from"),
        "topology": Setting(
            one_of("auto", "galera", "async", "standalone"), "auto", "what this server is; auto looks and remembers"
        ),
        "datadir": Setting(absolute, None, "finds the server's process before it has answered; else learned from it"),
        "pid_file": Setting(absolute, None, "the same, by its pid file"),
        "cluster_uuid": Setting(
            cluster_uuid, None, "the cluster this node belongs to; default: the one it was synced with first"
        ),
    },
    "probe": {
        "interval": Setting(duration(0.05, 60), 0.5, "time from probe to probe", say=spoken),
        "fast_interval": Setting(
            duration(0.02, 60),
            0.1,
            "time from look to look: between probes only at what a gate falls for at once; at most `interval`",
            say=spoken,
        ),
        "timeout": Setting(
            duration(0.05, 60),
            0.8,
            "deadline of connect, login and facts together; the replication rows have it anew, or 0.8 of it",
            say=spoken,
        ),
        "max_age": Setting(
            duration(0.1, 600),
            3.0,
            "facts older than it never serve; at least interval + 3 x timeout and 3.6 x timeout",
            say=spoken,
        ),
        "notify": Setting(
            loopback,
            None,
            "UDP address for wsrep_notify_cmd, such as `127.0.0.1:9203`: whatever comes there means: look now",
            say=lambda place: None if place is None else spoken_address(*place),
        ),
        "client_port": Setting(
            pace(1, 600), 5.0, "how often the way of clients is tested (TCP login); `off`: never", say=spoken_pace
        ),
        "write_table": Setting(table, None, "`database.table` for the write probe; without it there is none"),
        "heartbeat_table": Setting(table, None, "`database.table` as pt-heartbeat fills it: the lag is read there"),
        "heartbeat_utc": Setting(boolean, True, "its times are UTC (pt-heartbeat --utc), else the server's time zone"),
        "heartbeat_write": Setting(boolean, False, "write its row here every second, while this is no replica"),
        "record": Setting(
            file_path, None, "file for what every probe brought: see `healthagent replay`", say=spoken_path
        ),
        "record_samples": Setting(
            whole(1000, 10_000_000), 172_800, "so many of the last ones are kept at least, and twice as many at most"
        ),
    },
    "weights": WEIGHTS,
    "http": {
        "listen": Setting(addresses, [("0.0.0.0", 9200)], "addresses of the HTTP interface"),
        "drain_code": Setting(
            drain_code, 503, "status of a role that is draining; 404 for HAProxy's `http-check disable-on-404`"
        ),
    },
    "agent_check": {
        "listen": Setting(
            address_roles,
            {"0.0.0.0:9201": "writer", "0.0.0.0:9202": "reader"},
            "addresses of HAProxy's agent-check, each with its role; `null`: the role comes by agent-send; `{}`: none",
        ),
        "admin_words": Setting(
            boolean, False, "say `ready` and `drain` too, which overwrite what an operator set on the balancer"
        ),
    },
    "keepalived": {
        "track_files": Setting(
            track_files,
            (),
            "files for keepalived's `track_file`, each `{role, path, up, down}`: a number, `up` while the role is up",
            say=spoken_track_files,
        ),
    },
    "metrics": {
        "mysqld_names": Setting(boolean, False, "tell what is known by mysqld_exporter's names, too"),
        "textfile": Setting(
            prom_file,
            None,
            "also a file for node_exporter's textfile collector: `/var/lib/prometheus/node-exporter/healthagent.prom`",
            say=spoken_path,
        ),
    },
    "control": {
        "socket": Setting(absolute, CONTROL_SOCKET, "Unix socket with the same HTTP interface"),
        "mode": Setting(file_mode, "0660", "mode of that socket"),
        "group": Setting(text, None, "group of that socket; default: `healthagent` where that group exists"),
    },
    "log": {
        "level": Setting(one_of("debug", "info", "warning", "error"), "info", "what is logged"),
        "format": Setting(
            one_of("auto", "journal", "logfmt", "json", "text"),
            "auto",
            "auto: `journal` where standard error is journald's, `text` on a terminal, else `logfmt`",
        ),
    },
}
TOP_LEVEL: dict[str, Setting] = {
    "peers": Setting(
        peers,
        (),
        "the agents of the other nodes, by URL: `http://10.0.0.12:9200`; for `config haproxy` and others",
        say=list,
    ),
    "state_dir": Setting(absolute, "/var/lib/healthagent", "remembers that this was once a Galera node"),
    "tags": Setting(tags, (), "what this node is: names with a text each, for the `tags` of roles", say=dict),
}
# the gates that a role may leave out: without any other one a verdict would not mean what it says
IGNORABLE = (
    *("client_port", "same_cluster", "min_size", "accepting", "thaw", "queue", "flow", "membership", "progress"),
    *("restarts", "link", "warm_up"),
)
_paranoid, _say_paranoid = either("fast", "paranoid")
_required, _say_required = either("reported", "required")

ROLE_SETTINGS: dict[str, Setting] = {
    "enabled": Setting(boolean, False, "the role exists"),
    "max_lag": _of_role("max_lag_seconds", duration(0.1, 86400), "a replica further behind is down", spoken),
    "soft_lag": _of_role(
        "soft_lag_seconds",
        duration(0, 86400),
        "lag from which on the weight falls, below `max_lag`; default: half of it",
        lambda seconds: None if seconds is None else spoken(seconds),
    ),
    "subtract_delay": _of_role(
        "subtract_delay", boolean, "a replica that is delayed on purpose (`MASTER_DELAY`) may be that much behind"
    ),
    "connections": _of_role(
        "connections",
        some_connections,
        'the replication connections that count, by name (`""` is the one without); default: all',
        lambda names: None if names is None else list(names),
    ),
    "grace": _of_role(
        "grace_seconds", duration(0, 3600), "how long a replication thread may be reconnecting to its source", spoken
    ),
    "primary_lost": _of_role(
        "primary_lost",
        lambda value: PrimaryLost(one_of(*PrimaryLost)(value)),
        "`serve`: a replica stays up where nothing fails but the link to its source; else `down`",
        str,
    ),
    "require_replication": _of_role(
        "require_replication", boolean, "a read-only server without a replication source is down"
    ),
    "replication": _of_role(
        "replication_required",
        _required,
        "of a Galera node that is a replica too: `required`: its replication must be well; else `reported`",
        _say_required,
    ),
    "exclude_writer": _of_role("exclude_writer", boolean, "leave the primary out"),
    "donor": _of_role("donor", boolean, "serve while donating a state transfer that does not block"),
    "desync": _of_role("desync", boolean, "serve while desynced (wsrep_desync, FTWRL, RSU, backup, IST)"),
    "max_queue": _of_role(
        "max_queue", whole(0, MAX_QUEUE), "receive queue at most; default: twice the upper limit of flow control"
    ),
    "min_size": _of_role("min_size", whole(0, 1000), "members that the Galera cluster must have at least"),
    "flow": _of_role(
        "flow",
        flow_control,
        "a node that pauses its cluster: `off`, a lower `weight`, or `stop`: down when it hardly lets it run",
        str,
    ),
    "min_disk_free": _of_role(
        "min_disk_free", amount, "free space that the datadir must have: `5%` or `10GiB`; default: any", spoken_amount
    ),
    "write_probe": _of_role("write_probe", boolean, "a node on which nothing is written must take a write of our own"),
    "membership": _of_role(
        "paranoid",
        _paranoid,
        "`paranoid`: down in the moments in which the cluster agrees on its members",
        _say_paranoid,
    ),
    "max_restarts": _of_role("max_restarts", whole(0, 100), "starts of the server within 10 minutes; 0: any number"),
    "buffer_pool_load": _of_role("buffer_pool_load", boolean, "wait after a start until the buffer pool is loaded"),
    "ring": _of_role(
        "ring", connections, "replication connections of a ring, by name: having them does not make a replica", list
    ),
    "tags": _of_role("tags", tags, "the `tags` that a node must have; others are down", dict),
    "ignore": _of_role(
        "ignore", some_of(IGNORABLE, "gates that can be ignored"), "gates that are not asked, by name", sorted
    ),
    "drain": _of_role("drain", boolean, "take no new work: what would be up is `drain`, weight 0; a down stays down"),
    "dry_run": _of_role("dry_run", boolean, "judged, logged and shown, but nothing may go by it: its path answers 400"),
    "weights": Setting(as_it_is, None, "as the section `weights`, for this role alone"),
}
_EVERY = ("min_size", "tags", "ignore", "drain", "dry_run", "weights")
_WRITES = ("min_disk_free", "write_probe", "membership", "max_restarts", "ring")
_BOTH = ("flow", "buffer_pool_load", *_EVERY)
_ROLE_KEYS: dict[Base, tuple[str, ...]] = {
    Base.ANY: ("donor", "desync", *_EVERY),
    Base.READER: tuple(key for key in ROLE_SETTINGS if key not in ("enabled", *_WRITES)),
    Base.WRITER: (*_WRITES, *_BOTH),
    Base.CANDIDATE: (*_WRITES, *_BOTH),
    Base.SYNCED: _EVERY,
    Base.STALE_OK: ("enabled", "tags", "drain", "weights"),
}
# the built-in reader tells how old its data are: nobody who asks for it expects less than the whole age; and somebody
# goes by the built-in roles already
OWN_ONLY = frozenset({"subtract_delay", "dry_run"})
# names that are paths with another meaning, or will be
_PATHS = "health readiness primary master read-write read-only replica slave liveness drained state why ack"
_LATER = "history metrics ui drain maintenance ready switchover"
RESERVED_NAMES = frozenset((*_PATHS.split(" "), *_LATER.split(" ")))
ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def role_keys(base: Base, *, own: bool) -> tuple[str, ...]:
    """The settings that a role of this base takes: a writer never serves on a donor, whatever one would like.

    `own`: a role of the operator's, which may ask for less than the built-in one of the same base.
    """
    return tuple(key for key in _ROLE_KEYS[base] if own or key not in OWN_ONLY)
