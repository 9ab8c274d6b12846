"""Track files of `healthagent serve`, with no MariaDB anywhere: starts, reloads, ends."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthagent import __version__
from tests import logfmt
from tests.component.test_service import Daemon, wait


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "track"
    found.mkdir()
    return found


def track(*paths: Path, role: str = "any") -> str:
    entries = ", ".join(f"{{role: {role}, path: {path}, up: 1, down: 0}}" for path in paths)
    return f"keepalived: {{track_files: [{entries}]}}\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path)
    yield found
    found.close()


def holds(path: Path, value: str) -> bool:
    return path.exists() and path.read_text() == f"{value}\n"


def writers(daemon: Daemon) -> list[int]:
    """The children of the daemon that write track files."""
    assert daemon.process is not None
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"trackwriter" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_first_verdict_is_written(daemon: Daemon, directory: Path) -> None:
    path, other = directory / "alive", directory / "other"
    path.write_text("1\n")
    daemon.configure(more=track(path, other))
    daemon.start()
    wait(lambda: holds(path, "0") and holds(other, "0"), "the first verdict")
    assert len(writers(daemon)) == 1
    assert daemon.stop() == 0
    assert "level=error" not in daemon.said()


def test_without_the_setting_there_is_no_writer(daemon: Daemon) -> None:
    daemon.configure()
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "the first sample")
    assert writers(daemon) == []


def test_a_directory_that_is_not_there_is_a_clear_error(daemon: Daemon, directory: Path) -> None:
    for path, says in (
        (directory / "no" / "x", f"there is no directory {directory}/no; make it with tmpfiles.d"),
        (directory, "is a directory"),
    ):
        daemon.configure(more=track(path))
        done = daemon.run()
        assert done.returncode == 1
        (line,) = logfmt.lines(done.stderr)
        assert (line["event"], line["level"]) == ("start_failed", "error")
        assert line["errors"].startswith(f"keepalived.track_files: {path}: {says}")


def test_a_directory_of_somebody_else_is_a_clear_error(daemon: Daemon, directory: Path) -> None:
    directory.chmod(0o555)
    daemon.configure(more=track(directory / "x"))
    # root without the right to write anywhere
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    command = [*powerless, *daemon.command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert f"this user may not write to {directory}" in done.stderr


def test_a_reload_takes_up_new_files_and_lets_go_of_old_ones(daemon: Daemon, tmp_path: Path, directory: Path) -> None:
    old, new = directory / "old", tmp_path / "elsewhere" / "new"
    daemon.configure(more=track(old))
    daemon.start()
    wait(lambda: holds(old, "0"), "the first verdict")
    daemon.configure(more=track(old, new))
    daemon.signal(signal.SIGHUP)
    wait(lambda: "not reloaded: keepalived.track_files" in daemon.said(), "the directory is not there")
    assert daemon.config()["last_reload_success"] is False

    new.parent.mkdir()
    daemon.configure(more=track(new))
    daemon.signal(signal.SIGHUP)
    wait(lambda: holds(new, "0"), "the new file")
    wait(lambda: len(writers(daemon)) == 1, "one writer")
    old.unlink()
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.said().count(f"healthagent {__version__} reloaded: ") == 2, "reloaded")
    assert not old.exists(), "nobody writes it any more"


def test_a_writer_that_is_killed_is_started_again(daemon: Daemon, directory: Path) -> None:
    path = directory / "alive"
    daemon.configure(more=track(path))
    daemon.start()
    wait(lambda: holds(path, "0"), "the first verdict")
    (first,) = writers(daemon)
    os.kill(first, signal.SIGKILL)
    path.unlink()
    wait(lambda: holds(path, "0"), "another writer")
    assert writers(daemon) != [first]
    assert daemon.said().count(f"the process that writes track files in {directory} has ended") == 1
    assert "Traceback" not in daemon.said()


def test_a_directory_that_vanishes_is_one_error_and_the_agent_goes_on(daemon: Daemon, directory: Path) -> None:
    path = directory / "alive"
    daemon.configure(more=track(path))
    daemon.start()

    def told(level: str, says: str) -> bool:
        return any(line["level"] == level and line["msg"].startswith(says) for line in daemon.lines("track_file"))

    wait(lambda: holds(path, "0"), "the first verdict")
    path.unlink()
    directory.rmdir()
    wait(lambda: told("error", f"{path}: cannot be written: No such file or directory"), "an error")
    assert daemon.get("/any")[1] == "down"
    directory.mkdir()
    wait(lambda: told("info", f"{path}: holds 0 again"), "and again")
    assert daemon.said().count("cannot be written") == 1
