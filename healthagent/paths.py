"""Kinds of settings that name a file which is written: see kinds."""

from pathlib import Path
from typing import Any

from healthagent.kinds import absolute

__all__ = ["file_path", "prom_file", "spoken_path"]

SUFFIX = ".prom"


def file_path(value: Any) -> Path:
    """An absolute path to a file, printable and without `..`."""
    path = Path(absolute(value))
    if not value.isprintable() or value.endswith("/") or ".." in path.parts or not path.name:
        raise ValueError("must name a file, printable and without `..`")
    return path


def prom_file(value: Any) -> Path:
    """A file that node_exporter's textfile collector reads: it passes by whatever does not end in `.prom`."""
    path = file_path(value)
    if path.suffix != SUFFIX:
        raise ValueError(f"must end in {SUFFIX}: node_exporter's textfile collector reads no other file")
    return path


def spoken_path(path: Path | None) -> str | None:
    """As it stands in a configuration."""
    return None if path is None else str(path)
