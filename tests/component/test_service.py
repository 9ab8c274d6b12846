"""`healthagent serve` as a process of its own, with no MariaDB anywhere."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import logfmt
from tests.loops import LOOPS


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Daemon:
    """A directory with a configuration, and the agent that runs with it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.file, self.log = directory / "healthagent.yaml", directory / "log"
        self.control = directory / "run" / "control.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def configure(
        self, *, listen: tuple[int, ...] = (), more: str = "", control: str = "", agent_check: str = "listen: {}"
    ) -> None:
        ports = ", ".join(f'"127.0.0.1:{port}"' for port in (self.port, *listen))
        self.file.write_text(
            f"mysql: {{user: agent, socket: {self.directory}/no.sock, datadir: {self.directory}}}\n"
            f"http: {{listen: [{ports}]}}\n"
            f"control: {{socket: {control or self.control}}}\n"
            f"agent_check: {{{agent_check}}}\n"
            f"state_dir: {self.directory}/state\n{more}"
        )

    def start(self, *, files: str | None = None, modules: Path | None = None) -> "Daemon":
        """`files`: how many it may open, as SOFT:HARD. `modules`: a directory that Python looks into first."""
        limit = ["prlimit", f"--nofile={files}"] if files else []
        path = os.pathsep.join(filter(None, [str(modules) if modules else "", os.environ.get("PYTHONPATH", "")]))
        with self.log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": path}
            self.process = subprocess.Popen([*limit, *self.command], stderr=log, stdout=log, env=environment)
        wait(lambda: self.answers(self.port), "the agent answers")
        return self

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "healthagent", "serve", "--config", str(self.file)]

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command, capture_output=True, text=True, check=False, timeout=20)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def close(self) -> None:
        """Ends what is left of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def said(self) -> str:
        return self.log.read_text()

    def lines(self, event: str | None = None) -> list[logfmt.Fields]:
        """What it said, of one kind or all, as fields."""
        return [line for line in logfmt.lines(self.said()) if event in (None, line["event"])]

    def answers(self, port: int) -> bool:
        try:
            return self.get("/liveness", port)[0] == 200
        except OSError:
            return False

    def get(self, path: str, port: int | None = None) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.reason, response.read().decode()
        finally:
            connection.close()

    def ask(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "healthagent", *argv, "--config", str(self.file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)

    def config(self) -> dict[str, Any]:
        found = json.loads(self.get("/state")[2])["config"]
        assert isinstance(found, dict)
        return found

    def by_control_socket(self, path: Path, target: str = "/any", method: str = "GET") -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(f"{method} {target} HTTP/1.0\r\n\r\n".encode())
            return client.recv(65536)


def wait(done: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path)
    found.configure()
    yield found
    found.close()


def test_without_a_server_it_starts_answers_503_and_stops_with_0(daemon: Daemon) -> None:
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "the first sample")

    for path in ("/any", "/writer", "/reader", "/synced", "/replica"):
        assert daemon.get(path)[:2] == (503, "down")
    assert daemon.by_control_socket(daemon.control).startswith(b"HTTP/1.0 503 down\r\n")
    assert daemon.control.stat().st_mode & 0o777 == 0o660
    assert daemon.stop() == 0
    assert not daemon.control.exists()
    assert "Traceback" not in daemon.said()


def test_sigint_stops_it_too(daemon: Daemon) -> None:
    daemon.start().signal(signal.SIGINT)

    assert daemon.process is not None
    assert daemon.process.wait(10) == 0
    assert "Traceback" not in daemon.said()


def test_a_client_that_holds_its_connection_does_not_hold_the_stop(daemon: Daemon) -> None:
    daemon.start()
    with socket.create_connection(("127.0.0.1", daemon.port)) as idle:
        idle.sendall(b"GET /any HTTP/1.1\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 503")
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 5


def test_transitions_are_logged_once_and_requests_never(daemon: Daemon) -> None:
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "the first sample")
    before = daemon.said()
    for _ in range(50):
        daemon.get("/any")
        daemon.get("/nonsense")
    wait(lambda: json.loads(daemon.get("/state")[2])["sample"]["sequence"] > 3, "three samples")

    assert daemon.said() == before
    assert before.count("state unknown -> down") == 1


INVALID = {
    "unknown key": "nonsense: 1\n",
    "wrong type": "probe: {interval: 5}\n",
    "a tab": "log:\n\tlevel: info\n",
    "a base that is a list": "roles: {x: {base: [a]}}\n",
    "missing password file": "roles: {reader: {max_lag: x}}\n",
}


@pytest.mark.parametrize("more", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_file_changes_nothing_and_is_told(daemon: Daemon, more: str) -> None:
    other = free_port()
    daemon.start()
    daemon.configure(listen=(other,), more=more)
    daemon.signal(signal.SIGHUP)
    wait(lambda: not daemon.config()["last_reload_success"], "the reload has failed")

    assert not daemon.answers(other)
    (error,) = daemon.config()["errors"]
    assert error.startswith(f"{daemon.file}:")
    wait(lambda: daemon.lines("reload_failed") != [], "the line, which a thread writes")
    (line,) = daemon.lines("reload_failed")
    assert (line["level"], line["msg"], line["errors"]) == ("error", f"not reloaded: {error}", error)
    assert "Traceback" not in daemon.said()

    daemon.configure()
    daemon.signal(signal.SIGHUP)
    wait(lambda: bool(daemon.config()["last_reload_success"]), "the next reload succeeds")
    assert daemon.config()["errors"] == []


@pytest.mark.parametrize("content", ["", "- a list\n", "mysql: {password_file: /nowhere}\n"])
def test_an_invalid_file_of_another_kind(daemon: Daemon, content: str) -> None:
    daemon.start()
    daemon.file.write_text(content)
    daemon.signal(signal.SIGHUP)
    wait(lambda: not daemon.config()["last_reload_success"], "the reload has failed")

    assert daemon.get("/liveness")[0] == 200


def test_a_valid_file_opens_what_is_new_and_closes_what_is_gone(daemon: Daemon) -> None:
    first, second, moved = free_port(), free_port(), daemon.directory / "moved.sock"
    daemon.configure(listen=(first,))
    daemon.start()
    assert daemon.answers(first)

    daemon.configure(listen=(second,), more="roles: {analytics: {base: reader}}\n", control=str(moved))
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.answers(second), "the new address is open")
    wait(lambda: not daemon.answers(first), "the old address is closed")
    wait(lambda: daemon.get("/analytics")[1] == "down", "the new role has its verdict")
    assert daemon.by_control_socket(moved).startswith(b"HTTP/1.0 503")
    assert not daemon.control.exists()


def test_the_mode_of_the_control_socket_can_be_changed(daemon: Daemon) -> None:
    daemon.start()
    daemon.configure(control=f'{daemon.control}, mode: "0600"')
    daemon.signal(signal.SIGHUP)
    wait(lambda: "reloaded" in daemon.said(), "a word about the reload")

    assert daemon.config()["last_reload_success"]
    assert daemon.control.stat().st_mode & 0o777 == 0o600
    assert daemon.by_control_socket(daemon.control).startswith(b"HTTP/1.0 503")


def test_a_reload_that_fails_half_way_leaves_no_listener_behind(daemon: Daemon) -> None:
    new = free_port()
    daemon.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon.configure(listen=(new, taken.getsockname()[1]))
        daemon.signal(signal.SIGHUP)
        wait(lambda: not daemon.config()["last_reload_success"], "the reload has failed")
        assert not daemon.answers(new)

    daemon.configure(listen=(new,))
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.answers(new), "the new address is open")


def test_a_port_in_use_is_1_and_one_line(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon.port = taken.getsockname()[1]
        daemon.configure()
        done = daemon.run()

    assert (done.returncode, done.stdout) == (1, "")
    assert refusal(done) == f"http.listen: cannot listen on 127.0.0.1:{daemon.port}: Address already in use"


def test_a_second_agent_does_not_take_the_first_ones_socket(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start()
    assert daemon.run().returncode == 1
    assert daemon.by_control_socket(daemon.control)

    second = Daemon(tmp_path)
    second.file = tmp_path / "second.yaml"
    second.configure()
    done = second.run()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "another agent already listens" in line
    assert daemon.by_control_socket(daemon.control)


def test_a_socket_file_that_an_agent_left_behind_is_no_obstacle(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait(10)
    assert daemon.control.exists()

    daemon.start()
    assert daemon.by_control_socket(daemon.control)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a daemon that does not start."""
    (line,) = logfmt.lines(done.stderr)
    assert (line["event"], line["level"]) == ("start_failed", "error")
    assert line["msg"].startswith("not started: ")
    return line["msg"].removeprefix("not started: ")


