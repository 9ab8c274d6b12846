"""A YAML file -> settings, or every problem at once: path of the file, line, dotted key, what would be right."""

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import yaml

from healthagent import config
from healthagent.config import Config
from healthagent.document import control_socket
from healthagent.errors import ConfigError
from healthagent.kinds import duration_seconds, spoken
from healthagent.policy import Amount, Base, FlowControl, PrimaryLost, Role, Topology, Weights
from healthagent.reasons import Gate
from healthagent.schema import IGNORABLE, ROLE_SETTINGS, SECTIONS, WEIGHTS
from healthagent.session import Watch

SECRET = "hunter2-swordfish"


@pytest.fixture(autouse=True)
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ~/.my.cnf of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "healthagent.yaml"


def loaded(file: Path, text: str) -> Config:
    file.write_text(text)
    return config.load(file)


def lines(file: Path, text: str) -> list[str]:
    """The problems of `text`, the file's name cut off."""
    with pytest.raises(ConfigError) as caught:
        loaded(file, text)
    assert all(line.startswith(f"{file}:") and "\n" not in line for line in caught.value.lines())
    return [line.removeprefix(f"{file}:") for line in caught.value.lines()]


# --- what is right --------------------------------------------------------------------------------------------------


def test_the_defaults_work_on_a_database_node() -> None:
    found = config.load(None)

    assert (found.login.socket, found.login.password) == ("/run/mysqld/mysqld.sock", "")
    assert found.login.local
    assert found.listen == (("0.0.0.0", 9200),)
    assert (found.interval_seconds, found.timeout_seconds, found.policy.max_age_seconds) == (0.5, 0.8, 3.0)
    assert str(found.control.socket) == "/run/healthagent/control.sock"
    assert (found.control.mode, found.control.group) == (0o660, None)
    assert str(found.state_dir) == "/var/lib/healthagent"
    assert (found.log_level, found.log_format) == ("info", "auto")
    assert found.policy.topology is Topology.AUTO
    assert [role.name for role in found.policy.roles] == ["any", "synced", "reader", "candidate", "writer", "replica"]
    assert found.warnings == ()


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        config.load(None).log_level = "debug"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["{}", "# nothing yet\n", "---\n", "mysql:\nprobe:\nroles:\n", "mysql: {user: }\n"])
def test_a_file_that_says_nothing_is_the_defaults(file: Path, text: str) -> None:
    assert loaded(file, text).settings == config.load(None).settings


def test_every_setting(file: Path) -> None:
    found = loaded(
        file,
        """
mysql: {host: 10.0.0.11, port: 3307, user: agent, password: s, topology: galera, datadir: /data, pid_file: /run/x}
probe: {interval: 250ms, timeout: 1s, max_age: 5s}
roles:
  any: {donor: true, desync: true}
  reader: {max_lag: 1m, donor: true, desync: true, require_replication: false, exclude_writer: true}
http: {listen: ["127.0.0.1:80", "[::1]:81", ":82"]}
control: {socket: /tmp/x.sock, mode: "0600", group: adm}
state_dir: /tmp/state
log: {level: debug, format: json}
""",
    )

    assert (found.login.host, found.login.port, found.login.user) == ("10.0.0.11", 3307, "agent")
    assert (found.login.socket, found.login.local) == (None, False)
    assert found.policy.topology is Topology.GALERA
    assert (found.login.datadir, found.login.pid_file) == ("/data", "/run/x")
    assert (found.interval_seconds, found.timeout_seconds, found.policy.max_age_seconds) == (0.25, 1.0, 5.0)
    assert found.listen == (("127.0.0.1", 80), ("::1", 81), ("0.0.0.0", 82))
    assert (found.control.mode, found.control.group) == (0o600, "adm")
    reader = next(role for role in found.policy.roles if role.name == "reader")
    assert (reader.max_lag_seconds, reader.donor, reader.desync) == (60.0, True, True)
    assert (reader.require_replication, reader.exclude_writer) == (False, True)
    assert found.policy.reader.max_lag_seconds == 60.0
    assert (found.log_level, found.log_format) == ("debug", "json")


def test_own_roles_take_what_they_do_not_say_from_their_base(file: Path) -> None:
    found = loaded(
        file,
        """
roles:
  reader: {max_lag: 20s}
  analytics: {base: reader, donor: true}
  reports-2: {base: reader, max_lag: 10m}
  app: {base: writer}
""",
    )
    roles = {role.name: role for role in found.policy.roles}

    assert (roles["analytics"].base, roles["analytics"].max_lag_seconds) == (Base.READER, 20.0)
    assert roles["analytics"].donor
    assert not roles["reader"].donor
    assert roles["reports-2"].max_lag_seconds == 600.0
    assert roles["replica"].max_lag_seconds == 20.0
    assert roles["app"].base is Base.WRITER


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5.0), ("1.5s", 1.5), ("10m", 600.0), ("1h", 3600.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("value", ["5", 5, 5.0, "5 s", "-5s", "s", "5d", "", "١s", "5s5s", None, True, "1e3s", ["5s"]])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="500ms, 5s or 10m"):
        duration_seconds(value)


