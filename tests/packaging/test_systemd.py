"""The agent as a service of a real systemd, beside a real mariadb.service, in Debian 12 and 13."""

import time

from lab import wait_until
from tests.figures import measured
from tests.packaging.node import CONFIG, TRACK, UNIT, Node

WATCHDOG_SECONDS = 10.0
MAX_AGE_SECONDS = 3.0
TRACKED = """\
keepalived:
  track_files:
    - {role: writer, path: /run/healthagent-track/writer.alive, up: 1, down: 0}
    - {role: writer, path: /run/healthagent-track/writer.fault, up: 0, down: 1}
"""


def test_it_runs_as_its_own_user_and_says_so_in_a_line(node: Node) -> None:
    unit = node.unit(UNIT)

    assert (unit["ActiveState"], unit["UnitFileState"], unit["User"]) == ("active", "enabled", "healthagent")
    assert node.says("writer") == node.says("any") == node.says("reader") == "200"
    node.wait_status("standalone: writer up ")
    assert node.run("id", "-un", "healthagent").stdout == "healthagent\n"
    assert node.path("/run/healthagent/control.sock").is_socket()
    assert node.run("stat", "-c", "%a", "/var/lib/healthagent").stdout == "700\n"
    for path in ("/run/healthagent/control.sock", TRACK, "/var/lib/healthagent"):
        assert node.run("stat", "-c", "%U:%G", path).stdout == "healthagent:healthagent\n"


def warnings(node: Node, unit: str) -> list[str]:
    """What the agent warns of (4 in syslog(3)); that a role is down is none."""
    entries = [entry for entry in node.journal(unit) if entry.get("EVENT")]
    assert {"started", "role_change"} <= {entry["EVENT"] for entry in entries}
    told = [entry for entry in entries if entry["EVENT"] not in ("role_change", "state_change")]
    return [entry["MESSAGE"] for entry in told if int(entry["PRIORITY"]) <= 4]


def test_no_line_of_its_log_is_a_warning(node: Node) -> None:
    """Hardening has taken nothing away that the agent wants."""
    assert warnings(node, UNIT) == []


def test_what_it_needs_of_the_server_it_sees_through_its_hardening(node: Node) -> None:
    """The kernel's list of listeners, the size of the disk, and a process that is stopped: that shows a frozen server
    after one timeout of 0.8 s instead of two.
    """
    server = node.state()["server"]
    assert (server["client_port"]["open"], server["client_port"]["how"]) == (True, "listen")
    assert server["disk"]["total_bytes"] > 0
    node.systemctl("kill", "--signal=STOP", "mariadb")
    started = time.monotonic()
    node.wait_says("writer", "503 hung")
    measured(f"{node.suite}: mariadbd stopped by SIGSTOP is hung after {time.monotonic() - started:.1f} s")
    assert node.state()["process"]["state"] == "stopped"
    node.systemctl("kill", "--signal=CONT", "mariadb")
    node.wait_says("writer", "200")


def test_it_sees_the_script_of_a_state_transfer(node: Node) -> None:
    """Not a real one: a process of user mysql that looks like a joiner's. What can be seen of it is what is tested."""
    node.put("/opt/wsrep_sst_rsync", "#!/bin/bash\nsleep 60 & wait\n", mode=0o755)
    node.run("cp", "/bin/bash", "/opt/mariadbd")
    node.systemctl("stop", "mariadb")
    node.wait_says("writer", "503 down")
    joiner = "/bin/bash /opt/wsrep_sst_rsync --role joiner --address 127.0.0.1:4444 & wait"
    node.run("systemd-run", "--unit=joiner", "--uid=mysql", "/opt/mariadbd", "-c", joiner)
    try:
        node.wait_says("writer", "503 sst_joiner")
        (transfer,) = node.state()["process"]["transfers"]
        assert transfer["method"] == "rsync"
    finally:
        node.systemctl("stop", "joiner")


