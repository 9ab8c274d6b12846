"""What the log tells: a closed list of kinds, each with an id that never changes, and the event that every form shows.

The ids are journald's MESSAGE_ID (systemd.journal-fields(7)); systemd/healthagent.catalog has a text for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

__all__ = ["KIND_TEXT", "MEANWHILE", "Event", "Kind", "KindText", "Level", "Value", "spoken"]

Value = str | int | float | bool | tuple[str, ...] | None


class Level(IntEnum):
    """The numbers are those of Python's logging."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


class Kind(StrEnum):
    STARTED = "started"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload_failed"
    START_FAILED = "start_failed"
    STOPPED = "stopped"
    STATE_CHANGE = "state_change"
    ROLE_CHANGE = "role_change"
    ACKNOWLEDGED = "acknowledged"
    CONFIG_WARNING = "config_warning"
    LISTENER = "listener"
    TRACK_FILE = "track_file"
    FILE = "file"
    STATE_DIR = "state_dir"
    FAULT = "fault"
    LINES_LOST = "lines_lost"
    OTHER = "other"


class KindText(NamedTuple):
    """`message_id`: 128 bits in hexadecimal digits; `fields`: those that may stand beside the sentence."""

    message_id: str
    levels: str
    means: str
    fields: tuple[str, ...] = ()


# of whatever has happened more often than it is told: how often since, and in how many seconds
MEANWHILE = ("repeated", "within_seconds")
_ABOUT_CONFIG = ("version", "config", "server", "listen")

KIND_TEXT: dict[Kind, KindText] = {
    Kind.STARTED: KindText(
        "9ad3f42225b84cc786f79fa44f1acff3", "info", "the daemon is up: the listeners are open", _ABOUT_CONFIG
    ),
    Kind.RELOADED: KindText(
        "ab943ab91c3a4037846f8e1edc6cf827", "info", "the configuration was read anew and is in effect", _ABOUT_CONFIG
    ),
    Kind.RELOAD_FAILED: KindText(
        "a50003be0914438180f1f2fc4e99e43e",
        "error",
        "the new configuration is wrong: nothing of it is in effect, all goes on as before",
        ("config", "errors"),
    ),
    Kind.START_FAILED: KindText(
        "1d5617ebf55b45c2b70904af21239ee2",
        "error",
        "the daemon ends: its configuration is wrong, or an address or socket in it is not to be had",
        ("errors",),
    ),
    Kind.STOPPED: KindText(
        "bbb337a5c5d84eee9d0a7ee570a4fc26", "info", "the daemon was asked to stop", ("signal", "uptime_seconds")
    ),
    Kind.STATE_CHANGE: KindText(
        "7c043bc558a84db68461f86c79c86d04",
        "info where the server is well (`synced`, `primary`, `replica`, `standalone`), else warning",
        "the server has another state, with what it was seen by",
        (
            *(
                "state",
                "old",
                "new",
                "failure",
                "code",
                "error",
                "local_state",
                "comment",
                "wsrep_on",
                "cluster_status",
            ),
            *("cluster_size", "connected", "ready", "desync", "reject_queries", "transfer", "read_only", "log_bin"),
            "replication",
        ),
    ),
    Kind.ROLE_CHANGE: KindText(
        "f5a02ce5c89c46aab36798e24fa71eb5",
        "warning for a `down` (not of a role that is not served: `dry_run`), else info",
        "a role has another verdict, with what every gate that made it so has found (`gate_lag`) and its limit "
        "(`gate_lag_limit`)",
        ("role", "old", "new", "state", "weight", "reasons", "gates", "dry_run"),
    ),
    Kind.ACKNOWLEDGED: KindText(
        "fbc940c1cbc24943b0ea46640b95eb4a", "warning", "somebody said `ack`: what was latched is over", ("reasons",)
    ),
    Kind.CONFIG_WARNING: KindText(
        "30404cd75ba84e18b70ed28ee6162e91", "warning", "the configuration is valid, and something in it is not well"
    ),
    Kind.LISTENER: KindText(
        "f0143141beec4a78bfdaf76645a42d44",
        "warning",
        "clients have to wait, find less room than they may need, or no control socket",
    ),
    Kind.TRACK_FILE: KindText(
        "ebbe3498261d44f6a3dcf96c79fb80dc",
        "error; info when it is well again",
        "a file for keepalived could not be written, or somebody else wrote there",
    ),
    Kind.FILE: KindText(
        "d284e5810e08414489c87579b6331212",
        "error; info when it is well again",
        "another file that the configuration asks for (`metrics.textfile`, `probe.record`) could not be written",
        ("file", "error"),
    ),
    Kind.STATE_DIR: KindText(
        "9cf809240fcf401a9dd73394e0cedeb6",
        "warning",
        "what must outlive the daemon can not be read or kept in `state_dir`",
    ),
    Kind.FAULT: KindText(
        "8f64eb7b892141ea89bcdd26ecf1945b",
        "error; critical where the daemon ends",
        "a fault of this program: please report it with this line",
        ("exception",),
    ),
    Kind.LINES_LOST: KindText(
        "4e632fd97f2448348f07db1d500b0d4c",
        "error",
        "nobody took the log for so long that the oldest lines were thrown away",
        ("lines",),
    ),
    Kind.OTHER: KindText(
        "06a5748888a54d5fb8f0b9bfb6ba095b",
        "any",
        "what has no kind of its own: mostly of a library that is used",
        ("logger", "exception"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`says`: one sentence for people, with all that matters; `fields`: the same for programs, None: not known."""

    kind: Kind
    says: str
    level: Level = Level.INFO
    fields: Mapping[str, Value] = field(default_factory=dict)


def spoken(value: Value) -> str:
    """A value as text: yes or no for a bool, a list with commas, 10 for 10.0."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return "unknown" if value is None else str(value)