def test_a_password_file_gives_its_first_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n\n")
    (tmp_path / "password").chmod(0o600)
    found = loaded(file, f"mysql: {{user: a, password_file: {tmp_path}/password}}")

    assert (found.login.password, found.warnings) == (SECRET, ())


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As systemd hands it over."""
    (tmp_path / "credentials").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    path = tmp_path / "credentials" / "password"
    path.write_text(f"{SECRET}\n")
    return path


def test_the_password_may_be_a_systemd_credential(file: Path, credential: Path, tmp_path: Path) -> None:
    """It stands above one of an option file, and its mode is systemd's affair."""
    (tmp_path / "my.cnf").write_text("[client]\nuser=b\npassword=other\n")
    (tmp_path / "my.cnf").chmod(0o600)
    found = loaded(file, f"mysql: {{defaults_file: {tmp_path}/my.cnf}}")

    assert (found.login.user, found.login.password, found.warnings) == ("b", SECRET, ())
    assert config.load(None).login.password == SECRET
    assert SECRET not in yaml.safe_dump(config.shown(found))
    credential.unlink()
    assert config.load(None).login.password == ""


def test_a_password_of_the_configuration_stands_above_a_credential(file: Path, credential: Path) -> None:
    file.touch(mode=0o600)
    found = loaded(file, "mysql: {user: a, password: other}")

    assert found.login.password == "other"
    assert found.warnings == ("the systemd credential `password` is not used: the configuration names a password",)


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8 text")])
def test_a_credential_that_is_no_password(file: Path, credential: Path, content: bytes, says: str) -> None:
    credential.write_bytes(content)

    (found,) = lines(file, "mysql: {user: a}")
    assert "mysql.password_file: the systemd credential `password` " + says in found


