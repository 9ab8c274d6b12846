"""Where lines go: standard error in some form, or journald with all fields.

journald's native protocol is spoken here (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), and needs no library.
systemd-python's sendv() keeps the interpreter's lock while it waits for a journald that is stopped, and so stops every
thread of the process, answers included (measured with 235).
"""

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from healthagent import forms
from healthagent.forms import Line

__all__ = ["FORMS", "JOURNAL_SOCKET", "STDERR", "by_journal", "sink"]

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
STDERR = 2
FORMS = {"text": forms.text, "logfmt": forms.logfmt, "json": forms.as_json}


def sink(style: str) -> Callable[[Line], None]:
    """`style` auto: journal where standard error is journald's, text on a terminal, logfmt elsewhere."""
    if style == "auto":
        style = "journal" if by_journal() else "text" if os.isatty(STDERR) else "logfmt"
    return Journal() if style == "journal" else Stderr(FORMS[style])


def by_journal() -> bool:
    """Whether standard error is journald's: JOURNAL_STREAM names its device and inode (systemd.exec(5)).

    The variable alone proves nothing: it is inherited by what is started with another standard error.
    """
    try:
        found = os.fstat(STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Stderr:
    def __init__(self, form: Callable[[Line], bytes]) -> None:
        self._form = form
        self._torn = False

    def __call__(self, line: Line) -> None:
        """OSError: it could not be written, or not all of it."""
        rest = memoryview((b"\n" if self._torn else b"") + self._form(line))
        while rest:
            try:
                rest = rest[os.write(STDERR, rest) :]
            except BlockingIOError:  # whoever shares it with us does not want to wait
                select.select([], [STDERR], [])
            self._torn = bool(rest)


class Journal:
    """One datagram each; where that is not possible, `<4>` and logfmt on standard error."""

    def __init__(self) -> None:
        self._else = Stderr(forms.prefixed)

    def __call__(self, line: Line) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.sendto(forms.datagram(line), str(JOURNAL_SOCKET))
        except OSError:
            self._else(line)
