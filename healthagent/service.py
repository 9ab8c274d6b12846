"""The composition root: builds everything, handles signals, reloads; a dead task ends the process."""

import asyncio
import faulthandler
import gc
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from healthagent import __version__, clock, logs
from healthagent.agentcheck import AgentCheck
from healthagent.config import Config
from healthagent.doorbell import Doorbell
from healthagent.errors import ConfigError, StartError
from healthagent.events import Event, Kind, Level, Value
from healthagent.listeners import Listeners, raise_file_limit, warn_of_few_files
from healthagent.metrics import Metrics
from healthagent.monitor import Monitor
from healthagent.notify import Notifier
from healthagent.pin import Keeper, PinFile
from healthagent.recorder import Recorder
from healthagent.textfile import Textfile
from healthagent.tracker import Tracker
from healthagent.web import Web

__all__ = ["Service", "new_event_loop"]


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

    `load` reads the configuration anew, for SIGHUP. `ready`: it has served; what it raises then is a fault of its own.
    """

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._config = config
        self._load = load
        self._reload_errors: list[str] = []
        self._asked_by = ""
        self.ready = False
        self._reload, self._reloading = asyncio.Event(), False
        self._started_at = clock.now()

    async def run(self) -> None:
        if sys.stderr is not None:  # closed: `2>&-`
            faulthandler.enable()  # systemd's watchdog ends a loop that is stuck by SIGABRT: so the journal says where
        raise_file_limit()
        self._recorder = Recorder()
        pin_file = PinFile(self._config.state_dir)
        self._monitor = Monitor(self._config, Keeper(pin_file), self._recorder)
        self._metrics = Metrics(self._monitor.board)
        self._web = Web(
            self._monitor.board,
            self._config.policy.roles,
            self._about_config,
            self._monitor.ask,
            self._monitor.acknowledge,
            self._metrics,
            drain_code=self._config.drain_code,
        )
        self._agent_check = AgentCheck(
            self._monitor.board,
            self._config.policy.roles,
            self._metrics.tally,
            admin_words=self._config.admin_words,
        )
        self._listeners = Listeners(self._web.server, self._agent_check)
        self._tracker = Tracker(self._monitor.board)
        self._textfile = Textfile(self._monitor.board, self._metrics.text)
        self._doorbell = Doorbell(self._monitor.look_now)
        self._notifier = Notifier(self._monitor.board, self._monitor.turns)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_by, number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            await self._tracker.check(self._config.track_files)
            self._doorbell.adopt(self._config.notify, self._doorbell.prepare(self._config.notify))
            await self._listeners.adopt(self._config)
            self._tracker.adopt(self._config.track_files, self._config.policy.max_age_seconds)
            await self._tell_metrics()
            self._greet()
            pin_file.check()
            gc.collect()
            gc.freeze()  # what is there now stays: to look through it again would hold up an answer for 10 ms
            warn_of_few_files()
            self._notifier.ready()
            self.ready = True
            await self._watch(stop)
            self._part()
        finally:
            self._notifier.stopping()
            self._notifier.close()
            self._tracker.close()
            await self._textfile.close()
            self._doorbell.close()
            await self._listeners.close()
            self._agent_check.close()

    async def _watch(self, stop: asyncio.Event) -> None:
        running = asyncio.ensure_future(self._monitor.run())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stopping.done():
                reloading = asyncio.ensure_future(self._reload.wait())
                await asyncio.wait({running, stopping, reloading}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    raise RuntimeError("the monitor has ended")
                if reloading.done():
                    self._reload.clear()
                    self._reloading = True
                    self._notifier.reloading()
                    await self._take()
                    self._reloading = False
                    self._notifier.ready("; ".join(self._reload_errors))
                reloading.cancel()
        finally:
            stopping.cancel()
            running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _take(self) -> None:
        """All of the new configuration, or nothing of it."""
        bell = None
        try:
            new = self._load()
            await self._tracker.check(new.track_files)
            bell = self._doorbell.prepare(new.notify)
            await self._listeners.adopt(new)
        except (ConfigError, StartError) as error:
            self._reload_errors = error.lines() if isinstance(error, ConfigError) else [str(error)]
            says = f"not reloaded: {'; '.join(self._reload_errors)}"
            fields: dict[str, Value] = {"config": self._config.source, "errors": tuple(self._reload_errors)}
            logs.tell(Event(kind=Kind.RELOAD_FAILED, level=Level.ERROR, says=says, fields=fields))
            if bell is not None:
                bell.close()
            self._metrics.tally.reload_failed = True
            return
        self._doorbell.adopt(new.notify, bell)
        if new.state_dir != self._config.state_dir:
            _warn("state_dir: a new directory takes effect with the next start")
        logs.configure(new.log_level, new.log_format)
        self._config, self._reload_errors = new, []
        self._web.adopt(new.policy.roles, drain_code=new.drain_code)
        self._agent_check.adopt(new.policy.roles, admin_words=new.admin_words)
        self._tracker.hold()
        self._monitor.reconfigure(new)
        self._tracker.adopt(new.track_files, new.policy.max_age_seconds)
        await self._tell_metrics()
        self._greet(Kind.RELOADED)

    async def _tell_metrics(self) -> None:
        """A configuration is in use now."""
        self._metrics.loaded()
        self._metrics.adopt(mysqld_names=self._config.mysqld_names)
        await self._textfile.adopt(self._config.textfile)

    def _greet(self, kind: Kind = Kind.STARTED) -> None:
        config = self._config
        listening = [f"{host}:{port}" for host, port in config.listen]
        listening += [
            f"{entry.host}:{entry.port} (agent-check, {entry.role or 'role by agent-send'})"
            for entry in config.agent_ports
        ]
        where = str(config.login.where)
        says = f"healthagent {__version__} {kind}: {config.source}, asks {where}, listens on {', '.join(listening)}"
        fields: dict[str, Value] = {"version": __version__, "config": config.source, "server": where}
        fields["listen"] = tuple(listening)
        logs.tell(Event(kind=kind, says=says, fields=fields))
        for warning in config.warnings:
            _warn(warning)

    def _stop_by(self, number: signal.Signals, stop: asyncio.Event) -> None:
        self._asked_by = number.name
        stop.set()

    def _part(self) -> None:
        uptime = round(clock.now() - self._started_at)
        says = f"stopped by {self._asked_by} after {uptime} s"
        logs.tell(Event(kind=Kind.STOPPED, says=says, fields={"signal": self._asked_by, "uptime_seconds": uptime}))

    def _about_config(self) -> Mapping[str, Any]:
        return {
            "source": self._config.source,
            "last_reload_success": not self._reload_errors,
            "errors": list(self._reload_errors),
            "reloading": self._reloading or self._reload.is_set(),
        }


def _warn(says: str) -> None:
    logs.tell(Event(kind=Kind.CONFIG_WARNING, level=Level.WARNING, says=says))