def test_a_secret_that_others_can_read_is_a_warning(file: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    (tmp_path / "password").chmod(0o644)
    (warning,) = loaded(file, f"mysql: {{user: a, password_file: {tmp_path}/password}}").warnings
    assert str(tmp_path / "password") in warning

    file.chmod(0o644)
    (warning,) = loaded(file, f"mysql: {{user: a, password: {SECRET}}}").warnings
    assert str(file) in warning
    assert SECRET not in warning


def test_a_secret_that_nobody_else_can_read_is_none(file: Path) -> None:
    file.touch()
    file.chmod(0o600)

    assert loaded(file, f"mysql: {{user: a, password: {SECRET}}}").warnings == ()


def test_a_defaults_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text(
        f"[client]\nuser = app\npassword = '{SECRET}'\nport = 3307\n[healthagent]\nuser = agent\nhost = 127.0.0.1\n"
    )
    login = loaded(file, f"mysql: {{defaults_file: {tmp_path}/my.cnf}}").login

    assert (login.user, login.password, login.host, login.port) == ("agent", SECRET, "127.0.0.1", 3307)
    assert login.socket is None


def test_what_the_file_says_wins_over_the_defaults_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[client]\nuser = app\nsocket = /tmp/a.sock\nport = 3307\n")
    login = loaded(file, f"mysql: {{defaults_file: {tmp_path}/my.cnf, user: agent, socket: /tmp/b.sock}}").login

    assert (login.user, login.socket) == ("agent", "/tmp/b.sock")


def test_my_cnf_of_the_home_is_used_where_no_login_is_configured(file: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".my.cnf").write_text("[client]\nuser = app\n")

    assert loaded(file, "{}").login.user == "app"
    assert loaded(file, "mysql: {user: agent}").login.user == "agent"


def test_localhost_is_the_socket_as_for_every_client_of_mariadb(file: Path) -> None:
    assert loaded(file, "mysql: {host: localhost}").login.socket == "/run/mysqld/mysqld.sock"


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_all_problems_are_said_at_once_in_the_order_of_their_lines(file: Path) -> None:
    found = lines(
        file,
        """\
mysql:
  port: 0
  sokcet: /tmp/x
probe:
  interval: fast
  max_age: 1s
htpp: {}
roles:
  reader: {max_lag: 5}
  x: {base: nobody}
log: {level: verbose}
""",
    )

    assert [line.partition(": ")[0] for line in found] == ["2", "3", "5", "6", "7", "9", "10", "11"]


@pytest.mark.parametrize(
    ("text", "line", "path", "says"),
    [
        ("mysql:\n  prot: 1\n", 2, "mysql.prot", "unknown key; known here: socket, host, port"),
        ("\nnonsense: 1\n", 2, "nonsense", "unknown key; known here: mysql, probe"),
        ("mysql: {port: '3306'}\n", 1, "mysql.port", "'3306': must be a whole number from 1 to 65535"),
        ("mysql: {port: true}\n", 1, "mysql.port", "must be a whole number from 1 to 65535"),
        ("mysql: {socket: run/x.sock}\n", 1, "mysql.socket", "must be an absolute path"),
        ("mysql: {user: 7}\n", 1, "mysql.user", "must be a text that is not empty"),
        ("mysql: {topology: cluster}\n", 1, "mysql.topology", "must be one of auto, galera, async, standalone"),
        ("mysql: {socket: /a, host: b}\n", 1, "mysql.host", "cannot stand beside mysql.socket"),
        ("mysql: {password: a, password_file: /etc/passwd}\n", 1, "mysql.password_file", "cannot stand beside"),
        ("mysql:\n  password_file: /nowhere/p\n", 2, "mysql.password_file", "/nowhere/p cannot be read: No such file"),
        ("mysql:\n  defaults_file: /nowhere/p\n", 2, "mysql.defaults_file", "/nowhere/p cannot be read: No such file"),
        ("probe:\n\n  timeout: 5\n", 3, "probe.timeout", "5: must be a duration such as 500ms, 5s or 10m"),
        ("probe: {interval: 1ms}\n", 1, "probe.interval", "'1ms': must be from 0.05s to 60s"),
        (
            "probe: {timeout: 2s}\n",
            1,
            "probe.max_age",
            "3s: must be at least interval + 3 x timeout and 3.6 x timeout, 7.2s",
        ),
        (
            "probe: {interval: 50ms, timeout: 1s}\n",
            1,
            "probe.max_age",
            "3s: must be at least interval + 3 x timeout and 3.6 x timeout, 3.6s",
        ),
        ("http: {drain_code: 500}\n", 1, "http.drain_code", "500: must be 503 or 404"),
        ("http: {drain_code: 404.0}\n", 1, "http.drain_code", "404.0: must be 503 or 404"),
        ("http: {listen: 9200}\n", 1, "http.listen", "9200: must be a list of addresses"),
        ("http: {listen: []}\n", 1, "http.listen", "must be a list of addresses"),
        ("http: {listen: [9200]}\n", 1, "http.listen", "is not an IP address and port; write"),
        ("http: {listen: ['x:0']}\n", 1, "http.listen", "is not an IP address and port; write"),
        ("http: {listen: ['x:65536']}\n", 1, "http.listen", "is not an IP address and port; write"),
        ("http: {listen: ['::1:9200']}\n", 1, "http.listen", "is not an IP address and port; write"),
        ("http: {listen: ['a..b:9200']}\n", 1, "http.listen", "'a..b:9200' is not an IP address and port"),
        (
            "http: {listen: [':9200', '127.0.0.1:9200']}\n",
            1,
            "http.listen",
            "0.0.0.0 and 127.0.0.1 overlap on port 9200",
        ),
        ("http: {listen: ['[::1]:9200', '[::1]:9200']}\n", 1, "http.listen", "::1 and ::1 overlap on port 9200"),
        ("mysql:\n  password_file: hunter2\n", 2, "mysql.password_file", "must be an absolute path"),
        ("control: {mode: 0660}\n", 1, "control.mode", 'must be an octal mode in quotes, such as "0660"'),
        ("control: {mode: '0888'}\n", 1, "control.mode", "must be an octal mode in quotes"),
        ("log: {level: off}\n", 1, "log.level", "must be one of debug, info, warning, error"),
        ("log: [info]\n", 1, "log", "must be a mapping (key: value), not a list"),
        ("log:\n  level: info\n  level: debug\n", 3, "log.level", "is written twice"),
        ("log: {}\nlog: {}\n", 2, "log", "is written twice"),
        ("roles: [reader]\n", 1, "roles", "must be a mapping (key: value), not a list"),
        ("roles: {writer: {donor: true}}\n", 1, "roles.writer.donor", "a writer takes min_disk_free, write_probe"),
        (
            "roles: {any: {max_lag: 5s}}\n",
            1,
            "roles.any.max_lag",
            "any takes donor, desync, min_size, tags, ignore, drain, weights",
        ),
        ("roles:\n  reader:\n    max_lag: 5\n", 3, "roles.reader.max_lag", "5: must be a duration"),
        ("roles: {reader: {donor: 'yes'}}\n", 1, "roles.reader.donor", "'yes': must be true or false"),
        ("roles:\n  x: {}\n", 2, "roles.x.base", "must be one of any, synced, reader, candidate, writer"),
        ("roles:\n  x: {base: y}\n", 2, "roles.x.base", "'y': must be one of any"),
        ("roles:\n  x: {base: [reader]}\n", 2, "roles.x.base", "must be one of any"),
        ("roles:\n  x: {base: {a: b}}\n", 2, "roles.x.base", "must be one of any"),
        ("roles:\n  x: {base: 5}\n", 2, "roles.x.base", "must be one of any"),
        ("roles:\n  x: {base: reader, max_leg: 5s}\n", 2, "roles.x.max_leg", "a reader takes max_lag"),
        ("roles:\n  X Y: {base: reader}\n", 2, "roles.X Y", "is not a name for a role"),
        ("roles:\n  liveness: {base: reader}\n", 2, "roles.liveness", "is not a name for a role"),
        ("roles:\n  metrics: {base: reader}\n", 2, "roles.metrics", "is not a name for a role"),
        ("roles: {reader: {base: writer}}\n", 1, "roles.reader.base", "a reader takes max_lag"),
        ("state_dir: here\n", 1, "state_dir", "must be an absolute path"),
    ],
)
def test_a_problem_names_line_key_and_what_is_right(file: Path, text: str, line: int, path: str, says: str) -> None:
    (found,) = lines(file, text)

    assert found.startswith(f"{line}: {path}: ")
    assert says in found


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "is empty"),
        ("   \n\n", 1, "is empty"),
        ("- mysql\n", 1, "must be a mapping (key: value), not a list"),
        ("just words\n", 1, "must be a mapping (key: value)"),
        ("mysql:\n\tuser: x\n", 2, "never tabs"),
        ("mysql: {user: x\n", 2, "is not valid YAML"),
        ("mysql: 'x\n", 2, "is not valid YAML"),
        ("a: *nowhere\n", 1, "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping(file: Path, text: str, line: int, says: str) -> None:
    (found,) = lines(file, text)

    assert found.startswith(f"{line}: ")
    assert says in found


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.yaml")

    assert caught.value.lines() == [f"{tmp_path}/none.yaml: cannot be read: No such file or directory"]


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"mysql: {user: \x00}\n", b"a: " + b"[" * 3000])
def test_a_file_that_is_no_text(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert len(caught.value.lines()) == 1


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_password_file(file: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_text(content)

    (found,) = lines(file, f"mysql: {{password_file: {tmp_path}/password}}")
    assert "is empty; its first line must be the password" in found


def test_a_defaults_file_that_is_none(file: Path, tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("no section\n")

    (found,) = lines(file, f"mysql: {{defaults_file: {tmp_path}/my.cnf}}")
    assert "is not an option file" in found


def test_a_port_in_the_defaults_file_that_is_none(file: Path, tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[client]\nhost = db\nport = 33o6\n")

    (found,) = lines(file, f"mysql: {{defaults_file: {tmp_path}/my.cnf}}")
    assert "mysql.defaults_file" in found


@pytest.mark.parametrize(
    "text",
    [
        f"mysql: {{password: [{SECRET}]}}",
        f"mysql: {{password: {{{SECRET}: 1, {SECRET}: 2}}}}",
        f"mysql: {{password: {SECRET}, port: x}}",
        f"mysql: {{password: {SECRET}, password: {SECRET}}}",
        f"mysql: {{pasword: {SECRET}}}",
        f"mysql: {{password: {SECRET}",
    ],
)
def test_no_error_prints_a_secret(file: Path, text: str) -> None:
    assert SECRET not in "\n".join(lines(file, text))


# --- roles, weights, tags -------------------------------------------------------------------------------------------

EVERYTHING = """
probe: {write_table: healthagent.alive}
mysql: {cluster_uuid: C7ABDE26-e4d5-11f1-877e-2e96af7f438e}
weights: {lag: false, queue: false, flow: false, connections: off, donor: 1, desynced: 0.01, warm_up: 0s, step: 25,
          raise_interval: 10s}
tags: {site: berlin, rack_2: "7"}
roles:
  any: {donor: true, desync: true, min_size: 2, tags: {site: berlin}, ignore: [accepting], weights: {lag: true}}
  synced: {min_size: 3, tags: {rack_2: "7"}, ignore: [thaw, min_size], weights: {donor: 0.5}}
  reader: {max_lag: 1m, soft_lag: 59.5s, connections: ["", reporting], grace: 0s, primary_lost: serve, max_queue: 0,
           require_replication: false, replication: required, exclude_writer: true, donor: true, desync: true,
           min_size: 1, flow: stop, buffer_pool_load: true, tags: {site: berlin}, ignore: [], weights: {step: 5}}
  writer: {min_disk_free: 5.5%, write_probe: true, membership: paranoid, max_restarts: 0, ring: [left, right],
           flow: off, buffer_pool_load: true, min_size: 4, tags: {site: berlin}, ignore: [restarts], weights: {}}
  candidate: {min_disk_free: 500MiB, membership: fast, ring: [], drain: true}
  stale-ok: {enabled: true, tags: {site: berlin}, drain: true, weights: {warm_up: 1h}}
  delayed: {base: reader, subtract_delay: true, max_lag: 12345.678s, connections: null, max_queue: null, tags: {},
            soft_lag: null, weights: {step: 10, donor: 0.25}}
  app: {base: writer, min_disk_free: 2048GiB}
  web: {base: any, drain: true}
"""


def roles(found: Config) -> dict[str, Role]:
    return {role.name: role for role in found.policy.roles}


def test_every_setting_of_a_role(file: Path) -> None:
    found = loaded(file, EVERYTHING)
    told = roles(found)

    assert found.policy.cluster_uuid == "c7abde26-e4d5-11f1-877e-2e96af7f438e"
    assert found.policy.tags == (("rack_2", "7"), ("site", "berlin"))
    assert told["reader"] == Role(
        name="reader",
        base=Base.READER,
        max_lag_seconds=60.0,
        soft_lag_seconds=59.5,
        connections=("", "reporting"),
        grace_seconds=0.0,
        primary_lost=PrimaryLost.SERVE,
        require_replication=False,
        replication_required=True,
        exclude_writer=True,
        donor=True,
        desync=True,
        max_queue=0,
        min_size=1,
        flow=FlowControl.STOP,
        buffer_pool_load=True,
        tags=(("site", "berlin"),),
        weights=told["replica"].weights,
    )
    assert told["writer"] == Role(
        name="writer",
        base=Base.WRITER,
        min_disk_free=Amount(ratio=0.055),
        write_probe=True,
        paranoid=True,
        max_restarts=0,
        ring=("left", "right"),
        flow=FlowControl.OFF,
        buffer_pool_load=True,
        min_size=4,
        tags=(("site", "berlin"),),
        ignore=frozenset({"restarts"}),
        weights=told["candidate"].weights,
    )
    assert told["synced"].ignore == {"thaw", "min_size"}
    assert told["synced"].tags == (("rack_2", "7"),)
    assert (told["stale-ok"].base, told["stale-ok"].weights.warm_up_seconds) == (Base.STALE_OK, 3600.0)
    assert told["delayed"].subtract_delay
    assert found.policy.reader.grace_seconds == 0.0


def test_weights_of_a_role_change_single_keys_of_the_section(file: Path) -> None:
    told = roles(loaded(file, EVERYTHING))
    section = Weights(
        lag=False,
        queue=False,
        flow=False,
        connections=False,
        donor=1.0,
        desynced=0.01,
        warm_up_seconds=0.0,
        step=25,
        raise_seconds=10.0,
    )

    assert told["writer"].weights == told["app"].weights == section
    assert told["any"].weights == told["web"].weights == replace(section, lag=True)
    assert told["reader"].weights == told["replica"].weights == replace(section, step=5)
    assert told["delayed"].weights == replace(section, step=10, donor=0.25)


def test_a_candidate_is_asked_what_the_writer_is_asked(file: Path) -> None:
    told = roles(loaded(file, EVERYTHING))
    same = replace(told["writer"], name="candidate", base=Base.CANDIDATE)

    of_its_own = replace(same, min_disk_free=Amount(bytes=500 * 2**20), paranoid=False, ring=(), drain=True)
    assert told["candidate"] == of_its_own
    assert told["app"].min_disk_free == Amount(bytes=2 * 2**40)


def test_any_asks_outside_galera_what_the_reader_asks(file: Path) -> None:
    told = roles(loaded(file, EVERYTHING))

    for name in ("any", "web"):
        found = told[name]
        assert (found.max_lag_seconds, found.soft_lag_seconds, found.grace_seconds) == (60.0, 59.5, 0.0)
        assert (found.connections, found.require_replication) == (("", "reporting"), False)
        assert (found.primary_lost, found.exclude_writer) == (PrimaryLost.SERVE, False)


def test_a_role_drains_with_its_base(file: Path) -> None:
    def draining(text: str) -> str:
        return " ".join(role.name for role in loaded(file, text).policy.roles if role.drain)

    assert draining(EVERYTHING) == "candidate stale-ok web"
    assert draining("roles: {reader: {drain: true}, x: {base: reader}}") == "reader replica x"
    assert draining("roles: {writer: {drain: true}, candidate: {drain: false}, x: {base: any}}") == "writer"


def test_null_brings_a_default_back_against_the_base(file: Path) -> None:
    delayed = roles(loaded(file, EVERYTHING))["delayed"]

    assert (delayed.connections, delayed.max_queue, delayed.soft_lag_seconds, delayed.tags) == (None, None, None, ())
    assert delayed.max_lag_seconds == 12345.678


def test_stale_ok_is_there_only_where_it_is_enabled(file: Path) -> None:
    for text in ("{}", "roles: {stale-ok: {}}", "roles: {stale-ok: {enabled: false, tags: {a: b}}}"):
        found = loaded(file, text)
        assert "stale-ok" not in roles(found)
        assert config.shown(found)["roles"]["stale-ok"] == {"enabled": False}


def test_all_of_it_is_shown_as_a_configuration_that_says_the_same(file: Path) -> None:
    first = loaded(file, EVERYTHING)
    text = yaml.safe_dump(config.shown(first), sort_keys=False)
    again = loaded(file, text)

    assert again.policy == first.policy
    assert yaml.safe_dump(config.shown(again), sort_keys=False) == text


def test_every_field_of_the_policy_is_a_setting() -> None:
    def names(kind: type[Role] | type[Weights]) -> set[str]:
        return {field.name for field in fields(kind)}

    not_settings = {"name", "base", "weights", "asked_queue"}
    assert {item.field for item in ROLE_SETTINGS.values() if item.field} == names(Role) - not_settings
    assert {item.field for item in WEIGHTS.values()} == names(Weights)


@pytest.mark.parametrize("word", IGNORABLE)
def test_gates_that_may_be_ignored_compare_with_those_of_the_rules(file: Path, word: str) -> None:
    ignored = roles(loaded(file, f"roles: {{reader: {{ignore: [{word}]}}}}"))["reader"].ignore
    known = {gate.value: gate for gate in Gate}

    assert known.get(word, word) in ignored
    assert Gate.REACHABLE not in ignored


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.05, 0.9995, 1.0, 1.5, 59.999, 86399.999, 86400.0])
def test_a_duration_that_is_shown_is_the_same_again(seconds: float) -> None:
    assert duration_seconds(spoken(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "line", "path", "says"),
    [
        ("roles:\n  reader:\n    soft_lag: 10s\n", 3, "roles.reader.soft_lag", "soft_lag is 10s and max_lag 10s: the"),
        (
            "roles:\n  reader: {soft_lag: 5s}\n  x: {base: reader, max_lag: 2s}\n",
            3,
            "roles.x.max_lag",
            "soft_lag is 5s",
        ),
        (
            "roles: {reader: {subtract_delay: true}}",
            1,
            "roles.reader.subtract_delay",
            "only a role of your own takes it",
        ),
        ("roles: {writer: {subtract_delay: true}}", 1, "roles.writer.subtract_delay", "a writer takes min_disk_free"),
        ("roles: {x: {base: writer, donor: true}}", 1, "roles.x.donor", "a writer takes min_disk_free"),
        ("roles: {candidate: {desync: true}}", 1, "roles.candidate.desync", "a candidate takes min_disk_free"),
        (
            "roles: {synced: {flow: off}}",
            1,
            "roles.synced.flow",
            "a synced takes min_size, tags, ignore, drain, weights",
        ),
        ("roles: {reader: {enabled: true}}", 1, "roles.reader.enabled", "a reader takes max_lag"),
        (
            "roles: {stale-ok: {min_size: 1}}",
            1,
            "roles.stale-ok.min_size",
            "a stale-ok takes enabled, tags, drain, weights",
        ),
        ("roles: {stale-ok: {enabled: 1}}", 1, "roles.stale-ok.enabled", "1: must be true or false"),
        ("roles: {any: {drain: 1}}", 1, "roles.any.drain", "1: must be true or false"),
        ("roles: {x: {base: stale-ok}}", 1, "roles.x.base", "'stale-ok': must be one of any, synced, reader"),
        ("roles: {ack: {base: reader}}", 1, "roles.ack", "is not a name for a role"),
        ("roles: {reader: {connections: app}}", 1, "roles.reader.connections", "'app': must be a list of connection"),
        ("roles: {reader: {connections: [1]}}", 1, "roles.reader.connections", "must be a list of connection names"),
        (
            "roles: {reader: {connections: []}}",
            1,
            "roles.reader.connections",
            "must name at least one connection; null",
        ),
        ("roles: {writer: {ring: null}}", 1, "roles.writer.ring", "None: must be a list of connection names"),
        ("roles: {reader: {max_queue: -1}}", 1, "roles.reader.max_queue", "must be a whole number from 0"),
        ("roles: {reader: {min_size: 2.0}}", 1, "roles.reader.min_size", "must be a whole number from 0 to 1000"),
        ("roles: {reader: {flow: true}}", 1, "roles.reader.flow", "True: must be one of off, weight, stop"),
        ("roles: {reader: {flow: 0}}", 1, "roles.reader.flow", "0: must be one of off, weight, stop"),
        ("roles: {reader: {primary_lost: peers}}", 1, "roles.reader.primary_lost", "must be one of down, serve"),
        ("roles: {reader: {replication: true}}", 1, "roles.reader.replication", "must be one of reported, required"),
        ("roles: {writer: {membership: slow}}", 1, "roles.writer.membership", "must be one of fast, paranoid"),
        ("roles: {writer: {min_disk_free: 100%}}", 1, "roles.writer.min_disk_free", "such as 5%, or a size"),
        ("roles: {writer: {min_disk_free: 0%}}", 1, "roles.writer.min_disk_free", "such as 5%, or a size"),
        ("roles: {writer: {min_disk_free: 0GiB}}", 1, "roles.writer.min_disk_free", "such as 500MiB or 10GiB"),
        ("roles: {writer: {min_disk_free: 10GB}}", 1, "roles.writer.min_disk_free", "such as 500MiB or 10GiB"),
        ("roles: {writer: {min_disk_free: 5}}", 1, "roles.writer.min_disk_free", "such as 5%, or a size"),
        ("roles: {writer: {max_restarts: -1}}", 1, "roles.writer.max_restarts", "from 0 to 100"),
        ("roles: {reader: {ignore: [reachable]}}", 1, "roles.reader.ignore", "that can be ignored: client_port, same"),
        (
            "roles: {reader: {ignore: [[thaw]]}}",
            1,
            "roles.reader.ignore",
            "must be a list of gates that can be ignored",
        ),
        ("roles: {reader: {ignore: thaw}}", 1, "roles.reader.ignore", "must be a list of gates that can be ignored"),
        ("roles: {reader: {tags: [a]}}", 1, "roles.reader.tags", "must be a mapping of names to texts"),
        ("roles:\n  any:\n    tags:\n      a: x\n      a: y\n", 5, "roles.any.tags.a", "is written twice"),
        ("roles: {reader: {weights: 5}}", 1, "roles.reader.weights", "5: must be a mapping, such as {donor: 0.5}"),
        (
            "roles:\n  any:\n    weights:\n      steps: 5\n",
            4,
            "roles.any.weights.steps",
            "known here: lag, queue, flow",
        ),
        ("roles:\n  any:\n    weights:\n      step: 30\n", 4, "roles.any.weights.step", "30: must divide 100: 1, 2, 4"),
        ("weights: {step: 51}", 1, "weights.step", "51: must be a whole number from 1 to 50"),
        ("weights: {donor: 0}", 1, "weights.donor", "0: must be a number from 0.01 to 1"),
        ("weights: {donor: .nan}", 1, "weights.donor", "nan: must be a number from 0.01 to 1"),
        ("weights: {desynced: true}", 1, "weights.desynced", "True: must be a number from 0.01 to 1"),
        ("weights: {lag: 1}", 1, "weights.lag", "1: must be true or false"),
        ("weights: {warm_up: 2h}", 1, "weights.warm_up", "must be from 0s to 3600s"),
        ("weights: {warmup: 2s}", 1, "weights.warmup", "unknown key; known here: lag, queue"),
        ("tags: {Site: x}", 1, "tags", "'Site' is no name for a tag: a-z, 0-9 and _ only"),
        ("tags: {site: 7}", 1, "tags", "site must be a printable text of 1 to 64 characters"),
        ('tags: {site: "a\\nb"}', 1, "tags", "site must be a printable text"),
        ("tags: &a {site: *a}", 1, "tags", "site must be a printable text"),
        ("tags: [site]", 1, "tags", "['site']: must be a mapping of names to texts"),
        ("mysql: {cluster_uuid: prod}", 1, "mysql.cluster_uuid", "'prod': must be the UUID that SHOW STATUS"),
        (f"mysql: {{cluster_uuid: {'0' * 8}-0000-0000-0000-{'0' * 12}}}", 1, "mysql.cluster_uuid", "must be the UUID"),
    ],
)
def test_a_problem_with_a_role_a_weight_or_a_tag(file: Path, text: str, line: int, path: str, says: str) -> None:
    (found,) = lines(file, text)

    assert found.startswith(f"{line}: {path}: ")
    assert says in found


# --- the control socket, for those who ask the daemon ---------------------------------------------------------------


def test_the_control_socket_is_found_whatever_else_is_wrong(file: Path) -> None:
    file.write_text("mysql: {password_file: /nowhere, port: x}\ncontrol: {socket: /tmp/a.sock, mode: 5}\n")

    assert control_socket(file) == Path("/tmp/a.sock")
    assert control_socket(None) == Path("/run/healthagent/control.sock")


@pytest.mark.parametrize("text", ["control: {socket: a.sock}", "control: [a]", "- a", "a: *b"])
def test_a_control_socket_that_is_none(file: Path, text: str) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError):
        control_socket(file)


# --- config show ----------------------------------------------------------------------------------------------------


def test_shown_hides_the_secret(file: Path) -> None:
    shown = config.shown(loaded(file, f"mysql: {{user: a, password: {SECRET}}}"))

    assert SECRET not in yaml.safe_dump(shown)
    assert shown["mysql"]["password"] == "(hidden)"


def test_shown_hides_the_secret_of_a_password_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    shown = config.shown(loaded(file, f"mysql: {{user: a, password_file: {tmp_path}/password}}"))

    assert SECRET not in yaml.safe_dump(shown)
    assert shown["mysql"]["password_file"] == f"{tmp_path}/password"


def test_what_is_shown_is_a_configuration_that_says_the_same(file: Path) -> None:
    text = """
mysql: {host: 10.0.0.11, user: agent}
probe: {interval: 250ms, timeout: 1.5s, max_age: 5m}
roles: {reader: {max_lag: 1h, desync: true}, analytics: {base: reader, donor: true}}
http: {listen: ["[::1]:9200", "127.0.0.1:9300"]}
"""
    first = loaded(file, text)
    again = loaded(file, yaml.safe_dump(config.shown(first)))

    assert (again.policy, again.listen, again.login) == (first.policy, first.listen, first.login)
    assert config.shown(again) == config.shown(first)


# --- the settings as data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [*SECTIONS, "roles"])
def test_every_setting_has_a_meaning_and_its_default_is_one(section: str) -> None:
    settings = SECTIONS.get(section, ROLE_SETTINGS)
    assert settings

    for key, setting in settings.items():
        assert setting.meaning, key


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "healthagent.yaml"
    path.write_text(f"log: {{level: {'x' * 10_000}}}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert max(map(len, caught.value.lines())) < 300


def test_an_option_file_may_name_a_group_twice_and_is_watched_like_the_other_secrets(tmp_path: Path) -> None:
    options = tmp_path / "my.cnf"
    options.write_text("[client]\nuser = one\n[client]\npassword = two\n")
    options.chmod(0o644)
    path = tmp_path / "healthagent.yaml"
    path.write_text(f"mysql: {{defaults_file: {options}}}\n")
    found = config.load(path)
    assert (found.login.user, found.login.password) == ("one", "two")
    assert found.warnings == (f"{options}: others can read this file, and a password stands in it",)


def test_a_character_that_yaml_does_not_allow_is_one_line_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "healthagent.yaml"
    path.write_text("log:\n  level: \x01\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.lines() == [f"{path}:2: is not valid YAML: special characters are not allowed"]


# --- beside the probe -----------------------------------------------------------------------------------------------


def test_the_client_port_is_looked_at_and_nothing_is_written() -> None:
    assert config.load(None).watch == Watch(client_port_seconds=5.0, disk=True)


def test_tables_and_pace(file: Path) -> None:
    found = loaded(
        file,
        "probe: {client_port: 10s, write_table: ops.alive, heartbeat_table: percona.heartbeat, heartbeat_utc: false,"
        " heartbeat_write: true}\n",
    )
    assert found.watch == Watch(
        client_port_seconds=10.0,
        disk=True,
        write_table="ops.alive",
        heartbeat_table="percona.heartbeat",
        heartbeat_utc=False,
        heartbeat_write=True,
    )
    assert loaded(file, yaml.safe_dump(config.shown(found))).watch == found.watch


@pytest.mark.parametrize(
    ("mysql", "writer", "says"),
    [
        ("user: a", "write_probe: true", "write_probe: needs probe.write_table: the table to write to"),
        (
            "host: 10.0.0.1",
            "min_disk_free: 5%",
            "min_disk_free: the datadir of 10.0.0.1:3306 cannot be seen from here: only an agent beside the server "
            "knows it",
        ),
    ],
)
def test_a_gate_that_could_never_know_anything(file: Path, mysql: str, writer: str, says: str) -> None:
    assert lines(file, f"mysql: {{{mysql}}}\nroles: {{writer: {{{writer}}}}}\n") == [f"2: roles.writer.{says}"]


@pytest.mark.parametrize("word", ["off", '"off"', "0s", "0ms", "false"])
def test_the_client_port_can_be_left_alone(file: Path, word: str) -> None:
    found = loaded(file, f"probe: {{client_port: {word}}}\n")
    assert found.watch.client_port_seconds is None
    assert config.shown(found)["probe"]["client_port"] == "off"
    assert loaded(file, yaml.safe_dump(config.shown(found))).watch == found.watch


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("client_port: on", "True: must be a duration such as 500ms, 5s or 10m, or off"),
        ("client_port: 100ms", "'100ms': must be from 1s to 600s, or off"),
        ("write_table: alive", "'alive': must be database.table, each of A-Z, a-z, 0-9, _, $ and -"),
        ("heartbeat_table: 'a.b`'", "'a.b`': must be database.table, each of A-Z, a-z, 0-9, _, $ and -"),
        ("heartbeat_write: true", "needs probe.heartbeat_table: the table to write to"),
    ],
)
def test_what_is_wrong_beside_the_probe(file: Path, setting: str, says: str) -> None:
    key = setting.partition(":")[0]
    assert lines(file, f"probe: {{{setting}}}\n") == [f"1: probe.{key}: {says}"]


# --- the pace of looks, and the bell --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probe", "fast"),
    [
        ("interval: 500ms", 0.1),
        ("interval: 50ms", 0.05),
        ("interval: 5s, max_age: 10s", 0.1),
        ("fast_interval: 20ms", 0.02),
        ("fast_interval: 500ms", 0.5),
    ],
)
def test_the_pace_of_looks(file: Path, probe: str, fast: float) -> None:
    found = loaded(file, f"probe: {{{probe}}}\n")
    assert found.fast_seconds == fast
    assert config.shown(found)["probe"]["fast_interval"] == f"{fast * 1000:g}ms"