def test_its_exposure_is_small_and_its_units_are_sound(node: Node) -> None:
    security = node.run("systemd-analyze", "security", "--no-pager", UNIT).stdout.splitlines()[-1]
    exposure = float(security.split(": ")[1].split(" ")[0])
    measured(f"{node.suite}: systemd-analyze security {exposure}")
    assert exposure <= 2.0
    for unit in (UNIT, "healthagent@db2.service"):  # --man: what a minimal system leaves out
        said = node.run("systemd-analyze", "verify", "--man=no", unit)
        assert (said.stdout, said.stderr) == ("", "")


def test_a_reload_takes_the_new_configuration(node: Node) -> None:
    pid = node.agent_pid
    node.configure('http: {listen: ["127.0.0.1:9205"]}\n')
    node.systemctl("reload", UNIT)

    node.wait_says("writer", "200", port=9205)
    assert node.says("writer") == "refused"
    assert (node.agent_pid, node.unit(UNIT)["ActiveState"]) == (pid, "active")


def test_a_reload_that_is_refused_changes_nothing_and_fails(node: Node) -> None:
    """`systemctl reload` says so, and so does the status, until the file is well again."""
    pid = node.agent_pid
    node.configure("htp: {}\n")
    assert node.systemctl("reload", UNIT, check=False).returncode != 0

    node.wait_status(f"; not reloaded: {CONFIG}:1: htp: unknown key")
    assert node.says("writer") == "200"
    assert (node.agent_pid, node.unit(UNIT)["ActiveState"]) == (pid, "active")
    node.configure("{}\n")
    node.systemctl("reload", UNIT)
    wait_until(lambda: "not reloaded" not in node.unit(UNIT)["StatusText"], 10, "the status is well again")


def test_a_reload_fails_by_what_does_not_stand_in_the_file(node: Node) -> None:
    """A port that somebody else has: the file alone is well."""
    pid = node.agent_pid
    node.run("systemd-run", "--unit=taken", "python3", "-m", "http.server", "--bind", "127.0.0.1", "9333")
    try:
        wait_until(lambda: ":9333" in node.run("ss", "--listening", "--tcp", "--numeric").stdout, 10, "it is taken")
        node.configure('http: {listen: ["0.0.0.0:9200", "127.0.0.1:9333"]}\n')
        assert node.run("healthagent", "config", "check").returncode == 0
        assert node.systemctl("reload", UNIT, check=False).returncode != 0
        node.wait_status("; not reloaded: http.listen: cannot listen on 127.0.0.1:9333")
        assert (node.says("writer"), node.agent_pid) == ("200", pid)
    finally:
        node.systemctl("stop", "taken")
    node.systemctl("reload", UNIT)
    wait_until(lambda: "not reloaded" not in node.unit(UNIT)["StatusText"], 10, "the status is well again")


def test_what_it_may_write_under_its_sandbox(node: Node) -> None:
    """Debian's directory for node_exporter; any other one it is told that it cannot, when it starts."""
    textfile = "/var/lib/prometheus/node-exporter/healthagent.prom"
    for directory in (textfile.rpartition("/")[0], "/srv/ha"):
        node.run("install", "-d", "-o", "healthagent", directory)
    node.configure(f"metrics: {{textfile: {textfile}}}\nstate_dir: /srv/ha\n")
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")
    wait_until(node.path(textfile).exists, 10, "the file for node_exporter is there")
    assert any(says.startswith("state_dir /srv/ha: Read-only file system") for says in warnings(node, UNIT))


