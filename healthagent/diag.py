"""The TCP connections of a port with what they have received, by the kernel's sock_diag(7): no privilege needed.

/proc/PID/io, the script's files and the datadir are closed to an unprivileged agent; the kernel's socket table is not.
Numbers and layouts: linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/tcp.h (struct tcp_info only grows).
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

__all__ = ["Connection", "connections"]

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_INFO = 2
# ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING: no listeners, no TIME_WAIT (it counts nothing)
STATES = sum(1 << state for state in (1, 4, 5, 8, 9, 11))
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
REQUEST = struct.Struct("=BBBxI2s2s16s16s3I")  # struct inet_diag_req_v2
MESSAGE = struct.Struct("=4B2s2s16s16s3I5I")  # struct inet_diag_msg
ATTRIBUTE = struct.Struct("=HH")  # struct rtattr
BYTES_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info; Linux 4.1 and later
RECEIVE_BYTES = 65536
ANSWER_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connection of ours: the addresses as text, the kernel's inode that tells a reused pair of ports."""

    local: str
    remote: str
    remote_port: int
    inode: int
    received_bytes: int


def connections(port: int) -> tuple[Connection, ...] | None:
    """Those whose local port it is, in this process's network namespace; None: the kernel does not tell."""
    try:
        return tuple(found for family in (socket.AF_INET, socket.AF_INET6) for found in _dump(family, port))
    except (OSError, struct.error):
        return None


def _dump(family: int, port: int) -> Iterator[Connection]:
    wanted = REQUEST.pack(
        family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), STATES, struct.pack("!H", port), b"", b"", b"", 0, 0, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(ANSWER_SECONDS)
        flags = NLM_F_REQUEST | NLM_F_DUMP
        kernel.send(HEADER.pack(HEADER.size + len(wanted), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + wanted)
        while True:
            for kind, payload in _messages(kernel.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", payload)[0], "sock_diag")
                yield _connection(family, payload)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        if length < HEADER.size:
            raise struct.error("a message shorter than its header")
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _connection(family: int, payload: bytes) -> Connection:
    _, _, _, _, _, remote_port, source, destination, *rest = MESSAGE.unpack_from(payload)
    return Connection(
        local=_address(family, source),
        remote=_address(family, destination),
        remote_port=int.from_bytes(remote_port, "big"),
        inode=rest[-1],
        received_bytes=_received(payload[MESSAGE.size :]),
    )


def _received(attributes: bytes) -> int:
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if length < ATTRIBUTE.size:
            break
        if kind == INET_DIAG_INFO and length >= ATTRIBUTE.size + BYTES_RECEIVED_AT + 8:
            return int(struct.unpack_from("=Q", attributes, ATTRIBUTE.size + BYTES_RECEIVED_AT)[0])
        attributes = attributes[(length + 3) & ~3 :]
    return 0


def _address(family: int, raw: bytes) -> str:
    address = ip_address(raw[:4] if family == socket.AF_INET else raw)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