@pytest.mark.parametrize(("notify", "place"), [("127.0.0.1:9203", ("127.0.0.1", 9203)), ("[::1]:9", ("::1", 9))])
def test_the_bell(file: Path, notify: str, place: tuple[str, int]) -> None:
    found = loaded(file, f'probe: {{notify: "{notify}"}}\n')
    assert found.notify == place
    assert config.shown(found)["probe"]["notify"] == notify
    assert loaded(file, "probe: {notify: null}\n").notify is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("fast_interval: 10ms", "'10ms': must be from 0.02s to 60s"),
        ("fast_interval: 100", "100: must be a duration such as 500ms, 5s or 10m"),
        (
            "fast_interval: 1s",
            "1s: must be at most probe.interval, 500ms; the same means that every look is a whole probe",
        ),
        ("notify: 0.0.0.0:9203", "'0.0.0.0:9203': must be a loopback address and port, such as \"127.0.0.1:9203\""),
        ("notify: 10.0.0.1:9203", "'10.0.0.1:9203': must be a loopback address and port, such as \"127.0.0.1:9203\""),
    ],
)
def test_what_is_wrong_with_them(file: Path, setting: str, says: str) -> None:
    key = setting.partition(":")[0]
    assert lines(file, f"probe: {{{setting}}}\n") == [f"1: probe.{key}: {says}"]


@pytest.mark.parametrize("value", ["localhost:9203", "9203", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "on"])
def test_what_is_no_address_for_the_bell(file: Path, value: str) -> None:
    (line,) = lines(file, f'probe: {{notify: "{value}"}}\n')
    assert line.startswith("1: probe.notify: ")
    assert "is not an IP address and port" in line