def test_a_fault_of_its_own_is_a_moment_as_well(node: Node) -> None:
    """What could not start waits for 2 s; what has served is wanted back."""
    fault = "from healthagent import service\nasync def ends(self):\n    raise RuntimeError('a fault of ours')\n"
    node.put("/opt/fault/sitecustomize.py", f"{fault}service.Service._take = ends\n")
    node.drop_in("[Service]\nEnvironment=PYTHONPATH=/opt/fault\n")
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")
    restarts = int(node.unit(UNIT)["NRestarts"])
    node.systemctl("kill", "--kill-whom=main", "--signal=HUP", UNIT)
    wait_until(lambda: node.agent_pid == 0 or int(node.unit(UNIT)["NRestarts"]) > restarts, 10, "it has ended")
    started = time.monotonic()
    wait_until(lambda: int(node.unit(UNIT)["NRestarts"]) == restarts + 1, 10, "it is started again")
    seconds = time.monotonic() - started
    node.wait_says("writer", "200")
    measured(
        f"{node.suite}: after a fault of its own, the agent says 200 again after {time.monotonic() - started:.2f} s"
    )
    assert any("status=70" in message for message in node.messages())
    assert seconds < 2


def test_a_configuration_that_is_wrong_is_tried_again_until_it_is_right(node: Node) -> None:
    """Not at once: what could not start would take a core of the database's."""
    node.configure("htp: {}\n")
    node.systemctl("stop", UNIT)
    assert node.systemctl("start", UNIT, check=False).returncode != 0
    restarts = int(node.unit(UNIT)["NRestarts"])
    wait_until(lambda: int(node.unit(UNIT)["NRestarts"]) > restarts, 10, "it is started again")
    assert node.says("writer") == "refused"
    node.configure("{}\n")
    node.wait_says("writer", "200")


def test_killed_it_is_back_within_a_moment(node: Node) -> None:
    restarts = int(node.unit(UNIT)["NRestarts"])
    node.run("kill", "-KILL", str(node.agent_pid))
    started = time.monotonic()
    wait_until(lambda: int(node.unit(UNIT)["NRestarts"]) == restarts + 1, 10, "it is started again")
    node.wait_says("writer", "200")
    measured(f"{node.suite}: killed, the agent says 200 again after {time.monotonic() - started:.2f} s")


def test_a_loop_that_is_frozen_is_ended_by_the_watchdog(node: Node) -> None:
    pid = node.agent_pid
    node.run("kill", "-STOP", str(pid))
    started = time.monotonic()
    wait_until(lambda: node.agent_pid not in (0, pid), 2 * WATCHDOG_SECONDS, "another one runs")
    measured(f"{node.suite}: frozen, the agent is replaced after {time.monotonic() - started:.1f} s")
    assert time.monotonic() - started > WATCHDOG_SECONDS / 2 - 1
    assert any("Watchdog timeout" in message for message in node.messages())
    node.wait_says("writer", "200")


def test_without_its_server_it_goes_on(node: Node) -> None:
    pid = node.agent_pid
    node.systemctl("stop", "mariadb")
    node.wait_says("writer", "503 down")
    assert node.unit(UNIT)["ActiveState"] == "active"
    node.wait_status("down: writer down (down), reader down (down), any down (down)")
    node.systemctl("restart", UNIT)  # it starts without a server, too
    node.wait_says("writer", "503 down")
    assert node.agent_pid not in (0, pid)
    node.systemctl("start", "mariadb")
    node.wait_says("writer", "200")


def test_a_restart_leaves_a_track_file_as_it_is(node: Node) -> None:
    node.configure(TRACKED)
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")
    wait_until(lambda: node.path(f"{TRACK}/writer.alive").read_text() == "1\n", 5, "the track file says up")
    directory = node.path(TRACK).stat().st_ino
    with node.watched("writer.alive") as alive, node.watched("writer.fault") as fault:
        node.systemctl("restart", UNIT)
        node.wait_says("writer", "200")
        restarts = node.unit(UNIT)["NRestarts"]
        node.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
        wait_until(lambda: node.unit(UNIT)["NRestarts"] != restarts, 10, "it is started again")
        node.wait_says("writer", "200")
    assert (alive, fault) == (["1"], ["0"])
    assert node.path(TRACK).stat().st_ino == directory  # keepalived's watch is on this one