def test_a_configuration_error_is_2_and_one_line_with_all_of_them(daemon: Daemon) -> None:
    daemon.configure(more="nonsense: 1\nlog: {level: loud}\n")
    done = daemon.run()

    assert (done.returncode, done.stdout) == (2, "")
    says = refusal(done)
    assert says.startswith(f"{daemon.file}:6: nonsense: unknown key")
    assert f"; {daemon.file}:7: log.level: " in says


@pytest.mark.parametrize(("more", "status"), [("nonsense: 1\n", 2), ("http: {listen: ['192.0.2.1:9200']}\n", 1)])
def test_a_daemon_that_cannot_start_ends_though_nobody_reads_what_it_says(
    daemon: Daemon, more: str, status: int
) -> None:
    daemon.file.write_text(f"state_dir: {daemon.directory}\n{more}")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    process = subprocess.Popen(daemon.command, stdout=writer, stderr=writer)
    try:
        assert process.wait(20) == status
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def test_an_address_of_another_host_is_1_and_one_line(daemon: Daemon) -> None:
    daemon.file.write_text(f'http: {{listen: ["192.0.2.1:9200"]}}\nstate_dir: {daemon.directory}\n')
    done = daemon.run()

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "192.0.2.1:9200" in line


def test_a_pid_file_that_never_answers_holds_neither_answers_nor_the_stop(daemon: Daemon) -> None:
    """A FIFO stands in for a file system that hangs."""
    fifo = daemon.directory / "fifo"
    os.mkfifo(fifo)
    daemon.configure()
    daemon.file.write_text(daemon.file.read_text().replace("no.sock", f"no.sock, pid_file: {fifo}"))
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "it has looked")
    assert daemon.stop() == 0


