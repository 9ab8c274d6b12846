"""`keepalived.track_files` of the configuration, and what such a file holds."""

from pathlib import Path

import pytest
import yaml

from healthagent import config
from healthagent.config import Config
from healthagent.errors import ConfigError
from healthagent.model import Status, Verdict
from healthagent.reasons import Reason
from healthagent.render import track_value
from healthagent.trackfile import MAX_FILES, TrackFile

GOOD = {"role": "writer", "path": "/run/track/writer.alive", "up": 1, "down": 0}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "healthagent.yaml"


def loaded(file: Path, entries: object, more: str = "") -> Config:
    file.write_text(yaml.safe_dump({"keepalived": {"track_files": entries}}) + more)
    return config.load(file)


def test_without_the_setting_there_is_none() -> None:
    assert config.load(None).track_files == ()


def test_any_role_any_values(file: Path) -> None:
    entries = [
        GOOD,
        {"role": "analytics", "path": "/a b", "up": -2147483647, "down": 2147483647},
        {"role": "replica", "path": "/run//track/x", "up": 0, "down": 1},
    ]
    found = loaded(file, entries, "roles: {analytics: {base: reader}}\n")
    assert found.track_files == (
        TrackFile(role="writer", path=Path("/run/track/writer.alive"), up=1, down=0),
        TrackFile(role="analytics", path=Path("/a b"), up=-2147483647, down=2147483647),
        TrackFile(role="replica", path=Path("/run/track/x"), up=0, down=1),
    )
    shown = config.shown(found)["keepalived"]["track_files"]
    assert loaded(file, shown, "roles: {analytics: {base: reader}}\n").track_files == found.track_files


WRONG: dict[str, tuple[object, str]] = {
    "no list": (GOOD, "must be a list of at most 32 mappings {role, path, up, down}"),
    "too many": ([GOOD | {"path": f"/x{n}"} for n in range(MAX_FILES + 1)], "must be a list of at most 32 mappings"),
    "no mapping": (["/x"], "entry 1: must be a mapping with role, path, up, down"),
    "a key missing": ([{"role": "writer", "path": "/x"}], "with role, path, up, down; missing: up, down"),
    "a key too many": ([GOOD | {"weight": 1}], "entry 1: must be a mapping with role, path, up, down; unknown: weight"),
    "a role that is a number": ([GOOD | {"role": 1}], "entry 1: role 1: must be the name of a role"),
    "an unknown role": ([GOOD | {"role": "wirter"}], "unknown role 'wirter'; roles: any, synced, reader"),
    "a relative path": ([GOOD, GOOD | {"path": "x"}], "entry 2: path 'x': must be an absolute path"),
    "a directory": ([GOOD | {"path": "/run/"}], "entry 1: path '/run/': must name a file"),
    "the root": ([GOOD | {"path": "/"}], "entry 1: path '/': must name a file"),
    "a way up": ([GOOD | {"path": "/run/../x"}], "entry 1: path '/run/../x': must name a file"),
    "a line feed": ([GOOD | {"path": "/run/a\nb"}], "entry 1: path '/run/a\\nb': must name a file, printable"),
    "no path": ([GOOD | {"path": None}], "entry 1: path None: must be an absolute path"),
    "a value that is a text": ([GOOD | {"up": "1"}], "entry 1: up '1': must be a whole number from -2147483647"),
    "a value that is true": ([GOOD | {"up": True}], "entry 1: up True: must be a whole number"),
    "a value too low": ([GOOD | {"down": -2147483648}], "entry 1: down -2147483648: must be a whole number"),
    "the same values": ([GOOD | {"down": 1}], "entry 1: up and down are both 1; they must differ"),
    "a path twice": ([GOOD, GOOD | {"role": "reader"}], "entry 2: path /run/track/writer.alive is named twice"),
    "a path twice, spelt differently": ([GOOD, GOOD | {"path": "/run//track/./writer.alive"}], "is named twice"),
}


@pytest.mark.parametrize(("entries", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_it(file: Path, entries: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(file, entries)
    (line,) = caught.value.lines()
    assert line.startswith(f"{file}:2: keepalived.track_files: ")
    assert says in line


@pytest.mark.parametrize(("status", "value"), [(Status.UP, 7), (Status.DRAIN, -7), (Status.DOWN, -7)])
def test_the_value_is_that_of_up_for_up_alone(status: Status, value: int) -> None:
    verdict = Verdict(role="writer", status=status, weight=int(status is Status.UP), reasons=(Reason.UNKNOWN,))
    assert track_value(verdict, up=7, down=-7) == value
    assert track_value(None, up=7, down=-7) == -7
