"""A crowd of clients, as a process of its own so that its work does not slow down who measures.

    python -m tests.component.crowd HTTP_PORT ROLE_PORT NAMED_PORT IDLE SLOW

HTTP and agent-check (a port with a role, and one where the client names it) each hold IDLE clients that say nothing,
and SLOW ones in all send or read a byte at a time. Whoever is cut off comes again. Says `open` when all of them have
been connected, and after a line on stdin nobody comes again, nor leaves: their end is the server's to make.
"""

import asyncio
import itertools
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

BYTE_SECONDS = 0.1
AGENT_SHARE = 0.55  # of each of its ports: more than a half, since some are always on their way back
LINGERS_SECONDS = 1.05  # agent-check has said its line: as long as it lets us stay, and a little longer
NARROW = 4096
MANY_QUESTIONS = b"GET /state HTTP/1.1\r\n\r\n" * 60  # more than the buffers take
LONG_QUESTION = b"GET /writer HTTP/1.1\r\nX: " + b"x" * 1000

Behaviour = Callable[[socket.socket], Awaitable[None]]


async def receive(client: socket.socket, size: int = NARROW) -> bytes:
    return await asyncio.get_running_loop().sock_recv(client, size)


async def send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def idle_http(client: socket.socket) -> None:
    while await receive(client):
        pass


async def idle_agent(client: socket.socket) -> None:
    await idle_http(client)
    await asyncio.sleep(LINGERS_SECONDS)


async def slow_question(client: socket.socket) -> None:
    for byte in LONG_QUESTION:
        await send(client, bytes([byte]))
        await asyncio.sleep(BYTE_SECONDS)


async def slow_reader(client: socket.socket) -> None:
    asking = asyncio.ensure_future(send(client, MANY_QUESTIONS))
    try:
        await slow_line(client)
    finally:
        asking.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await asking


async def slow_name(client: socket.socket) -> None:
    for byte in b"reader\n":
        await send(client, bytes([byte]))
        await asyncio.sleep(BYTE_SECONDS)
    await idle_agent(client)


async def slow_line(client: socket.socket) -> None:
    while await receive(client, 1):  # noqa: ASYNC110 - it is what this client is for
        await asyncio.sleep(BYTE_SECONDS)


class Crowd:
    """`missing`: who has not been connected yet."""

    def __init__(self) -> None:
        self.missing = 0
        self.coming = True
        self.all_open = asyncio.Event()
        self._stay: list[socket.socket] = []

    async def client(self, port: int, behaviour: Behaviour) -> None:
        came = False
        while self.coming:
            client = socket.socket()
            client.setblocking(False)
            if behaviour in (slow_reader, slow_line):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
                if not came:
                    came = True
                    self.missing -= 1
                    if not self.missing:
                        self.all_open.set()
                await behaviour(client)
            if self.coming:
                client.close()
            else:
                self._stay.append(client)


async def main(http: int, fixed: int, named: int, idle: int, slow: int) -> None:
    crowd = Crowd()
    at_each_port, some = int(AGENT_SHARE * idle), slow // 4
    kinds: list[tuple[int, Behaviour, int]] = [
        (http, idle_http, idle),
        (fixed, idle_agent, at_each_port),
        (named, idle_agent, at_each_port),
        *((http, slow_question, some), (http, slow_reader, some), (fixed, slow_line, some), (named, slow_name, some)),
    ]
    clients = [
        crowd.client(port, behaviour)
        for port, behaviour in itertools.chain.from_iterable([(port, kind)] * number for port, kind, number in kinds)
    ]
    crowd.missing = len(clients)
    loop = asyncio.get_running_loop()

    def nobody_comes_again() -> None:
        crowd.coming = False
        loop.remove_reader(sys.stdin)

    loop.add_reader(sys.stdin, nobody_comes_again)
    running = [asyncio.ensure_future(client) for client in clients]
    await crowd.all_open.wait()
    print("open", flush=True)
    await asyncio.gather(*running)
    await asyncio.Event().wait()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(*map(int, sys.argv[1:])))
