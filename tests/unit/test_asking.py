"""The commands that ask the daemon: which socket, what they print, how they end; the daemon is a canned answer."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from healthagent import asking, cli, client
from healthagent.errors import HealthagentError, UnreachableError

GATE = {"gate": "fresh", "passed": True, "pending": False, "reason": None, "since": "2026-11-21T01:55:01.000Z"}
WHY: list[dict[str, Any]] = [
    {**GATE, "value": 0.102, "limit": 3.0},
    {**GATE, "gate": "desync", "reason": "desynced", "value": "wsrep_desync", "limit": 4, "pending": True},
    {**GATE, "gate": "writable", "passed": False, "reason": "read_only", "value": True, "limit": False},
    {**GATE, "gate": "reachable", "passed": False, "reason": "down", "value": "a\nb\x1b[31mc", "limit": None},
    {"gate": "weight", "factor": "lag", "passed": True, "value": 0.8},
]


@contextmanager
def agent(path: Path, answer: bytes) -> Iterator[list[str]]:
    """A listener on `path` that gives each client the same bytes; yields the request lines it has read."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    other, _ = listener.accept()
                except OSError:  # closed: the test is over
                    return
                with other:
                    asked.append(other.recv(65536).split(b"\r\n")[0].decode())
                    other.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(body: Any, code: int = 200) -> bytes:
    told = (body if isinstance(body, str) else json.dumps(body) + "\n").encode()
    return f"HTTP/1.1 {code} X\r\nContent-Length: {len(told)}\r\n\r\n".encode() + told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


def test_why_is_one_line_for_each_gate_and_each_factor(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer(WHY)) as asked:
        assert cli.main(["why", "writer", "--socket", str(path)]) == 0

    assert asked == ["GET /why?role=writer HTTP/1.1"]
    assert capsys.readouterr().out.splitlines() == [
        "passed fresh      since 2026-11-21T01:55:01.000Z  0.102 (limit 3.0)",
        "held   desync     since 2026-11-21T01:55:01.000Z  reason=desynced  wsrep_desync (limit 4)",
        "failed writable   since 2026-11-21T01:55:01.000Z  reason=read_only  true (limit false)",
        "failed reachable  since 2026-11-21T01:55:01.000Z  reason=down  a b [31mc",
        "factor lag 0.8",
    ]


def test_why_before_the_first_sample(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer([])):
        assert cli.main(["why", "any", "--socket", str(path)]) == 0
    assert capsys.readouterr().out == "nothing is known yet: no probe has ended\n"


