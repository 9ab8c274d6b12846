"""YAML values -> ours, and back. A kind returns what a setting means, or raises ValueError with what would be right."""

import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from healthagent.parse import NO_UUID, UUID
from healthagent.policy import Amount, FlowControl
from healthagent.tables import TABLE_NAME

__all__ = [
    "Kind",
    "absolute",
    "address",
    "address_roles",
    "addresses",
    "addresses_overlap",
    "amount",
    "as_it_is",
    "boolean",
    "cluster_uuid",
    "connections",
    "drain_code",
    "duration",
    "duration_seconds",
    "either",
    "file_mode",
    "flow_control",
    "loopback",
    "one_of",
    "pace",
    "peers",
    "ratio",
    "secret",
    "shown",
    "some_connections",
    "some_of",
    "spoken",
    "spoken_address",
    "spoken_amount",
    "spoken_pace",
    "step",
    "table",
    "tags",
    "text",
    "whole",
]

Kind = Callable[[Any], Any]
SHOWN_CHARACTERS = 60
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20}
TAG_NAME, TAG_CHARACTERS = re.compile(r"[a-z][a-z0-9_]{0,31}"), 64
MAX_QUEUE = 10**9  # write sets: more than any server has


def shown(value: Any) -> str:
    """A value in an error message: one line, and never a long one."""
    said = repr(value)
    return said if len(said) <= SHOWN_CHARACTERS else f"{said[: SHOWN_CHARACTERS - 3]}..."


def as_it_is(value: Any) -> Any:
    return value


