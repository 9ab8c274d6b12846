"""The PROXY preface of a connection: how long it is, and nothing else of it.

HAProxy (`check-send-proxy`), AWS and others may open a connection with it, also that of a health check. It names the
client that a proxy speaks for. The protocol forbids to guess whether one is there, because who believes it can be told
anything; here it is guessed, because nobody believes it: what it says is not kept, not shown and decides nothing.

HAProxy's proxy-protocol.txt, sections 2.1 (text) and 2.2 (binary).
"""

import re
from ipaddress import IPv4Address, IPv6Address

__all__ = ["PrefaceError", "length"]

TEXT = b"PROXY "
TEXT_LIMIT = 107  # bytes, with the line's end: UNKNOWN with two whole IPv6 addresses
TEXT_LINE = re.compile(
    r"PROXY (?:UNKNOWN(?: .*)?|(TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ([0-9]{1,5}) ([0-9]{1,5}))\r\n"
)
ADDRESSES = {"TCP4": IPv4Address, "TCP6": IPv6Address}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HEAD = 16  # bytes: signature, version and command, family and transport, length of what follows
# Far above what is sent (addresses, and some TLVs of a few dozen bytes each); nginx refuses more than this, too.
BINARY_LIMIT = 4096
LOCAL, PROXY = 0x20, 0x21
# by family (high half) and transport: bytes of both addresses and ports; TLVs may follow
FAMILIES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}


class PrefaceError(ValueError):
    """A preface that is none; says what is wrong with it."""


def length(data: bytes) -> int | None:
    """How many bytes of `data`, the first ones of a connection, are its preface; 0: there is none.

    None: more is needed to tell. PrefaceError: it began as one and is malformed or too long.
    """
    if data.startswith(TEXT):
        return _text(data)
    if data.startswith(SIGNATURE):
        return _binary(data)
    return None if TEXT.startswith(data) or SIGNATURE.startswith(data) else 0


def _text(data: bytes) -> int | None:
    end = data.find(b"\n", 0, TEXT_LIMIT) + 1
    if not end and len(data) < TEXT_LIMIT:
        return None
    line = TEXT_LINE.fullmatch(data[:end].decode("latin-1"))
    if line is None or not _plausible(*line.groups()):
        raise PrefaceError(f"not a line of the PROXY protocol of at most {TEXT_LIMIT} bytes")
    return end


def _plausible(family: str | None, source: str, destination: str, *ports: str) -> bool:
    """Addresses of that family, and ports; None for UNKNOWN, whose rest is not looked at."""
    if family is None:
        return True
    try:
        ADDRESSES[family](source)
        ADDRESSES[family](destination)
    except ValueError:
        return False
    return all(port == str(int(port)) and int(port) < 65536 for port in ports)


def _binary(data: bytes) -> int | None:
    if len(data) < HEAD:
        return None
    command, family, rest = data[12], data[13], int.from_bytes(data[14:HEAD], "big")
    if command not in (LOCAL, PROXY):
        raise PrefaceError(f"PROXY protocol of version {command >> 4}, command {command & 15}: not one of version 2")
    if HEAD + rest > BINARY_LIMIT:
        raise PrefaceError(f"PROXY protocol: {HEAD + rest} bytes, more than {BINARY_LIMIT}")
    # of a LOCAL one the family is ignored
    if command == PROXY and (family not in FAMILIES or rest < FAMILIES[family]):
        raise PrefaceError(f"PROXY protocol: no addresses of family {family:#04x} in {rest} bytes")
    return HEAD + rest if len(data) >= HEAD + rest else None