def test_another_listener_can_go_without_a_check_noticing(daemon: Daemon) -> None:
    other = free_port()
    daemon.configure(listen=(other,))
    daemon.start()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as check:
        check.sendall(b"GET /liveness HTTP/1.0\r\n")
        daemon.configure()
        daemon.signal(signal.SIGHUP)
        wait(lambda: not daemon.answers(other), "the other listener is gone")
        check.sendall(b"\r\n")
        assert check.recv(4096).startswith(b"HTTP/1.0 200 OK")


def test_a_group_that_does_not_exist_is_1_and_one_line(daemon: Daemon) -> None:
    daemon.configure(control=f"{daemon.control}, group: no-such-group")
    done = daemon.run()

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no-such-group" in line


def test_it_leaves_no_child_and_no_open_file_behind(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    wait(lambda: json.loads(daemon.get("/state")[2])["sample"]["sequence"] > 1, "two samples")
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        daemon.get("/any")
    daemon.configure()
    daemon.signal(signal.SIGHUP)
    wait(lambda: "reloaded" in daemon.said(), "the reload")

    wait(lambda: len(list(descriptors.iterdir())) <= before, "every connection is given back")


def test_a_wildcard_can_be_narrowed_and_widened_by_a_reload(daemon: Daemon) -> None:
    daemon.configure()
    narrow = daemon.file.read_text()
    wide = narrow.replace("127.0.0.1:", "0.0.0.0:")
    daemon.start()
    for times, text in enumerate((wide, narrow), start=1):
        daemon.file.write_text(text)
        daemon.signal(signal.SIGHUP)
        wait(lambda times=times: daemon.said().count(" reloaded: ") == times, "the reload")  # type: ignore[misc]
        assert daemon.answers(daemon.port)


def test_a_control_socket_that_somebody_removed_is_made_anew_by_a_reload(daemon: Daemon) -> None:
    daemon.configure()
    daemon.start()
    daemon.control.unlink()
    daemon.signal(signal.SIGHUP)
    wait(daemon.control.exists, "the socket is back")
    assert daemon.by_control_socket(daemon.control).startswith(b"HTTP/1.0 503")


def test_changes_are_accepted_on_the_control_socket_and_nowhere_else(daemon: Daemon) -> None:
    daemon.start()
    assert b"200 OK" in daemon.by_control_socket(daemon.control, "/ack", "POST")
    assert b"405 Method Not Allowed" in daemon.by_control_socket(daemon.control, "/ack")
    with socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(b"POST /ack HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.0 403 Forbidden\r\n")

    # one that a reload has opened is no other
    daemon.configure(control=f"{daemon.directory}/other.sock")
    daemon.signal(signal.SIGHUP)
    wait(lambda: not daemon.control.exists(), "the old socket is gone")
    assert b"200 OK" in daemon.by_control_socket(daemon.directory / "other.sock", "/ack", "POST")


def test_commands_that_ask_the_daemon(daemon: Daemon) -> None:
    daemon.start()
    wait(lambda: "reasons=down" in daemon.get("/writer")[2], "the first probe has ended")
    why, unknown, ack = daemon.ask("why", "writer"), daemon.ask("why", "wirter"), daemon.ask("ack", "--cluster")

    assert (why.returncode, why.stderr) == (0, "")
    assert any(line.startswith("failed reachable ") and "reason=down" in line for line in why.stdout.splitlines())
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "unknown role 'wirter'; roles: any, synced, reader" in unknown.stderr
    assert (ack.returncode, ack.stdout, ack.stderr) == (0, "nothing to acknowledge\n", "")

    daemon.stop()
    gone = daemon.ask("why", "writer")
    assert (gone.returncode, len(gone.stderr.splitlines())) == (3, 1)


# --- records and dry runs -------------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_written_is_an_error_of_the_log_and_no_more(daemon: Daemon) -> None:
    """Neither at the start nor at a reload: no verdict depends on it."""
    wrong = f"probe: {{record: {daemon.directory}/no/record}}\n"
    daemon.configure(more=wrong)
    daemon.start()
    wait(lambda: daemon.lines("file") != [], "a word about the file")
    (line,) = daemon.lines("file")
    assert (line["level"], line["file"]) == ("error", f"{daemon.directory}/no/record")
    assert f"there is no directory {daemon.directory}/no; make it" in line["msg"]
    daemon.configure(more=wrong + "tags: {dc: berlin}\n")
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.lines("reloaded") != [], "reloaded all the same")
    assert daemon.stop() == 0


