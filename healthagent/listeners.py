"""The sockets that balancers and people connect to: opened together or not at all, changed without touching others."""

import asyncio
import contextlib
import grp
import logging
import os
import resource
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from healthagent.agentcheck import AgentCheck
from healthagent.config import AgentPort, Config, Control
from healthagent.errors import StartError
from healthagent.handler import Server
from healthagent.kinds import addresses_overlap, spoken_address
from healthagent.reception import HttpDesk, Reception, wait_for_requests
from healthagent.wire import FILE_LIMIT, client_limit

__all__ = ["Listeners", "raise_file_limit", "warn_of_few_files"]

log = logging.getLogger("healthagent.listeners")

DEFAULT_GROUP = "healthagent"
# of net.core.somaxconn, by default; a check whose connection finds no place there comes a second too late
BACKLOG = 4096
ACCEPT_BATCH = 32
# Bytes, in each direction. The kernel would keep up to 4 MiB for who asks on and on and never reads (tcp_wmem), and up
# to 6 MiB for who sends on and on (tcp_rmem).
SOCKET_BUFFER = 65536
SHUTDOWN_SECONDS = 1.0
ENOUGH_FILES = 8192  # for 2,000 clients of each kind

Place = tuple[str, int] | AgentPort | Path


@dataclass(frozen=True, slots=True)
class Listener:
    """One that is open, and how to end it; `inode` of the file of a Unix socket."""

    close: Callable[[], Awaitable[None]]
    inode: int | None = None

    def in_place(self, place: Place) -> bool:
        """Whether the file of a Unix socket is still the one that was made for it."""
        return not isinstance(place, Path) or _inode(place) == self.inode


class Listeners:
    """`make_server` makes what is behind each that speaks HTTP; it is told whether that is the control socket, and how
    the listener is called.
    """

    def __init__(
        self,
        make_server: Callable[[bool, str], Server],
        agent_check: AgentCheck,
    ) -> None:
        self._make_server = make_server
        self._agent_check = agent_check
        self._open: dict[Place, Listener] = {}

    async def adopt(self, config: Config) -> None:
        """Opens what is new and closes what is gone. StartError: something cannot be opened, all is as before."""
        wanted: list[Place] = [*config.listen, *config.agent_ports, config.control.socket]
        missing = [place for place in wanted if place not in self._open or not self._open[place].in_place(place)]
        gone = [place for place in self._open if place not in wanted or place in missing]
        # 0.0.0.0:9200 has to go before 127.0.0.1:9200 can come
        in_the_way = [place for place in gone if any(_overlap(place, other) for other in missing)]
        before = {place: self._open.pop(place) for place in in_the_way}
        await asyncio.gather(*(_close(place, listener) for place, listener in before.items()))
        opened: dict[Place, Listener] = {}
        try:
            for place in missing:
                listener = _control_socket(config.control) if isinstance(place, Path) else _tcp_socket(place)
                if listener is not None:
                    opened[place] = self._start(listener, place)
            if config.control.socket in self._open | opened:
                _give_access(config.control)
        except BaseException:
            await asyncio.gather(*(_close(place, listener) for place, listener in opened.items()))
            for place in before:
                if not isinstance(place, Path):
                    self._open[place] = self._start(_tcp_socket(place), place)
            raise
        closing = {place: self._open.pop(place) for place in gone if place in self._open}
        self._open |= opened
        await asyncio.gather(*(_close(place, listener) for place, listener in closing.items()))

    async def close(self) -> None:
        """Closes all of them; answers under way have SHUTDOWN_SECONDS."""
        await asyncio.gather(*(_close(place, listener) for place, listener in self._open.items()))

    def _start(self, listener: socket.socket, place: Place) -> Listener:
        try:
            if isinstance(place, AgentPort):
                return _receive(listener, partial(self._agent_check.welcome, place.role, _spoken(place)))
            return self._start_http(listener, place)
        except OSError as error:
            listener.close()
            raise StartError(f"cannot listen on {_spoken(place)}: {error.strerror}") from error

    def _start_http(self, listener: socket.socket, place: tuple[str, int] | Path) -> Listener:
        server = self._make_server(isinstance(place, Path), _spoken(place))
        desk = HttpDesk(server)
        reception = _receive(listener, desk.welcome)

        async def close() -> None:
            await reception.close()
            await desk.close()
            await server.close(SHUTDOWN_SECONDS)

        return Listener(close, _inode(place) if isinstance(place, Path) else None)


