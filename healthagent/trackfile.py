"""What is configured about a track file of keepalived."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthagent.kinds import shown, whole
from healthagent.paths import file_path

__all__ = ["TrackFile", "spoken_track_files", "track_files"]

KEYS = ("role", "path", "up", "down")
MAX_FILES = 32
# what keepalived 2.2 and 2.3 take as a value
LOWEST, HIGHEST = -2147483647, 2147483647


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFile:
    """The file `path` holds `up` while `role` is up, else `down`."""

    role: str
    path: Path
    up: int
    down: int


def track_files(value: Any) -> tuple[TrackFile, ...]:
    """A list of mappings, each with all of KEYS; no path twice. Which roles there are the configuration knows."""
    if not isinstance(value, list) or len(value) > MAX_FILES:
        raise ValueError(f"must be a list of at most {MAX_FILES} mappings {{role, path, up, down}}")
    found: list[TrackFile] = []
    for number, entry in enumerate(value):
        try:
            found.append(_track_file(entry))
        except ValueError as error:
            raise ValueError(f"entry {number + 1}: {error}") from None
        if found[-1].path in [file.path for file in found[:-1]]:
            raise ValueError(f"entry {number + 1}: path {found[-1].path} is named twice; a file has one role")
    return tuple(found)


def _track_file(entry: Any) -> TrackFile:
    if not isinstance(entry, dict):
        raise ValueError(f"must be a mapping with {', '.join(KEYS)}")
    missing, unknown = [key for key in KEYS if key not in entry], [str(key) for key in entry if key not in KEYS]
    if missing or unknown:
        wrong = f"missing: {', '.join(missing)}" if missing else f"unknown: {', '.join(unknown)}"
        raise ValueError(f"must be a mapping with {', '.join(KEYS)}; {wrong}")
    if not isinstance(entry["role"], str):
        raise ValueError(f"role {shown(entry['role'])}: must be the name of a role")
    up, down = (_value(entry, key) for key in ("up", "down"))
    if up == down:
        raise ValueError(f"up and down are both {up}; they must differ, or keepalived learns nothing")
    return TrackFile(role=entry["role"], path=_path(entry["path"]), up=up, down=down)


def _value(entry: dict[str, Any], key: str) -> int:
    try:
        value: int = whole(LOWEST, HIGHEST)(entry[key])
    except ValueError as error:
        raise ValueError(f"{key} {shown(entry[key])}: {error}") from None
    return value


def _path(value: Any) -> Path:
    try:
        return file_path(value)
    except ValueError as error:
        raise ValueError(f"path {shown(value)}: {error}") from None


def spoken_track_files(files: tuple[TrackFile, ...]) -> list[dict[str, Any]]:
    """The way back of `track_files`."""
    return [{"role": file.role, "path": str(file.path), "up": file.up, "down": file.down} for file in files]