@pytest.mark.parametrize("path", ["/", "/x/../q", '"/x/a\\nb"', "/x/"])
def test_a_record_that_is_no_name_of_a_file_is_an_error_of_the_configuration(daemon: Daemon, path: str) -> None:
    daemon.configure(more=f"probe: {{record: {path}}}\n")
    done = daemon.run()
    assert done.returncode == 2
    assert "probe.record: " in refusal(done)


def test_a_record_is_there_after_a_stop_and_goes_on_after_a_start(daemon: Daemon) -> None:
    file = daemon.directory / "record"
    daemon.configure(more=f"probe: {{record: {file}}}\n")
    for _ in range(2):
        daemon.start()
        wait(lambda: daemon.get("/any")[1] == "down", "the first sample")
        assert daemon.stop() == 0
    done = daemon.ask("replay", str(file), "--json")

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [event["event"] for event in found["events"]] == ["started", "stopped", "started", "stopped"]
    assert [course["states"][0]["to"] for course in found["courses"]] == ["down", "down"]


def test_nothing_goes_by_a_dry_run(daemon: Daemon) -> None:
    by_name = free_port()
    trial = "roles: {trial: {base: writer, dry_run: true}}\n"
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{by_name}": null}}', more=trial)
    daemon.start()
    wait(lambda: daemon.get("/any")[1] == "down", "the first sample")

    assert daemon.get("/trial")[:2] == (400, "Bad Request")
    assert json.loads(daemon.get("/state")[2])["roles"]["trial"]["dry_run"] is True
    assert agent_line(by_name, b"trial\n") == b"down #unknown\n"
    check, weighed, why = (
        daemon.ask("check", "trial"),
        daemon.ask("check", "trial", "--weight"),
        daemon.ask("why", "trial"),
    )
    assert (check.returncode, weighed.returncode, why.returncode) == (2, 1, 0)
    assert check.stderr.startswith("healthagent: trial is a dry run, nothing may go by it")


