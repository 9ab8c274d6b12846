"""One line per event, on standard error; journald adds the time itself."""

import json
import logging
import os
import sys
from datetime import UTC, datetime

__all__ = ["configure"]

# sd-daemon(3): a line that starts with <N> has that syslog level
JOURNAL_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure(level: str, style: str) -> None:
    """`style` auto: for journald where it is our standard error (JOURNAL_STREAM), text elsewhere."""
    journal = style == "auto" and "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if style == "json" else Journal("%(message)s") if journal else Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # what asyncio and aiohttp have to say about clients is theirs to debug
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")


class Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{JOURNAL_LEVELS.get(record.levelno, 6)}>{super().format(record)}"


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)
