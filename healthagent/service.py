"""The composition root: builds everything, handles signals, reloads; a dead task ends the process."""

import asyncio
import faulthandler
import gc
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from healthagent import __version__, logs
from healthagent.agentcheck import AgentCheck
from healthagent.config import Config
from healthagent.doorbell import Doorbell
from healthagent.errors import ConfigError, HealthagentError, StartError
from healthagent.listeners import Listeners, raise_file_limit, warn_of_few_files
from healthagent.monitor import Monitor
from healthagent.notify import Notifier
from healthagent.pin import Keeper, PinFile
from healthagent.tracker import Tracker
from healthagent.web import Web

__all__ = ["Service", "new_event_loop"]

log = logging.getLogger("healthagent")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: a tenth less work on kept connections (docs/performance.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Service:
    """`run()` returns when asked to stop (SIGTERM, SIGINT) and raises StartError when it cannot start.

    `load` reads the configuration anew, for SIGHUP.
    """

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._config = config
        self._load = load
        self._reload_errors: list[str] = []

    async def run(self) -> None:
        if sys.stderr is not None:  # closed: `2>&-`
            faulthandler.enable()  # systemd's watchdog ends a loop that is stuck by SIGABRT: so the journal says where
        raise_file_limit()
        self._monitor = Monitor(self._config, Keeper(PinFile(self._config.state_dir)))
        self._web = Web(
            self._monitor.board,
            self._config.policy.roles,
            self._about_config,
            self._monitor.ask,
            self._monitor.acknowledge,
            drain_code=self._config.drain_code,
        )
        self._agent_check = AgentCheck(
            self._monitor.board, self._config.policy.roles, admin_words=self._config.admin_words
        )
        self._listeners = Listeners(self._web.server, self._agent_check)
        self._tracker = Tracker(self._monitor.board)
        self._doorbell = Doorbell(self._monitor.look_now)
        self._notifier = Notifier(self._monitor.board, self._monitor.turns)
        stop, reload = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        try:
            await self._tracker.check(self._config.track_files)
            self._doorbell.adopt(self._config.notify, self._doorbell.prepare(self._config.notify))
            await self._listeners.adopt(self._config)
            self._tracker.adopt(self._config.track_files, self._config.policy.max_age_seconds)
            self._greet()
            gc.collect()
            gc.freeze()  # what is there now stays: to look through it again would hold up an answer for 10 ms
            warn_of_few_files()
            self._notifier.ready()
            await self._watch(stop, reload)
            log.info("stopped")
        finally:
            self._notifier.stopping()
            self._notifier.close()
            self._tracker.close()
            self._doorbell.close()
            await self._listeners.close()
            self._agent_check.close()

    async def _watch(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        running = asyncio.ensure_future(self._monitor.run())
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
                    self._notifier.reloading()
                    await self._reload()
                    self._notifier.ready("; ".join(self._reload_errors))
                reloading.cancel()
        finally:
            stopping.cancel()
            running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _reload(self) -> None:
        """All of the new configuration, or nothing of it."""
        bell = None
        try:
            new = self._load()
            await self._tracker.check(new.track_files)
            bell = self._doorbell.prepare(new.notify)
            await self._listeners.adopt(new)
        except (ConfigError, StartError) as error:
            self._reload_errors = error.lines() if isinstance(error, ConfigError) else [str(error)]
            for line in self._reload_errors:
                log.error("not reloaded: %s", line)
            if bell is not None:
                bell.close()
            return
        self._doorbell.adopt(new.notify, bell)
        if new.state_dir != self._config.state_dir:
            log.warning("state_dir: a new directory takes effect with the next start")
        logs.configure(new.log_level, new.log_format)
        self._config, self._reload_errors = new, []
        self._web.adopt(new.policy.roles, drain_code=new.drain_code)
        self._agent_check.adopt(new.policy.roles, admin_words=new.admin_words)
        self._tracker.hold()
        self._monitor.reconfigure(new)
        self._tracker.adopt(new.track_files, new.policy.max_age_seconds)
        self._greet("reloaded")

    def _greet(self, word: str = "started") -> None:
        listening = ", ".join(f"{host}:{port}" for host, port in self._config.listen)
        for entry in self._config.agent_ports:
            listening += f", {entry.host}:{entry.port} (agent-check, {entry.role or 'role by agent-send'})"
        where = self._config.login.where
        log.info(
            "healthagent %s %s: %s, asks %s, listens on %s", __version__, word, self._config.source, where, listening
        )
        for warning in self._config.warnings:
            log.warning("%s", warning)

    def _about_config(self) -> Mapping[str, Any]:
        return {
            "source": self._config.source,
            "last_reload_success": not self._reload_errors,
            "errors": list(self._reload_errors),
        }