# --- agent-check ----------------------------------------------------------------------------------------------------


def agent_line(port: int, sent: bytes = b"") -> bytes:
    """What an agent-check port says; b"" where nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(sent)
            with client.makefile("rb") as answer:
                return answer.read()
    except OSError:
        return b""


def test_agent_check_says_what_http_says(daemon: Daemon) -> None:
    fixed, by_name = free_port(), free_port()
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{fixed}": writer, "127.0.0.1:{by_name}": null}}')
    daemon.start()
    wait(lambda: agent_line(fixed) == b"down #down\n", "the first probe has ended")
    assert daemon.get("/writer")[:2] == (503, "down")
    assert agent_line(by_name, b"reader\n") == b"down #down\n"
    assert agent_line(by_name, b"nobody\n") == b"down #unknown\n"
    assert f"127.0.0.1:{fixed} (agent-check, writer), 127.0.0.1:{by_name} (agent-check, role by agent-send)" in (
        daemon.said()
    )
    before = daemon.said()
    for _ in range(50):
        agent_line(fixed)
    assert daemon.said() == before, "no line in the log for a check"


def test_a_reload_opens_closes_and_changes_agent_check_ports(daemon: Daemon) -> None:
    kept, moved, gone, new = free_port(), free_port(), free_port(), free_port()
    ports = f'"127.0.0.1:{kept}": null'
    daemon.configure(agent_check=f'listen: {{{ports}, "127.0.0.1:{moved}": null, "127.0.0.1:{gone}": reader}}')
    daemon.start()
    wait(lambda: agent_line(gone) == b"down #down\n", "the first probe has ended")
    with socket.create_connection(("127.0.0.1", kept), timeout=5) as check:
        daemon.configure(
            agent_check=f'listen: {{{ports}, "127.0.0.1:{moved}": own, "127.0.0.1:{new}": own}}, admin_words: true',
            more="roles: {own: {base: reader}}\n",
        )
        daemon.signal(signal.SIGHUP)
        wait(lambda: agent_line(new) == b"down ready #down\n", "the new port has a new role and new words")
        wait(lambda: agent_line(gone) == b"", "the old port is closed")
        assert agent_line(moved) == b"down ready #down\n", "it waits for no name any more"
        check.sendall(b"own\n")
        assert check.recv(100) == b"down ready #down\n", "a port that stays keeps its clients"


def test_an_agent_check_port_can_become_one_of_http_and_back(daemon: Daemon) -> None:
    other = free_port()
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{other}": writer}}')
    daemon.start()
    assert agent_line(other).startswith(b"down #")
    daemon.configure(listen=(other,))
    daemon.signal(signal.SIGHUP)
    wait(lambda: " reloaded: " in daemon.said(), "the reload")
    assert daemon.answers(other)
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{other}": writer}}')
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.said().count(" reloaded: ") == 2, "the second reload")
    assert agent_line(other).startswith(b"down #"), "and agent-check again"


@pytest.mark.parametrize("installed", sorted({"uvloop" in LOOPS, False}))
def test_it_runs_on_uvloop_where_that_is_installed_and_without_as_well(
    daemon: Daemon, tmp_path: Path, installed: bool
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError")
    role, named = free_port(), free_port()
    ports = f'listen: {{"127.0.0.1:{role}": writer, "127.0.0.1:{named}": null}}'
    daemon.configure(agent_check=ports)
    daemon.start(modules=None if installed else hidden)
    assert daemon.process is not None
    assert ("uvloop" in Path(f"/proc/{daemon.process.pid}/maps").read_text()) is installed
    for path in ("/writer", "/writer?format=json", "/state"):
        assert daemon.get(path)[0] == (200 if path == "/state" else 503)
    assert agent_line(role).startswith(b"down #")
    assert agent_line(named, b"writer\n").startswith(b"down #")
    daemon.configure(agent_check=ports, more="log: {level: debug}\n")
    daemon.signal(signal.SIGHUP)
    wait(lambda: " reloaded: " in daemon.said(), "the reload")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()


def test_a_reload_that_cannot_open_an_agent_check_port_changes_nothing(daemon: Daemon) -> None:
    changed, new = free_port(), free_port()
    daemon.configure(agent_check=f'listen: {{"127.0.0.1:{changed}": writer}}')
    daemon.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = f'"127.0.0.1:{changed}": null, "127.0.0.1:{new}": reader, "127.0.0.1:{port}": reader'
        daemon.configure(agent_check=f"listen: {{{ports}}}")
        daemon.signal(signal.SIGHUP)
        wait(lambda: not daemon.config()["last_reload_success"], "the reload has failed")
        assert daemon.config()["errors"] == [
            f"agent_check.listen: cannot listen on 127.0.0.1:{port}: Address already in use"
        ]
    assert agent_line(new) == b""
    assert agent_line(changed).startswith(b"down #"), "as before: it does not wait for a name"


def test_an_agent_check_port_in_use_is_1_and_one_line(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.configure(agent_check=f'listen: {{"127.0.0.1:{port}": writer}}')
        done = daemon.run()

    assert (done.returncode, done.stdout) == (1, "")
    says = f"agent_check.listen: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert refusal(done) == says


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_of_the_bell_is_1_and_one_line(daemon: Daemon, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        place = f"[{host}]:{taken.getsockname()[1]}" if ":" in host else f"{host}:{taken.getsockname()[1]}"
        daemon.configure(more=f'probe: {{notify: "{place}"}}\n')
        done = daemon.run()

    assert (done.returncode, done.stdout) == (1, "")
    says = f"probe.notify: cannot listen on {place} (UDP): Address already in use"
    assert refusal(done) == says


def test_a_reload_that_fails_leaves_no_bell_behind(daemon: Daemon) -> None:
    """The bell is opened before the listeners, and one of these cannot be opened."""
    daemon.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bell = f'probe: {{notify: "127.0.0.1:{port}"}}\n'
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon.configure(listen=(taken.getsockname()[1],), more=bell)
        daemon.signal(signal.SIGHUP)
        wait(lambda: "not reloaded" in daemon.said(), "refused")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))
    daemon.configure(more=bell)
    daemon.signal(signal.SIGHUP)
    wait(lambda: daemon.config()["last_reload_success"], "reloaded")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late, pytest.raises(OSError, match="in use"):
        late.bind(("127.0.0.1", port))


def test_config_check_asks_the_daemon_what_became_of_the_reload(daemon: Daemon) -> None:
    """As ExecReload= does: the signal, and then this; a taken port does not stand in the file."""
    daemon.start()
    done = daemon.ask("config", "check", "--running")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{daemon.file}: ok\n", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.configure(listen=(port,))
        daemon.signal(signal.SIGHUP)
        done = daemon.ask("config", "check", "--running")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"healthagent: not reloaded: http.listen: cannot listen on 127.0.0.1:{port}")
    daemon.configure(control=str(daemon.directory / "moved.sock"))
    daemon.signal(signal.SIGHUP)
    assert daemon.ask("config", "check", "--running").returncode == 0


FAULT = """\
from healthagent import service

async def ends(*_):
    raise RuntimeError("a fault of ours")

service.{} = ends
"""


@pytest.mark.parametrize(("where", "status"), [("Service._take", 70), ("Listeners.adopt", 1)])
def test_a_fault_is_70_once_it_has_served(daemon: Daemon, where: str, status: int) -> None:
    """systemd restarts it at once then; what could not start (1) it tries again after 2 s."""
    modules = daemon.directory / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(FAULT.format(where))
    if status == 1:
        path = os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            daemon.command, capture_output=True, text=True, timeout=20, env={**os.environ, "PYTHONPATH": path}
        )
        assert (done.returncode, "a fault of ours" in done.stderr) == (1, True)
        return
    daemon.start(modules=modules)
    daemon.signal(signal.SIGHUP)
    assert daemon.process is not None
    assert daemon.process.wait(10) == status
    assert "the daemon ends: RuntimeError('a fault of ours')" in daemon.said()
