"""The composition root: builds everything, opens the listeners, handles signals; a dead task ends the process."""

import asyncio
import grp
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from healthagent import __version__, logs
from healthagent.config import Config, Control
from healthagent.errors import ConfigError, HealthagentError, StartError
from healthagent.monitor import Monitor
from healthagent.pin import Pin
from healthagent.web import Web

__all__ = ["Service"]

Place = tuple[str, int] | Path

log = logging.getLogger("healthagent")

DEFAULT_GROUP = "healthagent"
BACKLOG = 1024
SHUTDOWN_SECONDS = 1.0


class Service:
    """`run()` returns when asked to stop (SIGTERM, SIGINT) and raises StartError when it cannot start."""

    def __init__(self, settings: Config, load: Callable[[], Config]) -> None:
        self._load = load
        self._config = settings
        self._reload_errors: list[str] = []
        self._loaded_at = time.time()
        self._listeners: dict[Place, web.BaseSite] = {}

    async def run(self) -> None:
        monitor = Monitor(self._config, Pin(self._config.state_dir))
        application = Web(monitor.board, self._config.policy.roles, self._about_config)
        runner = web.ServerRunner(application.server(), handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        stop, reload = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        try:
            await self._listen(runner, self._config)
            self._warn(self._config)
            listening = ", ".join(f"{host}:{port}" for host, port in self._config.listen)
            log.info("healthagent %s asks %s, listens on %s", __version__, self._config.login.where, listening)
            await self._watch(monitor, application, runner, stop, reload)
            log.info("stopped")
        finally:
            for place, site in self._listeners.items():
                await _close(place, site)
            await runner.cleanup()

    async def _watch(
        self, monitor: Monitor, application: Web, runner: web.ServerRunner, stop: asyncio.Event, reload: asyncio.Event
    ) -> None:
        running = asyncio.ensure_future(monitor.run())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stopping.done():
                reloading = asyncio.ensure_future(reload.wait())
                await asyncio.wait({running, stopping, reloading}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    raise HealthagentError("the monitor has ended")
                if reloading.done():
                    reload.clear()
                    await self._reload(monitor, application, runner)
                reloading.cancel()
        finally:
            stopping.cancel()
            running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _reload(self, monitor: Monitor, application: Web, runner: web.ServerRunner) -> None:
        """All of the new configuration, or nothing of it."""
        try:
            new = self._load()
            await self._listen(runner, new)
        except (ConfigError, StartError) as error:
            self._reload_errors = error.lines() if isinstance(error, ConfigError) else [str(error)]
            for line in self._reload_errors:
                log.error("not reloaded: %s", line)
            return
        if new.state_dir != self._config.state_dir:
            log.warning("state_dir: a new directory takes effect with the next start")
        logs.configure(new.log_level, new.log_format)
        self._config, self._reload_errors, self._loaded_at = new, [], time.time()
        application.set_roles(new.policy.roles)
        monitor.reconfigure(new)
        self._warn(new)
        log.info("reloaded %s", new.source)

    async def _listen(self, runner: web.ServerRunner, new: Config) -> None:
        """Opens what is new, then closes what is gone; if something cannot be opened, all stays as it was."""
        opened: dict[Place, web.BaseSite] = {}
        wanted: list[Place] = [*new.listen, new.control.socket]
        try:
            for place in wanted:
                if place not in self._listeners:
                    listener = _control_socket(new.control) if isinstance(place, Path) else _tcp_socket(*place)
                    if listener is not None:
                        opened[place] = web.SockSite(runner, listener, backlog=BACKLOG)
                        await opened[place].start()
            _give_access(new.control)
        except StartError:
            for place, site in opened.items():
                await _close(place, site)
            raise
        for place in [place for place in self._listeners if place not in wanted]:
            await _close(place, self._listeners.pop(place))
        self._listeners |= opened

    def _about_config(self) -> Mapping[str, Any]:
        return {
            "source": self._config.source,
            "last_reload_success": not self._reload_errors,
            "errors": list(self._reload_errors),
        }

    def _warn(self, settings: Config) -> None:
        for warning in settings.warnings:
            log.warning("%s", warning)


def _tcp_socket(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError as error:
        raise StartError(f"http.listen: cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


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
    if not path.exists():
        return
    if not path.is_socket():
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
        if control.socket.is_socket():
            control.socket.chmod(control.mode)
            os.chown(control.socket, -1, group)
    except OSError as error:
        raise StartError(f"control.socket: {control.socket}: {error.strerror}") from error


async def _close(place: Place, site: web.BaseSite) -> None:
    await site.stop()
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