def test_why_as_json_is_the_answer_as_it_came(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer(WHY)):
        assert cli.main(["why", "writer", "--json", "--socket", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == WHY


def test_an_unknown_role_is_2_and_told_what_is_known(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer("unknown role 'x&y'; roles: any, writer\n", 400)) as asked:
        assert cli.main(["why", "x&y ü", "--socket", str(path)]) == 2

    assert asked == ["GET /why?role=x%26y%20%C3%BC HTTP/1.1"]
    assert capsys.readouterr() == ("", "healthagent: unknown role 'x&y'; roles: any, writer\n")


@pytest.mark.parametrize(
    ("argv", "asked"), [([], "POST /ack HTTP/1.1"), (["--cluster"], "POST /ack?cluster=1 HTTP/1.1")]
)
def test_ack_prints_what_was_acknowledged(
    argv: list[str], asked: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(path, answer("acknowledged: inconsistent\n")) as seen:
        assert cli.main(["ack", *argv, "--socket", str(path)]) == 0

    assert seen == [asked]
    assert capsys.readouterr().out == "acknowledged: inconsistent\n"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("command", [["why", "any"], ["ack"]], ids=" ".join)
def test_the_socket_is_named_or_found_in_the_configuration(
    before: bool, command: list[str], path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "healthagent.yaml"
    # neither does a password that is not ours to read matter, nor what is being edited elsewhere in the file
    file.write_text(f"mysql: {{password_file: /nowhere}}\nhttp: nonsense\ncontrol: {{socket: {path}}}\n")
    for named in (["--socket", str(path)], ["--config", str(file)], ["--config", "/nowhere", "--socket", str(path)]):
        with agent(path, answer([])) as asked:
            assert cli.main([*named, *command] if before else [*command, *named]) == 0
            assert len(asked) == 1
        path.unlink()


@pytest.mark.parametrize("command", [["why", "writer"], ["why", "writer", "--json"], ["ack"]], ids=" ".join)
def test_no_agent_is_3_and_one_line(command: list[str], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--socket", str(path)]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"healthagent: {path}: No such file or directory: is `healthagent serve` running?\n"


def test_what_is_no_agent_is_3_and_one_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(found: Path) -> str:
        assert cli.main(["ack", "--socket", str(found)]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        return line

    (tmp_path / "file").touch()
    assert "Connection refused: is `healthagent serve` running?" in told(tmp_path / "file")
    assert "AF_UNIX path too long" in told(tmp_path / ("x" * 200))
    for wrong in (b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"):
        with agent(path, wrong):
            assert str(path) in told(path)
        path.unlink()


def test_an_agent_that_does_not_answer_is_3(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped by SIGSTOP: the kernel takes the connection, and nobody reads."""
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert cli.main(["ack", "--socket", str(path)]) == 3
    assert "the agent has not answered for 0.1 s" in capsys.readouterr().err


def test_an_agent_that_knows_no_such_parameter_is_1(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer("unknown parameter 'cluster'\n", 400)):
        assert cli.main(["ack", "--cluster", "--socket", str(path)]) == 1
    assert capsys.readouterr() == ("", "healthagent: the agent is of another version: unknown parameter 'cluster'\n")


@pytest.mark.parametrize("code", [403, 405, 500, 503])
def test_an_agent_that_cannot_is_1(path: Path, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer("internal error\n", code)):
        assert cli.main(["ack", "--socket", str(path)]) == 1
    assert capsys.readouterr() == ("", f"healthagent: {path}: the agent answers {code}: internal error\n")


@pytest.mark.parametrize("body", ["", "{}", "[1]", "<html>", '[{"gate": "x"}]', '[{"factor": 1}]'])
def test_an_answer_that_is_not_understood_is_1(path: Path, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer(body)):
        assert cli.main(["why", "any", "--socket", str(path)]) == 1
    assert "is not understood" in capsys.readouterr().err


def test_the_socket_is_for_the_commands_that_ask(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--socket", "/tmp/x", "config", "show"])
    assert caught.value.code == 2
    assert "why, ack" in capsys.readouterr().err


def test_asking_loads_neither_the_http_server_nor_the_database_client(path: Path) -> None:
    """Loading these takes longer than everything else that such a command does."""
    script = (
        f"import sys; from healthagent import cli; cli.main(['ack', '--socket', {str(path)!r}]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert {"aiohttp", "aiomysql", "pymysql"} & set(done.stdout.split()) == set()


def test_a_reload_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reloading` is said until every signal that came before has been seen to; an older agent does not say it."""
    told = [{"reloading": True, "last_reload_success": True}, {"last_reload_success": True}]
    monkeypatch.setattr(asking, "ask", lambda *_: client.Reply(200, {}, json.dumps({"config": told.pop(0)})))
    asking.reloaded(path)
    assert told == []


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ({"config": {"reloading": True}}, HealthagentError, "has not ended its reload"),
        ({"config": {"last_reload_success": False, "errors": ["a\nb", "c"]}}, HealthagentError, "not reloaded: a b; c"),
        ({"config": {}}, HealthagentError, "not reloaded: for a reason that it does not tell"),
        ({"config": None}, HealthagentError, "is not understood"),
        ("nonsense", HealthagentError, "is not understood: nonsense"),
        (None, UnreachableError, "is `healthagent serve` running?"),
    ],
)
def test_a_reload_that_was_not_taken(
    path: Path, body: Any, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RELOAD_SECONDS", 0.2)
    with pytest.raises(error, match=re.escape(says)):
        if body is None:
            asking.reloaded(path)
        else:
            with agent(path, answer(body)):
                asking.reloaded(path)