def duration_seconds(value: Any) -> float:
    """`500ms`, `5s`, `10m`, `1h` -> seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 500ms, 5s or 10m")
    return round(float(match[1]) * UNITS[match[2]], 6)


def spoken(seconds: float) -> str:
    """A duration as one would write it; `duration_seconds` takes it back, to the millisecond."""
    return f"{round(seconds, 3):.12g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def duration(low: float, high: float) -> Kind:
    def kind(value: Any) -> float:
        seconds = duration_seconds(value)
        if not low <= seconds <= high:
            raise ValueError(f"must be from {low:g}s to {high:g}s")
        return seconds

    return kind


def pace(low: float, high: float) -> Kind:
    """A duration, or None for `off` and `0s`."""
    seconds = duration(low, high)

    def kind(value: Any) -> Any:
        # YAML 1.1 reads a bare `off` as false
        if value is False or value == "off" or (isinstance(value, str) and re.fullmatch("0+(ms|s|m|h)", value)):
            return None
        try:
            return seconds(value)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from None

    return kind


def spoken_pace(seconds: float | None) -> str:
    return "off" if seconds is None else spoken(seconds)


def table(value: Any) -> str:
    if not isinstance(value, str) or not TABLE_NAME.fullmatch(value):
        raise ValueError("must be database.table, each of A-Z, a-z, 0-9, _, $ and -")
    return value


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


def step(value: Any) -> int:
    """The step of the weights: 100, and so a node at its best, must be one."""
    found: int = whole(1, 50)(value)
    if 100 % found:
        raise ValueError("must divide 100: 1, 2, 4, 5, 10, 20, 25 or 50")
    return found


def ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1:
        raise ValueError("must be a number from 0.01 to 1 (1: no effect)")
    return float(value)


def amount(value: Any) -> Amount:
    """`5%`, `10GiB`, `500MiB` -> free space, as a ratio of the filesystem or in bytes."""
    said = value if isinstance(value, str) else ""
    percent = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)%", said)
    size = re.fullmatch(r"([0-9]{1,6})(MiB|GiB|TiB)", said)
    if percent is not None and float(percent[1]) > 0:
        return Amount(ratio=round(float(percent[1]) / 100, 6))
    if size is not None and int(size[1]) > 0:
        return Amount(bytes=int(size[1]) * BYTES[size[2]])
    raise ValueError("must be a part of the filesystem, such as 5%, or a size, such as 500MiB or 10GiB")


def spoken_amount(free: Amount | None) -> str | None:
    """The way back of `amount`; None stays None."""
    if free is None:
        return None
    if free.ratio:
        return f"{free.ratio * 100:g}%"
    unit, size = next((unit, size) for unit, size in BYTES.items() if free.bytes % size == 0)
    return f"{free.bytes // size}{unit}"


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def drain_code(value: Any) -> int:
    if not isinstance(value, int) or value not in (503, 404):
        raise ValueError("must be 503 or 404")
    return value


def one_of(*words: str) -> Kind:
    def kind(value: Any) -> str:
        # YAML 1.1 reads a bare `off` as false; say what was meant rather than what was read
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return kind


def either(false: str, true: str) -> tuple[Kind, Callable[[bool], str]]:
    """A switch that has two words instead of true and false; and its way back."""
    word = one_of(false, true)
    return (lambda value: bool(word(value) == true)), (lambda flag: true if flag else false)


def flow_control(value: Any) -> FlowControl:
    # YAML 1.1 reads a bare `off` as false, and here nothing else can be meant by it
    return FlowControl(one_of(*FlowControl)("off" if value is False else value))


def some_of(words: Collection[str], what: str) -> Kind:
    """A list of words out of a closed set, each once."""

    def kind(value: Any) -> frozenset[str]:
        unknown = [word for word in value if word not in words] if isinstance(value, list) else [value]
        if unknown:
            raise ValueError(f"must be a list of {what}: {', '.join(words)}")
        return frozenset(value)

    return kind


def connections(value: Any) -> tuple[str, ...]:
    """Names of replication connections; "" is the one without a name."""
    if not isinstance(value, list) or not all(isinstance(name, str) and "\0" not in name for name in value):
        raise ValueError('must be a list of connection names, such as ["", "reporting"]')
    return tuple(dict.fromkeys(value))


def some_connections(value: Any) -> tuple[str, ...]:
    found = connections(value)
    if not found:
        raise ValueError("must name at least one connection; null: all of them")
    return found


def tags(value: Any) -> tuple[tuple[str, str], ...]:
    """Name -> text, as pairs in the order of the names."""
    if not isinstance(value, dict):
        raise ValueError("must be a mapping of names to texts, such as {site: berlin}")
    for name, said in value.items():
        if not isinstance(name, str) or not TAG_NAME.fullmatch(name):
            raise ValueError(f"{shown(name)} is no name for a tag: a-z, 0-9 and _ only, from a letter on, at most 32")
        if not isinstance(said, str) or not said or not said.isprintable() or len(said) > TAG_CHARACTERS:
            raise ValueError(
                f"{name} must be a printable text of 1 to {TAG_CHARACTERS} characters (quote what looks like a number)"
            )
    return tuple(sorted(value.items()))


def cluster_uuid(value: Any) -> str:
    """wsrep_cluster_state_uuid, in lower case as the server shows it."""
    found = value.lower() if isinstance(value, str) else ""
    if not re.fullmatch(UUID, found) or found == NO_UUID:
        raise ValueError("must be the UUID that SHOW STATUS LIKE 'wsrep_cluster_state_uuid' shows on a synced member")
    return found


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


def address_roles(value: Any) -> dict[str, Any]:
    """Address -> role, both as written: the roles there are, the configuration knows."""
    if not isinstance(value, dict):
        raise ValueError('must be a mapping of addresses to roles, such as {"0.0.0.0:9201": writer}; {}: none')
    return value


def peers(value: Any) -> tuple[str, ...]:
    """The agents of the other nodes, by URL. Names are not looked up: that could hang, and change under our feet."""
    if not isinstance(value, list):
        raise ValueError('must be a list of URLs, such as ["http://10.0.0.12:9200"]')
    for url in value:
        place = url.removeprefix("http://") if isinstance(url, str) else ""
        try:
            if place == url or ip_address(address(place)[0]).is_unspecified:
                raise ValueError
        except ValueError:
            raise ValueError(f"{shown(url)} must be http://, an IP address and a port: http://10.0.0.12:9200") from None
        if value.count(url) > 1:
            raise ValueError(f"{url} is there twice")
    return tuple(value)


def spoken_address(host: str, port: int) -> str:
    """`10.0.0.11:3306`, `[fd00::11]:3306`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


def loopback(value: Any) -> tuple[str, int]:
    """An address that nobody reaches but the programs of this machine."""
    host, port = address(value)
    if not ip_address(host).is_loopback:
        raise ValueError('must be a loopback address and port, such as "127.0.0.1:9203"')
    return host, port
