"""The settings as data: every key with its kind, default and meaning. docs/configuration.md is held against it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from healthagent.model import Base

__all__ = [
    "ROLE_SETTINGS",
    "SECTIONS",
    "TOP_LEVEL",
    "Setting",
    "addresses_overlap",
    "duration_seconds",
    "role_keys",
    "shown",
]

Kind = Callable[[Any], Any]
SHOWN_CHARACTERS = 60
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Setting:
    """`kind` takes the YAML value and returns ours, or raises ValueError with what would be right.

    The value of a `secret` one is never shown: whoever mixes up password and password_file has a password there.
    """

    kind: Kind
    default: Any
    meaning: str
    secret: bool = False


def shown(value: Any) -> str:
    """A value in an error message: one line, and never a long one."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def duration_seconds(value: Any) -> float:
    """`500ms`, `5s`, `10m`, `1h` -> seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 500ms, 5s or 10m")
    return round(float(match[1]) * UNITS[match[2]], 6)


def duration(low: float, high: float) -> Kind:
    def kind(value: Any) -> float:
        seconds = duration_seconds(value)
        if not low <= seconds <= high:
            raise ValueError(f"must be from {low:g}s to {high:g}s")
        return seconds

    return kind


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be a text that is not empty (quote it if it looks like a number)")
    return value


def secret(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text (quote it if it looks like a number)")
    return value


def absolute(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("must be an absolute path, such as /run/mysqld/mysqld.sock")
    return value


def whole(low: int, high: int) -> Kind:
    def kind(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return kind


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def one_of(*words: str) -> Kind:
    def kind(value: Any) -> str:
        # YAML 1.1 reads a bare `off` as false; say what was meant rather than what was read
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return kind


def file_mode(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError('must be an octal mode in quotes, such as "0660"')
    return value


def addresses(value: Any) -> list[tuple[str, int]]:
    if not isinstance(value, list) or not value:
        raise ValueError('must be a list of addresses, such as ["0.0.0.0:9200"]')
    found = [address(entry) for entry in value]
    for index, (one, port) in enumerate(found):
        for other in (host for host, same in found[:index] if same == port):
            if addresses_overlap(one, other):
                raise ValueError(f"{other} and {one} overlap on port {port}; keep one of them")
    return found


def addresses_overlap(one: str, other: str) -> bool:
    """Whether two IP addresses cannot both be listened on at the same port."""
    a, b = ip_address(one), ip_address(other)
    return a.version == b.version and (a == b or a.is_unspecified or b.is_unspecified)


def address(value: Any) -> tuple[str, int]:
    """`10.0.0.11:9200`, `[::1]:9200`, `:9200` (every IPv4 address) -> IP address, port. Names are not looked up."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]*)):([0-9]{1,5})", value) if isinstance(value, str) else None
    try:
        if match is None or not 0 < int(match[3]) < 65536:
            raise ValueError
        host = IPv6Address(match[1]) if match[1] else IPv4Address(match[2] or "0.0.0.0")
    except ValueError:
        says = 'is not an IP address and port; write "0.0.0.0:9200" or "[::]:9200"'
        raise ValueError(f"{shown(value)} {says}") from None
    return str(host), int(match[3])


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
    },
    "probe": {
        "interval": Setting(duration(0.05, 60), 0.5, "time from probe to probe"),
        "timeout": Setting(duration(0.05, 60), 0.8, "deadline of one probe: connect, login and statements together"),
        "max_age": Setting(duration(0.1, 600), 3.0, "facts older than it never serve; at least interval + 2 x timeout"),
    },
    "http": {
        "listen": Setting(addresses, [("0.0.0.0", 9200)], "addresses of the HTTP interface"),
    },
    "control": {
        "socket": Setting(absolute, "/run/healthagent/control.sock", "Unix socket with the same HTTP interface"),
        "mode": Setting(file_mode, "0660", "mode of that socket"),
        "group": Setting(text, None, "group of that socket; default: `healthagent` where that group exists"),
    },
    "log": {
        "level": Setting(one_of("debug", "info", "warning", "error"), "info", "what is logged"),
        "format": Setting(one_of("auto", "text", "json"), "auto", "auto: text, without the time under journald"),
    },
}
TOP_LEVEL: dict[str, Setting] = {
    "state_dir": Setting(absolute, "/var/lib/healthagent", "remembers that this was once a Galera node"),
}
ROLE_SETTINGS: dict[str, Setting] = {
    "max_lag": Setting(duration(0.1, 86400), 10.0, "a replica further behind is down"),
    "donor": Setting(boolean, False, "serve while donating a state transfer that does not block"),
    "desync": Setting(boolean, False, "serve while desynced (wsrep_desync, FTWRL, RSU, backup, IST)"),
    "require_replication": Setting(boolean, True, "a read-only server without a replication source is down"),
    "exclude_writer": Setting(boolean, False, "leave the primary out"),
}
_ROLE_KEYS: dict[Base, tuple[str, ...]] = {
    Base.ANY: ("donor", "desync"),
    Base.READER: tuple(ROLE_SETTINGS),
    Base.WRITER: (),
    Base.CANDIDATE: (),
    Base.SYNCED: (),
}
# names that are paths with another meaning, or will be
_PATHS = "health readiness primary master read-write read-only replica slave stale-ok liveness drained state why"
_LATER = "history metrics ui drain maintenance ready switchover ack"
RESERVED_NAMES = frozenset((*_PATHS.split(" "), *_LATER.split(" ")))
ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def role_keys(base: Base) -> tuple[str, ...]:
    """The settings that a role of this base takes: a writer never serves on a donor, whatever one would like."""
    return _ROLE_KEYS[base]
