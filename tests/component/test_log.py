"""What `healthagent serve` writes, and that nobody waits for whoever reads it."""

import fcntl
import json
import os
import select
import signal
import subprocess
import termios
import time

import pytest

from healthagent.events import KIND_TEXT, MEANWHILE, Kind
from healthagent.reasons import Gate
from healthagent.sinks import JOURNAL_SOCKET
from tests import logfmt
from tests.component.test_service import Daemon, wait
from tests.component.test_service import daemon as daemon
from tests.figures import measured

WRONG = "nonsense: 1\nlog: {level: loud}\n"
SMALL_PIPE = 4096


def test_start_reload_refused_reload_and_stop_are_one_line_each(daemon: Daemon) -> None:
    daemon.start()
    wait(lambda: daemon.lines("state_change") != [], "the first sample")
    daemon.configure(more="tags: {dc: berlin}\n")
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.lines("reloaded") != [], "reloaded")
    daemon.configure(more=WRONG)
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.lines("reload_failed") != [], "refused")
    assert daemon.stop() == 0

    lines = [line for line in daemon.lines() if line["event"] != "role_change"]
    assert [line["event"] for line in lines] == ["started", "state_change", "reloaded", "reload_failed", "stopped"]
    roles = daemon.lines("role_change")
    assert {(line["old"], line["new"], line["level"]) for line in roles} == {("starting", "down", "warning")}
    started, state, reloaded, refused, stopped = lines
    assert (started["level"], started["config"], started["server"]) == (
        "info",
        str(daemon.file),
        f"{daemon.directory}/no.sock",
    )
    assert started["listen"] == f"127.0.0.1:{daemon.port}"
    assert reloaded["msg"] == started["msg"].replace(" started: ", " reloaded: ")
    assert (state["level"], state["old"], state["new"], state["failure"]) == ("warning", "unknown", "down", "refused")
    assert state["msg"].startswith("state unknown -> down: failure refused, code 2, ")
    first, second = (
        f"{daemon.file}:{line}: {what}" for line, what in ((6, "nonsense: unknown key"), (7, "log.level: "))
    )
    assert refused["msg"].startswith(f"not reloaded: {first}")
    assert f"; {second}" in refused["msg"]
    assert (stopped["level"], stopped["signal"]) == ("info", "SIGTERM")
    assert stopped["msg"] == f"stopped by SIGTERM after {stopped['uptime_seconds']} s"


def test_every_field_is_in_the_list(daemon: Daemon) -> None:
    daemon.configure(more="roles: {own: {base: reader}}\n")
    daemon.start()
    wait(lambda: daemon.lines("state_change") != [], "the first sample")
    daemon.configure(more=WRONG)
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.lines("reload_failed") != [], "refused")
    daemon.stop()
    gates = {f"gate_{gate}{limit}" for gate in Gate for limit in ("", "_limit")}
    for line in daemon.lines():
        known = {"time", "level", "event", "msg", *KIND_TEXT[Kind(line["event"])].fields, *MEANWHILE}
        assert set(line) - gates <= known


@pytest.mark.parametrize("form", ["json", "text", "journal"])
def test_the_form_can_be_changed_by_a_reload(daemon: Daemon, form: str) -> None:
    if form == "journal" and JOURNAL_SOCKET.exists():
        pytest.skip("it would go to the journal of this machine")
    daemon.start()
    daemon.configure(more=f"log: {{format: {form}}}\n")
    daemon.signal(signal.SIGHUP)
    wait(lambda: " reloaded: " in daemon.said(), "reloaded")
    assert daemon.stop() == 0
    last = daemon.said().splitlines()[-1]
    if form == "json":
        assert json.loads(last)["event"] == "stopped"
    elif form == "text":
        assert " INFO stopped by SIGTERM" in last
    else:
        assert last.startswith("<6>event=stopped signal=SIGTERM ")


def test_a_warning_of_the_configuration_is_a_line_of_its_own(daemon: Daemon) -> None:
    secret = daemon.directory / "password"
    secret.write_text("x\n")
    secret.chmod(0o644)
    daemon.configure()
    daemon.file.write_text(daemon.file.read_text().replace("user: agent,", f"user: agent, password_file: {secret},"))
    daemon.start()
    wait(lambda: daemon.lines("config_warning") != [], "the warning")
    assert daemon.stop() == 0
    (warning,) = daemon.lines("config_warning")
    assert (warning["level"], str(secret) in warning["msg"]) == ("warning", True)
    assert len(daemon.lines("started")) == 1