def test_stopped_for_good_its_track_files_say_down(node: Node) -> None:
    node.configure(TRACKED)
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")
    wait_until(lambda: node.path(f"{TRACK}/writer.alive").read_text() == "1\n", 5, "the track file says up")
    with node.watched("writer.alive") as alive:
        node.systemctl("stop", UNIT)
        started = time.monotonic()
        wait_until(lambda: alive[-1] == "0", 2 * MAX_AGE_SECONDS, "the track file says down")
        measured(f"{node.suite}: stopped for good, its track file says down after {time.monotonic() - started:.1f} s")
    assert node.path(f"{TRACK}/writer.fault").read_text() == "1\n"
    wait_until(lambda: "trackwriter" not in node.run("ps", "ax").stdout, 5, "its writer has ended")


def test_a_track_directory_that_is_made_again_is_written_to(node: Node) -> None:
    """The mount that hardening makes is not that of the directory which was there at the start."""
    node.configure(TRACKED)
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")
    node.run("rm", "-r", TRACK)
    node.run("systemd-tmpfiles", "--create", "healthagent.conf")
    wait_until(lambda: node.path(f"{TRACK}/writer.alive").read_text().strip() == "1", 5, "the track file says up")


def test_the_password_by_a_credential_of_systemd(node: Node) -> None:
    """Over TCP, where there is no unix_socket login; and no place of the machine where others could read it."""
    node.sql("CREATE OR REPLACE USER agent@127.0.0.1 IDENTIFIED BY 'sword fish'")
    node.sql("GRANT SLAVE MONITOR ON *.* TO agent@127.0.0.1")
    node.put("/etc/healthagent/password", "sword fish\n", mode=0o600)
    node.drop_in("[Service]\nLoadCredential=password:/etc/healthagent/password\n")
    node.configure("mysql: {host: 127.0.0.1, user: agent}\n")
    node.systemctl("restart", UNIT)

    node.wait_says("writer", "200")
    assert node.state()["server"]["client_port"]["how"] == "login"


def test_without_the_library_that_is_only_recommended(node: Node) -> None:
    """python3-uvloop: everything works all the same."""
    there, away = "/usr/lib/python3/dist-packages", "/opt/away"
    node.run("mkdir", "-p", away)
    node.run("mv", f"{there}/uvloop", away)
    try:
        node.systemctl("restart", UNIT)
        node.wait_says("writer", "200")
        node.wait_status("standalone: writer up ")
    finally:
        node.run("mv", f"{away}/uvloop", there)


def test_a_second_server_has_a_unit_and_a_configuration_of_its_own(node: Node) -> None:
    node.put(
        "/etc/healthagent/db2.yaml",
        "mysql: {socket: /run/mysqld/mysqld.sock}\n"
        'http: {listen: ["0.0.0.0:9300"]}\n'
        "agent_check: {listen: {}}\n"
        "control: {socket: /run/healthagent/db2.sock}\n"
        "state_dir: /var/lib/healthagent/db2\n",
    )
    node.systemctl("start", "healthagent@db2")
    try:
        node.wait_says("writer", "200", port=9300)
        socket = "/run/healthagent/db2.sock"
        assert node.run("healthagent", "check", "writer", "--socket", socket).stdout.startswith("OK writer")
        node.systemctl("reload", "healthagent@db2")
        node.systemctl("restart", UNIT)
        assert node.says("writer", port=9300) == "200"
        assert warnings(node, "healthagent@db2") == []
    finally:
        node.systemctl("stop", "healthagent@db2")


def test_others_may_ask_the_control_socket_by_a_group_of_theirs(node: Node) -> None:
    node.configure("control: {socket: /run/healthagent/control.sock, group: haproxy}\n")
    node.drop_in("[Service]\nSupplementaryGroups=haproxy\n")
    node.systemctl("restart", UNIT)
    node.wait_says("writer", "200")

    asked = node.run(
        "runuser", "-u", "haproxy", "--", "healthagent", "check", "writer", "--socket", "/run/healthagent/control.sock"
    )
    assert asked.stdout.startswith("OK writer")
