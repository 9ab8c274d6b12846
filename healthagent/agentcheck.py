"""HAProxy's agent-check: one line of text for each connection, out of memory.

HAProxy connects, sends what `agent-send` says, and takes one line; what does not end in a line feed it ignores. A port
with a role answers at once, any other one waits for the role's name. Bytes that are still unread when a socket is
closed make the kernel send a reset (RFC 2525 2.17), which may overtake the answer: so our side ends with the line, and
the client has a while to close too.

HAProxy goes on with what it heard last when an agent is silent, so silence never stands for "no": whatever is not
understood here is answered with `down #unknown`.
"""

import asyncio
import socket
from collections.abc import Iterable
from functools import partial
from typing import cast

from healthagent.board import Board
from healthagent.model import Status, Verdict
from healthagent.policy import Role
from healthagent.reasons import Reason
from healthagent.reception import LAST, Farewell, Transports
from healthagent.render import agent_line
from healthagent.tally import Cell, Tally
from healthagent.wire import client_limit

__all__ = ["AgentCheck", "Exchange"]

LINE_LIMIT = 64  # bytes of a role's name, generously
# Below the patience of HAProxy (agent-inter, by default 2 s): else the answer to silence would come too late.
LINE_SECONDS = 0.4
LINGER_SECONDS = 1.0  # for the client to read its line and close
DROP_LIMIT = 16384
UNKNOWN = f"down #{Reason.UNKNOWN.word}\n".encode()
NONE = b""  # the line of who has said none, or none that could be a role


class AgentCheck:
    """What all agent-check ports say: the same verdicts that HTTP tells, rendered once for each."""

    def __init__(self, board: Board, roles: Iterable[Role], tally: Tally | None = None, *, admin_words: bool) -> None:
        """`tally`: where checks are counted, by their port."""
        self._board, self._cell = board, (tally or Tally()).cell
        self._clients: dict[Exchange, None] = {}
        self._transports = Transports()
        self._farewell = Farewell(seconds=LINGER_SECONDS, room=_room())
        self.adopt(roles, admin_words=admin_words)

    def adopt(self, roles: Iterable[Role], *, admin_words: bool) -> None:
        """The roles that a client may name from now on, and the words that are used."""
        self._names = {role.name.encode(): role.name for role in roles if not role.dry_run}
        self._admin_words = admin_words
        self._lines: dict[tuple[str, str], tuple[Verdict | None, bytes, Cell]] = {}

    def welcome(self, role: str | None, port: str, client: socket.socket, address: str) -> None:
        """A client of a port with a role: the line, the end, and time to go. Without: it names the role.

        `port`: as what it is counted.
        """
        if role is None:
            self._transports.take(client, partial(self.exchange, port))
            return
        try:
            client.send(self.line(role, port), LAST)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # it has reset the connection already
            client.close()
            return
        self._farewell.take(client)

    def exchange(self, port: str = "") -> "Exchange":
        """A client of a port without a role."""
        return Exchange(self, port, self._clients)

    def line(self, role: str, port: str = "") -> bytes:
        """What is said of a role now. One that a reload has just brought is `starting` until the next sample."""
        verdict = self._board.current().verdicts.get(role)
        known = self._lines.get((port, role))
        if known is None or known[0] is not verdict:
            told = verdict or Verdict(role=role)
            said = f"{agent_line(told, admin_words=self._admin_words)}\n".encode("ascii")
            known = self._lines[port, role] = (verdict, said, self._cell(port, role, told.status.value))
        known[2][0] += 1
        return known[1]

    def asked(self, line: bytes, port: str = "") -> bytes:
        """The answer to a client that has sent `line`, without its line feed."""
        role = self._names.get(line.removesuffix(b"\r"))
        if role is not None:
            return self.line(role, port)
        self._cell(port, "", Status.DOWN.value)[0] += 1
        return UNKNOWN

    def close(self) -> None:
        """Cuts off whoever is still connected."""
        self._farewell.close()
        for client in tuple(self._clients):
            client.give_up()


class Exchange(asyncio.Protocol):
    """One client that names the role: its line, ours, and the end, soon."""

    __slots__ = ("_answered", "_check", "_clients", "_deadline", "_dropped_bytes", "_heard", "_port", "_transport")

    def __init__(self, check: AgentCheck, port: str, clients: "dict[Exchange, None]") -> None:
        """`clients`: those of all agent-check ports, the oldest first."""
        self._check, self._port, self._clients = check, port, clients
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._heard = b""
        self._answered = False
        self._dropped_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none of that class
        self._clients[self] = None
        if len(self._clients) > _room():
            next(iter(self._clients)).give_up()
        self._deadline = asyncio.get_running_loop().call_later(LINE_SECONDS, self._answer, NONE)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > DROP_LIMIT:
                self.give_up()
            return
        self._heard += data
        line, ended, _ = self._heard.partition(b"\n")
        if len(line) > LINE_LIMIT:
            self._answer(NONE)
        elif ended:
            self._answer(line)

    def eof_received(self) -> None:
        """Its side is closed: what it has sent is all that comes. The transport sends what we say, and closes."""
        if not self._answered:
            self._answer(self._heard)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
        self._transport = self._deadline = None

    def give_up(self) -> None:
        """Ends the connection, read or not."""
        self._clients.pop(self, None)
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, line: bytes) -> None:
        """What the client's line asks for, and the end."""
        transport = self._transport
        if transport is None:
            return
        self._answered, self._heard = True, b""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.give_up)
        transport.write(self._check.asked(line, self._port))
        try:
            transport.write_eof()
        except OSError:  # it has reset the connection already
            self.give_up()


def _room() -> int:
    """Half as many clients as HTTP has room for: one half of them at ports with a role, one at those without."""
    return client_limit() // 4