class Unread:
    """A daemon whose standard error is a pipe that nobody reads until told so."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.reader, its = os.pipe()
        fcntl.fcntl(its, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
        daemon.process = subprocess.Popen(daemon.command, stdout=its, stderr=its)
        os.close(its)
        wait(lambda: daemon.answers(daemon.port), "the agent answers")
        wait(lambda: daemon.get("/any")[1] == "down", "the first sample")

    def fill(self) -> None:
        """Far beyond what the pipe takes: each refused reload is a line of 2 KiB."""
        for number in range(10):
            name = f"nonsense{number}"
            self._daemon.configure(more=f"{name}{'x' * 900}: 1\n")
            self._daemon.signal(signal.SIGHUP)
            wait(lambda: any(name in error for error in self._daemon.config()["errors"]), "refused")  # noqa: B023
        assert waiting(self.reader) <= SMALL_PIPE
        self._daemon.configure()

    def read(self, seconds: float = 10.0) -> str:
        """All that comes until the daemon has ended."""
        found = b""
        while select.select([self.reader], [], [], seconds)[0] and (more := os.read(self.reader, 65536)):
            found += more
        return found.decode()


def waiting(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), "little")


def sequence(daemon: Daemon) -> int:
    return int(json.loads(daemon.get("/state")[2])["sample"]["sequence"])


def test_a_reader_that_stands_still_holds_up_neither_answers_nor_probes_nor_the_end(daemon: Daemon) -> None:
    unread = Unread(daemon)
    unread.fill()
    before, slowest = sequence(daemon), 0.0
    for _ in range(5):
        daemon.signal(signal.SIGHUP)
        asked = time.monotonic()
        assert daemon.get("/any")[0] == 503
        slowest = max(slowest, time.monotonic() - asked)
    wait(lambda: sequence(daemon) > before + 2, "it goes on probing")
    measured(f"the log is a full pipe that nobody reads: answers within {1000 * slowest:.0f} ms")
    asked = time.monotonic()
    assert daemon.stop() == 0, "and stops"
    measured(f"the same: stopped after {time.monotonic() - asked:.1f} s")
    os.close(unread.reader)


def test_when_it_is_read_again_all_that_was_said_comes_out(daemon: Daemon) -> None:
    unread = Unread(daemon)
    unread.fill()
    daemon.signal(signal.SIGHUP)
    wait(lambda: bool(daemon.config()["last_reload_success"]), "a reload while nobody reads")
    assert daemon.process is not None
    daemon.process.terminate()
    lines = logfmt.lines(unread.read())
    os.close(unread.reader)

    assert daemon.process.wait(10) == 0
    assert [line["event"] for line in lines[:3]] == ["started", "state_change", "role_change"]
    assert [line["event"] for line in lines[-2:]] == ["reloaded", "stopped"]
    assert {line["event"] for line in lines[3:-2]} == {"role_change", "reload_failed"}


def test_a_reader_that_has_gone_costs_nothing_but_the_log(daemon: Daemon) -> None:
    unread = Unread(daemon)
    os.close(unread.reader)
    before = sequence(daemon)
    for _ in range(3):
        daemon.signal(signal.SIGHUP)
        assert daemon.get("/any")[0] == 503
    wait(lambda: sequence(daemon) > before + 2, "it goes on probing")
    assert daemon.stop() == 0


def test_a_daemon_without_a_standard_error_writes_into_no_other_file(daemon: Daemon) -> None:
    """What is opened next would have the number 2: the epoll of the loop, a listener, a client."""
    daemon.process = subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", *daemon.command])
    wait(lambda: daemon.answers(daemon.port), "the agent answers")
    for _ in range(3):
        daemon.signal(signal.SIGHUP)
        assert daemon.get("/any")[0] == 503
    wait(lambda: sequence(daemon) > 2, "it goes on probing")
    assert daemon.stop() == 0