def _receive(listener: socket.socket, welcome: Callable[[socket.socket, str], None]) -> Listener:
    reception = Reception(listener, welcome, batch=_accept_batch())
    listener.listen(BACKLOG)
    reception.open()

    async def close() -> None:
        reception.close()

    return Listener(close)


def _accept_batch() -> int:
    """So many are accepted before a single one of them can be counted or ended: few where files are few."""
    return max(1, min(ACCEPT_BATCH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 64))


def raise_file_limit() -> None:
    """The soft limit (1024) is below what idle connections of many balancers may need; the hard one is ours to use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILE_LIMIT if hard == resource.RLIM_INFINITY else min(hard, FILE_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warn_of_few_files() -> None:
    """One line in the log where the limit stays so low that a crowd could push out who has just come."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < ENOUGH_FILES:
        room = client_limit()
        log.warning(
            "only %d files may be open: room for %d clients over HTTP and %d over agent-check, then the oldest goes; "
            "a higher hard limit (systemd: LimitNOFILE) makes room for more",
            files,
            room,
            room // 2,
        )


def _tcp_socket(place: tuple[str, int] | AgentPort) -> socket.socket:
    """The host is an address, not a name (the configuration sees to that): nothing here asks a name server."""
    host, port = _address(place)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
        if not isinstance(place, AgentPort):
            wait_for_requests(listener)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        setting = "agent_check.listen" if isinstance(place, AgentPort) else "http.listen"
        raise StartError(f"{setting}: cannot listen on {_spoken(place)}: {error.strerror}") from error
    return listener


def _address(place: tuple[str, int] | AgentPort) -> tuple[str, int]:
    return (place.host, place.port) if isinstance(place, AgentPort) else place


def _spoken(place: Place) -> str:
    return str(place) if isinstance(place, Path) else spoken_address(*_address(place))


def _control_socket(control: Control) -> socket.socket | None:
    """The control socket, made with its mode from the start; None where the default one cannot be made."""
    path = control.socket
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_way(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777 & ~control.mode)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        if control.required or not isinstance(error, PermissionError):
            raise StartError(f"control.socket: {path}: {error.strerror or error}") from error
        log.warning("no control socket: %s: %s", path, error.strerror)
        return None
    return listener


def _make_way(path: Path) -> None:
    """Removes the socket of an agent that is gone; never one that is answered, nor a file that is no socket."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"control.socket: {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise StartError(f"control.socket: another agent already listens on {path}")


def _give_access(control: Control) -> None:
    """Mode and group of the control socket, of one that was there before a reload too."""
    try:
        group = grp.getgrnam(control.group or DEFAULT_GROUP).gr_gid
    except KeyError:
        if control.group is not None:
            raise StartError(f"control.group: there is no group {control.group!r}") from None
        group = -1
    try:
        _chown(control, group)
        control.socket.chmod(control.mode)
    except OSError as error:
        raise StartError(f"control.socket: {control.socket}: {error.strerror}") from error


def _chown(control: Control, group: int) -> None:
    try:
        os.chown(control.socket, -1, group)
    except PermissionError as error:
        if control.group is not None:
            raise
        log.warning("control.socket: %s stays in our own group: %s", control.socket, error.strerror)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _overlap(place: Place, other: Place) -> bool:
    if isinstance(place, Path) or isinstance(other, Path):
        return False
    (host, port), (another, same) = _address(place), _address(other)
    return port == same and addresses_overlap(host, another)


async def _close(place: Place, listener: Listener) -> None:
    if isinstance(place, Path) and listener.in_place(place):  # a successor may have made its own
        with contextlib.suppress(OSError):
            place.unlink()
    await listener.close()
