"""Servers that are no MariaDB, or one at its worst: what a real one cannot be made to do on command."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CAPABILITIES = 0x00088201 | 0x200 | 0x8000 | 0x2000  # protocol 41, secure connection, plugin auth, transactions


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number % 256]) + payload


def greeting() -> bytes:
    low, high = struct.pack("<I", CAPABILITIES)[:2], struct.pack("<I", CAPABILITIES)[2:]
    payload = b"\x0a5.5.5-10.11.19-MariaDB\0" + struct.pack("<I", 7) + b"abcdefgh\0" + low + b"\x21\x02\x00" + high
    return packet(0, payload + bytes([21]) + b"\0" * 10 + b"ijklmnopqrst\0" + b"mysql_native_password\0")


def error(number: int, code: int, text: str) -> bytes:
    return packet(number, b"\xff" + struct.pack("<H", code) + b"#HY000" + text.encode())


def error_before_login(code: int, text: str) -> bytes:
    """As MariaDB refuses before the greeting: without a SQL state."""
    return packet(0, b"\xff" + struct.pack("<H", code) + text.encode())


OK = packet(1, b"\x00\x00\x00\x02\x00\x00\x00")
OK_AFTER_LOGIN = packet(2, b"\x00\x00\x00\x02\x00\x00\x00")


def text(value: object) -> bytes:
    if value is None:
        return b"\xfb"
    raw = str(value).encode()
    return bytes([len(raw)]) + raw


def result(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    packets = [bytes([len(columns)])]
    packets += [
        b"\x03def" + b"\0" * 3 + text(name) + text(name) + b"\x0c\x21\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
        for name in columns
    ]
    end = b"\xfe\x00\x00\x02\x00"
    packets += [end, *(b"".join(map(text, row)) for row in rows), end]
    return b"".join(packet(number, payload) for number, payload in enumerate(packets, 1))


class FakeMariaDB:
    """Speaks enough of the protocol to be probed. `answers` may be replaced while it runs.

    `silent_on`: a statement that begins so gets no answer until `speak()`. `fail`: what begins so -> its packets.
    `frozen`: nothing gets an answer. `end_on`: what begins so gets half an answer and the end of the connection.
    `delay`: seconds before each answer.
    `slaves`: the rows of SHOW ALL SLAVES STATUS.
    `waiting`: what has got no answer yet.
    `greeted`, `quits`: connections greeted, and ended by COM_QUIT.
    """

    def __init__(self, rows: Mapping[str, object]) -> None:
        self.rows = dict(rows)
        self.slaves: list[Mapping[str, object]] = []
        self.silent_on = self.end_on = ""
        self.frozen = False
        self.delay = 0.0
        self.waiting = 0
        self.refuse: bytes | None = None
        self.fail: dict[str, bytes] = {}
        self.logins = self.greeted = self.quits = 0
        self.asked: list[str] = []
        self.open: set[asyncio.StreamWriter] = set()
        self._speaks = asyncio.Event()

    def be_silent_on(self, statement: str) -> None:
        self.silent_on = statement
        self._speaks.clear()

    def speak(self) -> None:
        self.silent_on = ""
        self._speaks.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            await self._session(reader, writer)
        finally:
            self.open.discard(writer)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._silence("greeting")
        self.greeted += 1
        if self.refuse is not None:
            writer.write(self.refuse)
            return
        writer.write(greeting())
        await self._read(reader)
        self.logins += 1
        writer.write(OK_AFTER_LOGIN)
        while True:
            command = await self._read(reader)
            statement = command[1:].decode("utf-8", "replace")
            await self._silence(statement)
            if not command or command[0] == 1:
                self.quits += 1
                return
            self.asked.append(statement)
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self._answer(statement)
            if self.end_on and statement.startswith(self.end_on):
                self.end_on = ""
                writer.write(answer[: len(answer) // 2])
                return
            writer.write(answer)
            await writer.drain()

    async def _silence(self, what: str) -> None:
        if self.frozen or (self.silent_on and what.startswith(self.silent_on)):
            self.waiting += 1
            await self._speaks.wait()
            self.waiting -= 1

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(4)
        return await reader.readexactly(int.from_bytes(head[:3], "little"))

    def _answer(self, statement: str) -> bytes:
        for begin, packets in self.fail.items():
            if statement.startswith(begin):
                return packets
        if statement.startswith("SHOW ALL SLAVES"):
            columns = list(self.slaves[0]) if self.slaves else ["Connection_name"]
            return result(columns, [[row[name] for name in columns] for row in self.slaves])
        if statement.startswith("SHOW"):
            wanted = {part.strip(" '") for part in statement.partition("(")[2].rstrip(")").split(",")}
            return result(["Variable_name", "Value"], [(k, v) for k, v in self.rows.items() if k in wanted])
        if statement.startswith("SELECT @@"):
            names = [part.partition(" AS ")[2] for part in statement.removeprefix("SELECT ").split(", ")]
            return result(names, [[self.rows.get(name) for name in names]])
        return OK


@asynccontextmanager
async def serving(script: Script, path: Path | None = None) -> AsyncIterator[int]:
    """`script` for every connection, on a port of 127.0.0.1 or on a Unix socket; yields the port (0 for a socket)."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await (
        asyncio.start_unix_server(run, path) if path is not None else asyncio.start_server(run, "127.0.0.1", 0)
    )
    try:
        yield 0 if path is not None else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
