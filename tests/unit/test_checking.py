"""`healthagent check`: its exit statuses, whatever the command line and whatever answers."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthagent import checking, cli, places
from healthagent.checking import asked, exit_status, main
from healthagent.schema import SECTIONS
from tests.unit.test_asking import agent


def answer(verdict: str | None, weight: object = 0, *, code: int = 503, body: str = "a line\n") -> bytes:
    headers = "" if verdict is None else f"X-Healthagent-Verdict: {verdict}\r\nX-Healthagent-Weight: {weight}\r\n"
    return f"HTTP/1.1 {code} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


UP, DRAIN, DOWN = answer("up", 70, code=200), answer("drain"), answer("down")
UNKNOWN = answer(None, code=400, body="unknown path '/wirter'; roles: any, writer\n")

# what answers -> (status, status with --weight)
ANSWERS: dict[str, tuple[bytes, int, int]] = {
    "up": (UP, 0, 72),
    "up with the least weight": (answer("up", 1, code=200), 0, 3),
    "up with all of it": (answer("up", 100, code=200), 0, 102),
    "drain": (DRAIN, 1, 2),
    "drain as 404": (answer("drain", code=404), 1, 2),
    "down": (DOWN, 1, 1),
    "unknown role": (UNKNOWN, 2, 1),
    "no verdict, as /state": (answer(None, code=200, body="{}\n"), 2, 1),
    "an error": (answer(None, code=500, body="internal error\n"), 1, 1),
    "up with 503": (answer("up", 70), 1, 1),
    "down with 200": (answer("down", code=200), 1, 1),
    "drain with a weight": (answer("drain", 70), 1, 1),
    "up without a weight": (answer("up", "", code=200), 1, 1),
    "up with weight 0": (answer("up", 0, code=200), 1, 1),
    "up with a strange weight": (answer("up", "7x", code=200), 1, 1),
    "up with a weight of another alphabet": (answer("up", "²", code=200), 1, 1),
    "a word of another version": (answer("limping", 0), 1, 1),
    "a length that is no number": (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nx", 3, 1),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", 3, 1),
    "nothing": (b"", 3, 1),
    "half of it": (UP[:-3], 3, 1),
    "more than it says": (UP + b"x", 3, 1),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


@pytest.mark.parametrize(("told", "plain", "weighed"), ANSWERS.values(), ids=ANSWERS.keys())
def test_the_status_of_every_answer(path: Path, told: bytes, plain: int, weighed: int) -> None:
    with agent(path, told):
        assert main(["check", "writer", "--socket", str(path)]) == plain
        assert main(["check", "writer", "--weight", "--socket", str(path)]) == weighed


def test_it_asks_for_the_role_and_prints_the_line(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer("up", 70, code=200, body="OK reader weight=70 state=synced\n")) as asked_for:
        assert main(["--socket", str(path), "check", "reader", "--max-lag", "5s"]) == 0
        assert main(["check", "--max-lag=1.5s", f"--socket={path}", "--weight", "my-role_2"]) == 72
    assert asked_for == ["GET /reader?max_lag=5s HTTP/1.1", "GET /my-role_2?max_lag=1.5s HTTP/1.1"]
    assert capfd.readouterr() == ("OK reader weight=70 state=synced\n" * 2, "")


def test_what_the_agent_says_cannot_move_the_cursor(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with agent(path, answer("down", body="FAIL \x1b[2J\x07x\r\ny\n")):
        assert main(["check", "writer", "--socket", str(path)]) == 1
    assert capfd.readouterr().out == "FAIL  [2J x  y\n"


WRONG: dict[str, tuple[list[str], str]] = {
    "no role": ([], "ROLE is missing"),
    "an empty role": ([""], "ROLE is missing"),
    "two roles": (["writer", "reader"], "one ROLE, please, not 'writer reader'"),
    "a path": (["../state"], "unknown role '../state'"),
    "a query": (["writer?format=json"], "unknown role 'writer?format=json'"),
    "a line feed": (["writer\n"], "unknown role 'writer\\n'"),
    "capitals": (["Writer"], "unknown role 'Writer'"),
    "an unknown option": (["writer", "--wait"], "unknown option '--wait'"),
    "a misspelt option": (["writer", "--weigth"], "unknown option '--weigth'"),
    "a value for a switch": (["writer", "--weight=1"], "unknown option '--weight=1'"),
    "no lag": (["writer", "--max-lag"], "--max-lag needs a value"),
    "an empty lag": (["writer", "--max-lag="], "--max-lag needs a value"),
    "a strange lag": (["writer", "--max-lag", "5 s&x=1"], "--max-lag '5 s&x=1': must be a duration such as"),
    "no socket": (["writer", "--socket"], "--socket needs a value"),
}


@pytest.mark.parametrize(("argv", "says"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_is_2_and_with_weight_1(argv: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    weighs = any(word.startswith("--w") for word in argv)
    assert main(["check", *argv]) == (1 if weighs else 2)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"healthagent: {says}")
    assert main(["check", "--weight", *argv]) == 1


@pytest.mark.parametrize("word", ["--weigth", "--Weight", "--WEIGHT", "-weight", "-Weight", "-w", "-W", "--w", "--w=1"])
def test_a_misspelt_weight_is_1(path: Path, word: str) -> None:
    """misc_dynamic would take the 2 of wrong usage for a node that is well."""
    with agent(path, UP):
        for argv in ([word, "writer"], ["writer", word]):
            assert main(["check", *argv, "--socket", str(path)]) == 1


@contextmanager
def dripping(path: Path, beat_seconds: float) -> Iterator[None]:
    """What takes a connection and sends the beginning of an answer, a byte every so often."""
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            other, _ = listener.accept()
            with other, suppress(OSError):
                for byte in UP[:-1]:
                    if over.wait(beat_seconds):
                        return
                    other.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("beat", [0.02, 0.8, 100.0], ids=["drips", "drips slowly", "silent"])
def test_it_does_not_wait_beyond_its_deadline(path: Path, beat: float) -> None:
    with dripping(path, beat * checking.DEADLINE_SECONDS):
        began = time.monotonic()
        assert main(["check", "writer", "--socket", str(path)]) == 3
        assert time.monotonic() - began < 1.4 * checking.DEADLINE_SECONDS


def test_no_agent_is_3_and_with_weight_1(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "writer", "--socket", str(path)]) == 3
    assert capfd.readouterr().err == (
        f"healthagent: {path}: No such file or directory: is `healthagent serve` running?\n"
    )
    assert main(["check", "writer", "--socket", str(path), "--weight"]) == 1
    assert main(["check", "writer", "--socket", str(path) * 20]) == 3


def test_a_wrong_configuration_is_2(tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "healthagent.yaml"
    file.write_text("control: {socket: relative}\n")
    assert main(["check", "writer", "--config", str(file)]) == 2
    assert f"{file}:1: control.socket: 'relative': must be an absolute path" in capfd.readouterr().err
    assert main(["check", "writer", "--weight", "--config", "/nowhere"]) == 1
    file.write_text(f"control: {{socket: {path}}}\n")
    with agent(path, UP):
        assert main(["--config", str(file), "check", "writer"]) == 0


def test_help_says_how_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    told = capfd.readouterr().out
    for word in (
        "--max-lag",
        "--weight",
        "--socket",
        "--config",
        "0 up; 1 down",
        f"within {checking.DEADLINE_SECONDS:g} s",
    ):
        assert word in told
    assert main(["check", "-h", "--weight"]) == 1


@pytest.mark.parametrize("target", ["/dev/full", "closed"])
def test_the_status_counts_also_where_the_line_cannot_be_printed(path: Path, target: str) -> None:
    """Python itself would end with 120, which misc_dynamic takes for a weight."""
    where = ">&-" if target == "closed" else f">{target}"
    command = f"{sys.executable} -m healthagent check writer --weight --socket {path} {where}"
    with agent(path, UP):
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (72, "")


WORDS = st.one_of(
    st.sampled_from(["writer", "--weight", "--max-lag", "5s", "--socket", "/nowhere/s", "--config", "--", "-x", ""]),
    st.text(max_size=8),
)


@given(st.lists(WORDS, max_size=5))
def test_no_command_line_without_an_agent_is_well(words: list[str]) -> None:
    """With --weight everything but 1 would mean that all is well."""
    nowhere = ["--socket", "/nowhere/c.sock"]
    if {"-h", "--help"} & set(words):
        return
    assert main(["check", *words, *nowhere]) in (1, 2, 3)
    assert main(["check", "--weight", *words, *nowhere]) == 1


@given(st.sampled_from(["up", "drain", "down"]), st.integers(1, 100))
def test_statuses_are_those_of_the_contract(verdict: str, weight: int) -> None:
    weighed, plain = exit_status(verdict, weight, weighs=True), exit_status(verdict, weight, weighs=False)
    assert plain == (0 if verdict == "up" else 1)
    assert weighed == {"up": weight + 2, "drain": 2, "down": 1}[verdict]
    assert 0 < weighed < 256


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["check", "writer"], True),
        (["--socket", "/x", "check", "writer"], True),
        (["--config=/x", "check"], True),
        (["--config", "check", "serve"], False),
        (["config", "check"], False),
        (["serve"], False),
        ([], False),
        (["--help"], False),
    ],
)
def test_whose_command_line_it_is(argv: list[str], expected: bool) -> None:
    assert asked(argv) is expected


def test_cli_hands_over(path: Path) -> None:
    with agent(path, DRAIN):
        assert cli.main(["check", "writer", "--weight", "--socket", str(path)]) == 2


def test_the_default_socket_is_that_of_the_schema() -> None:
    assert SECTIONS["control"]["socket"].default == places.CONTROL_SOCKET


def test_it_loads_next_to_nothing() -> None:
    heavy = {"argparse", "asyncio", "dataclasses", "http", "json", "pathlib", "yaml", "socket", "healthagent.schema"}
    heavy |= {"prometheus_client", "prometheus_client.registry"}
    check = (
        "sys.argv = ['healthagent', 'check', 'any', '--socket', '/nowhere/c.sock'];"
        "from healthagent.__main__ import main; main();"
    )
    # what the interpreter itself loads (an editable install has a finder with pathlib) is not our doing
    before, after = (
        subprocess.run(
            [sys.executable, "-c", f"import sys; {what} print(*sys.modules)"], capture_output=True, check=True
        )
        for what in ("", check)
    )
    loaded = set(after.stdout.decode().split()) - set(before.stdout.decode().split())
    assert loaded & heavy == set()
    assert "healthagent.checking" in loaded
