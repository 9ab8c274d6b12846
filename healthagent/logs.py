"""The log: whatever is told, by this program through `tell()` or by a library through `logging`, comes out here."""

import logging
import os
import traceback
from pathlib import Path

from healthagent.events import Event, Kind, Level
from healthagent.forms import Line
from healthagent.outlet import Outlet
from healthagent.sinks import STDERR, sink

__all__ = ["CLOSE_SECONDS", "close", "configure", "fault", "tell", "tell_of_file"]

log = logging.getLogger("healthagent")
CLOSE_SECONDS = 0.5  # of the end of the process, for a log that nobody reads


def tell(event: Event) -> None:
    """One line in the log. Never waits, and may be called from any thread."""
    log.log(event.level, "%s", event.says, extra={"event": event})


def tell_of_file(path: Path, says: str, trouble: str | None = None) -> None:
    """A file that the configuration asks for: what is in its way, or that it is well again."""
    level = Level.ERROR if trouble else Level.INFO
    tell(Event(kind=Kind.FILE, level=level, says=says, fields={"file": str(path), "error": trouble}))


def fault(says: str, error: BaseException | None, level: Level = Level.ERROR) -> None:
    """A fault of this program, with its traceback in a field: it stays one line."""
    trace = "".join(traceback.format_exception(error)) if error is not None else None
    tell(Event(kind=Kind.FAULT, level=level, says=f"{says}: {error!r}", fields={"exception": trace}))


def configure(level: str, style: str) -> None:
    """Both may be changed at any time; what was said before goes out first. `style`: see sinks.sink()."""
    _hold_standard_files()
    root, write = logging.getLogger(), sink(style)
    known = next((handler for handler in root.handlers if isinstance(handler, Handler)), None)
    if known is None:
        logging.basicConfig(handlers=[Handler(Outlet(write))], force=True)
    else:
        known.outlet.write = write
    root.setLevel(level.upper())
    # what asyncio and aiohttp have to say about clients is theirs to debug
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def close() -> None:
    """Nothing is told any more; what was said is out, unless that takes longer than CLOSE_SECONDS.

    Without any handler `logging` would write to standard error by itself, and wait.
    """
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def _hold_standard_files() -> None:
    """One that was closed by who started us would be the number of a client's socket, and the log would go there.

    libuv (uvloop) even aborts when it is to close such a file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class Handler(logging.Handler):
    """Without the lock of logging's handlers: a finalizer may log while its own thread holds it (see outlet)."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self.outlet = outlet

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        self.outlet.put(Line(event if isinstance(event, Event) else _foreign(record), record.created))

    def close(self) -> None:
        self.outlet.close(CLOSE_SECONDS)
        super().close()


def _foreign(record: logging.LogRecord) -> Event:
    """What a library has to say."""
    try:
        says = record.getMessage()
    except Exception:  # its arguments do not fit: that is no reason to lose it, or to print a traceback
        says = str(record.msg)
    exception = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
    level = max((level for level in Level if level <= record.levelno), default=Level.DEBUG)
    return Event(kind=Kind.OTHER, level=level, says=says, fields={"logger": record.name, "exception": exception})
