"""The server's process and its transfers, out of a /proc of our own making (the formats are those of proc(5))."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from healthagent import process
from healthagent.facts import Evidence, ProcessState, Transfer
from healthagent.process import ServerProcess

DONOR = ("bash", "/usr//bin/wsrep_sst_rsync", "--role", "donor", "--address", "127.0.0.1:14599/rsync_sst")
JOINER = ("bash", "/usr//bin/wsrep_sst_mariabackup", "--role", "joiner", "--address", "127.0.0.1:14599")
SHELL = ("sh", "-c", "wsrep_sst_rsync --role 'donor' --address '127.0.0.1:14599/rsync_sst'")


class Proc:
    """A /proc in a directory; `server` 100 lives in `datadir`."""

    def __init__(self, root: Path) -> None:
        self.root, self.datadir = root / "proc", root / "data"
        self.datadir.mkdir()
        self.root.mkdir()
        (self.root / "uptime").write_text("1.0 1.0\n")
        self.add(1, "systemd", parent=0)
        self.add(100, "mariadbd")

    def add(
        self,
        pid: int,
        name: str,
        *arguments: str,
        parent: int = 1,
        letter: str = "S",
        flags: int = 0x400100,
        started: int = 7000,
        cwd: Path | None = None,
    ) -> None:
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True)
        fields = [letter, parent, pid, pid, 0, -1, flags, *[0] * 12, started, *[0] * 30]
        (directory / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, fields))}\n")
        (directory / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in arguments or (name,)))
        if not (directory / "cwd").is_symlink():
            (directory / "cwd").symlink_to(cwd or self.datadir)

    def remove(self, pid: int) -> None:
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    found = Proc(tmp_path)
    monkeypatch.setattr(process, "PROC", found.root)
    return found


def server(proc: Proc) -> ServerProcess:
    """One that has answered us."""
    found = ServerProcess(str(proc.datadir))
    found.adopt(100)
    return found


def transfers(found: ServerProcess) -> tuple[Transfer, ...] | None:
    return found.look(transfers=True).transfers


def test_a_server_that_answers_is_alive(proc: Proc) -> None:
    assert server(proc).look(transfers=True) == Evidence(process=ProcessState.ALIVE, transfers=())


def test_transfers_are_not_looked_for_unasked(proc: Proc) -> None:
    assert server(proc).look(transfers=False) == Evidence(process=ProcessState.ALIVE, transfers=None)


@pytest.mark.parametrize(
    ("letter", "flags", "state"),
    [
        ("R", 0, ProcessState.ALIVE),
        ("D", 0, ProcessState.ALIVE),
        ("T", 0, ProcessState.STOPPED),
        ("t", 0, ProcessState.STOPPED),
        ("Z", 0, ProcessState.EXITING),
        ("X", 0, ProcessState.EXITING),
        ("D", 0x4, ProcessState.EXITING),
    ],
)
def test_what_the_kernel_says_of_it(proc: Proc, letter: str, flags: int, state: ProcessState) -> None:
    found = server(proc)
    proc.add(100, "mariadbd", letter=letter, flags=flags)

    assert found.look(transfers=False).process is state


def test_a_server_that_has_gone(proc: Proc) -> None:
    found = server(proc)
    proc.remove(100)

    assert found.look(transfers=True) == Evidence(process=ProcessState.GONE)


def test_a_reused_pid_is_another_process(proc: Proc) -> None:
    found = server(proc)
    proc.remove(100)
    proc.add(100, "bash", started=9000)

    assert found.look(transfers=True).process is ProcessState.GONE


def test_a_server_that_was_started_again_is_new(proc: Proc) -> None:
    found = server(proc)
    proc.remove(100)
    proc.add(200, "mariadbd", started=9000)

    assert found.look(transfers=False).process is ProcessState.NEW
    found.adopt(200)
    assert found.look(transfers=False).process is ProcessState.ALIVE


def test_nothing_is_known_of_a_server_that_was_never_seen(proc: Proc) -> None:
    proc.remove(100)

    assert ServerProcess(str(proc.datadir)).look(transfers=True) == Evidence()


def test_without_a_proc_nothing_is_known(proc: Proc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "PROC", tmp_path / "nothing")

    assert ServerProcess(str(proc.datadir)).look(transfers=True) == Evidence()


# --- which one is ours ----------------------------------------------------------------------------------------------


def test_the_only_server_is_ours(proc: Proc) -> None:
    assert ServerProcess().look(transfers=False).process is ProcessState.NEW


def test_of_two_servers_the_one_in_our_datadir_is_ours(proc: Proc, tmp_path: Path) -> None:
    proc.add(99, "mariadbd", cwd=tmp_path, letter="T")

    assert ServerProcess(str(proc.datadir)).look(transfers=False).process is ProcessState.NEW
    assert ServerProcess(str(tmp_path)).look(transfers=False).process is ProcessState.STOPPED


def test_of_two_servers_without_a_word_about_ours_none_is(proc: Proc, tmp_path: Path) -> None:
    proc.add(99, "mysqld", cwd=tmp_path)

    assert ServerProcess().look(transfers=False) == Evidence()


def test_a_server_elsewhere_is_not_ours(proc: Proc, tmp_path: Path) -> None:
    assert ServerProcess(str(tmp_path / "other")).look(transfers=False) == Evidence()


def test_the_pid_file_names_it(proc: Proc, tmp_path: Path) -> None:
    proc.add(99, "mariadbd", cwd=tmp_path, letter="T")
    (tmp_path / "pid").write_text("99\n")

    assert ServerProcess(None, str(tmp_path / "pid")).look(transfers=False).process is ProcessState.STOPPED


@pytest.mark.parametrize("content", ["", "x", "1", "-5", "99999"])
def test_a_pid_file_that_is_wrong_is_not_believed(proc: Proc, tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)

    found = ServerProcess(str(proc.datadir), str(tmp_path / "pid")).look(transfers=False)
    assert found.process is ProcessState.NEW


def test_a_socket_unit_is_not_the_server(proc: Proc) -> None:
    """Where systemd opened the socket, its peer is process 1."""
    found = ServerProcess(str(proc.datadir))
    found.adopt(1)

    assert found.look(transfers=False).process is ProcessState.ALIVE


# --- transfers ------------------------------------------------------------------------------------------------------


def test_a_donor(proc: Proc) -> None:
    proc.add(101, "sh", *SHELL, parent=100)
    proc.add(102, "wsrep_sst_rsync", *DONOR, parent=101)
    proc.add(103, "rsync", "rsync", "--owner", parent=102)

    assert transfers(server(proc)) == (Transfer(joiner=False, method="rsync"),)


def test_an_ist_is_a_bypass(proc: Proc) -> None:
    proc.add(101, "wsrep_sst_rsync", *DONOR, "--bypass", parent=100)

    assert transfers(server(proc)) == (Transfer(joiner=False, method="rsync", bypass=True),)


def test_a_joiner_that_is_not_up_yet(proc: Proc) -> None:
    proc.add(101, "wsrep_sst_maria", *JOINER, parent=100)

    found = ServerProcess(str(proc.datadir)).look(transfers=True)
    assert replace(found, progress=None) == Evidence(
        process=ProcessState.NEW, transfers=(Transfer(joiner=True, method="mariabackup"),)
    )


def test_the_copies_that_a_script_forks_of_itself_are_one_transfer(proc: Proc) -> None:
    proc.add(101, "wsrep_sst_maria", *JOINER, parent=100)
    proc.add(102, "wsrep_sst_maria", *JOINER, parent=101)

    assert len(transfers(server(proc)) or ()) == 1


def test_the_transfer_of_another_server_is_not_ours(proc: Proc, tmp_path: Path) -> None:
    proc.add(200, "mariadbd", cwd=tmp_path)
    proc.add(201, "wsrep_sst_rsync", *DONOR, parent=200)

    assert transfers(server(proc)) == ()


def test_the_pid_file_of_the_script_tells_before_proc_is_searched(proc: Proc) -> None:
    (proc.datadir / "wsrep_sst.pid").write_text("300\n")
    proc.add(300, "bash", *DONOR)

    assert transfers(server(proc)) == (Transfer(joiner=False, method="rsync"),)


@pytest.mark.parametrize("content", ["300", "400", "", "nonsense"])
def test_a_pid_file_that_a_script_left_behind_tells_nothing(proc: Proc, content: str) -> None:
    (proc.datadir / "wsrep_sst.pid").write_text(content)
    proc.add(300, "cron")
    assert transfers(server(proc)) == ()

    proc.add(101, "bash", *DONOR, "--bypass", parent=100)
    assert transfers(server(proc)) == (Transfer(joiner=False, method="rsync", bypass=True),)


@pytest.mark.parametrize(
    "arguments",
    [
        ("vim", "/usr/bin/wsrep_sst_rsync"),
        ("bash", "/usr/bin/wsrep_sst_rsync", "--role", "spectator"),
        ("bash", "-c", "echo wsrep_sst_rsync --role donor"),
        ("grep", "wsrep_sst_", "--role", "x"),
        (),
    ],
)
def test_what_only_looks_like_a_transfer(proc: Proc, arguments: tuple[str, ...]) -> None:
    proc.add(101, "bash", *arguments, parent=100)

    assert transfers(server(proc)) == ()


@pytest.mark.parametrize("stat", ["", "garbage", "101 (x", "101 (x) S", "101 (a) b) S 1 2", "\xff\xfe"])
def test_a_stat_that_makes_no_sense_is_no_process(proc: Proc, stat: str) -> None:
    (proc.root / "101").mkdir()
    (proc.root / "101" / "stat").write_text(stat)

    assert process.read_stat(101) is None


def test_a_name_with_blanks_and_brackets(proc: Proc) -> None:
    proc.add(101, "a (b) S 1", parent=42, started=5)

    assert process.read_stat(101) == process.Stat(101, "a (b) S 1", "S", 42, 0x400100, 5)


def test_progress_begins_with_the_script_and_ends_with_it(proc: Proc) -> None:
    known = server(proc)
    proc.add(200, "wsrep_sst_maria", *JOINER, parent=100, started=9000)
    began = known.look(transfers=True).progress
    assert began is not None
    assert (began.started_at, began.done_bytes) == (9000 / os.sysconf("SC_CLK_TCK"), None)
    proc.remove(200)
    assert known.look(transfers=True).progress is None
    proc.add(300, "wsrep_sst_maria", *JOINER, parent=100, started=12000)
    again = known.look(transfers=True).progress
    assert again is not None
    assert again.started_at == 12000 / os.sysconf("SC_CLK_TCK")


def test_a_look_that_does_not_ask_forgets_no_progress(proc: Proc) -> None:
    known = server(proc)
    proc.add(200, "wsrep_sst_maria", *JOINER, parent=100, started=9000)
    known.look(transfers=True)
    receiving = known._receiving
    assert known.look(transfers=False).progress is None
    known.look(transfers=True)
    assert known._receiving is receiving is not None


def test_a_donor_shows_no_progress(proc: Proc) -> None:
    known = server(proc)
    proc.add(200, "wsrep_sst_rsync", *DONOR, parent=100)
    assert known.look(transfers=True).progress is None


# --- listens --------------------------------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def socket_line(local: str, state: str = "0A") -> str:
    return f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000   100        0 1 1 0 100\n"


def network(proc: Proc, *, tcp: str = "", tcp6: str = "") -> None:
    directory = proc.root / "100" / "net"
    directory.mkdir(exist_ok=True)
    (directory / "tcp").write_text(HEAD + tcp)
    (directory / "tcp6").write_text(HEAD + tcp6)


ANY6, LOOPBACK6, MAPPED = "0" * 32, "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0C00000A"


@pytest.mark.skipif("sys.byteorder != 'little'", reason="the lines below are those of such a machine")
@pytest.mark.parametrize(
    ("tcp", "tcp6", "address", "expected"),
    [
        (socket_line("00000000:0CEA"), "", None, True),
        (socket_line("0C00000A:0CEA"), "", "10.0.0.12", True),
        (socket_line("0C00000A:0CEA"), "", "10.0.0.12,127.0.0.1", True),
        (socket_line("00000000:0CEA"), "", "10.0.0.12", True),
        (socket_line("0C00000A:0CEA"), "", "*", True),
        (socket_line("0C00000A:0CEA"), "", "a-name", True),
        (socket_line("0100007F:0CEA"), "", "10.0.0.12", False),  # HAProxy may listen beside it
        ("", socket_line(f"{ANY6}:0CEA"), "10.0.0.12", True),
        ("", socket_line(f"{LOOPBACK6}:0CEA"), "::1", True),
        ("", socket_line(f"{MAPPED}:0CEA"), "10.0.0.12", True),
        (socket_line("00000000:0CEB"), socket_line(f"{ANY6}:0016"), None, False),
        (socket_line("00000000:0CEA", "01"), "", None, False),
        ("garbage\n", "", None, False),
    ],
)
def test_listens(proc: Proc, tcp: str, tcp6: str, address: str | None, expected: bool) -> None:
    network(proc, tcp=tcp, tcp6=tcp6)
    assert process.listens(100, 3306, address) is expected


def test_what_cannot_be_seen_is_not_known(proc: Proc) -> None:
    assert process.listens(100, 3306, None) is None
