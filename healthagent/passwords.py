"""Where the password of the login comes from: the configuration, a file, systemd, an option file."""

import os
from pathlib import Path

from healthagent.document import Document

__all__ = ["password", "warn_if_readable"]

CREDENTIAL = "password"


def password(document: Document, of_options: str, warnings: list[str]) -> str:
    """`mysql.password`, `mysql.password_file`, the systemd credential, `of_options`: the first of these that there is.

    What cannot be read is a problem of the document, and no reason to take the next one.
    """
    mysql, credential = document.settings["mysql"], _credential()
    if mysql["password"] or mysql["password_file"]:
        if credential is not None:
            warnings.append(f"the systemd credential `{CREDENTIAL}` is not used: the configuration names a password")
    elif credential is not None:
        # whatever its mode says, nobody but this service can read it
        return _first_line(credential, f"the systemd credential `{CREDENTIAL}`", document)
    if mysql["password_file"] is None:
        return str(mysql["password"] or of_options)
    path = Path(mysql["password_file"])
    found = _first_line(path, str(path), document)
    if found:
        warn_if_readable(path, warnings)
    return found


def warn_if_readable(path: Path, warnings: list[str]) -> None:
    """A warning where everybody can read a file that holds a password."""
    if path.stat().st_mode & 0o004:
        warnings.append(f"{path}: others can read this file, and a password stands in it")


def _credential() -> Path | None:
    """What systemd has put there for this service (LoadCredential=, SetCredential=; systemd.exec(5)), if anything."""
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / CREDENTIAL
    try:
        return path if path.is_absolute() and path.exists() else None
    except PermissionError:  # it is there and not for us: reading it will say so
        return path


def _first_line(path: Path, name: str, document: Document) -> str:
    """Or "" and a problem where there is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        document.wrong("mysql.password_file", f"{name} cannot be read: {error.strerror}")
        return ""
    except UnicodeDecodeError:
        document.wrong("mysql.password_file", f"{name} is not UTF-8 text")
        return ""
    if not lines or not lines[0]:
        document.wrong("mysql.password_file", f"{name} is empty; its first line must be the password")
        return ""
    return lines[0]
