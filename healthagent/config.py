"""YAML -> one frozen Config, or all that is wrong with it at once, each with its dotted path and line."""

import os
import pwd
from configparser import Error as ParserError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymysql.optionfile import Parser

from healthagent import document as documents
from healthagent import passwords
from healthagent.document import Document
from healthagent.errors import ConfigError
from healthagent.kinds import address, addresses_overlap, spoken, spoken_address
from healthagent.kinds import shown as worded
from healthagent.policy import Policy, Role
from healthagent.record import Recording
from healthagent.roles import policy_told, shown_roles
from healthagent.schema import SECTIONS, TOP_LEVEL, WEIGHTS
from healthagent.session import Login, Watch
from healthagent.trackfile import TrackFile

__all__ = ["AgentPort", "Config", "Control", "load", "policy_of", "shown"]

DEFAULT_SOCKET = "/run/mysqld/mysqld.sock"
OPTION_GROUPS = ("client", "healthagent")
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`group` None: `healthagent` where that group exists; `required`: the file asks for it, so it must be there."""

    socket: Path
    mode: int
    group: str | None
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPort:
    """Where HAProxy's agent-check is answered; `role` None: the client names it."""

    host: str
    port: int
    role: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the daemon needs, checked. `warnings` are for the log, `settings` for `config show`."""

    source: str
    login: Login
    policy: Policy
    interval_seconds: float
    fast_seconds: float
    timeout_seconds: float
    watch: Watch
    notify: tuple[str, int] | None
    listen: tuple[tuple[str, int], ...]
    drain_code: int
    agent_ports: tuple[AgentPort, ...]
    admin_words: bool
    track_files: tuple[TrackFile, ...]
    mysqld_names: bool
    textfile: Path | None
    control: Control
    peers: tuple[str, ...]
    record: Recording | None
    state_dir: Path
    log_level: str
    log_format: str
    settings: dict[str, Any]
    warnings: tuple[str, ...] = ()


def load(path: Path | None) -> Config:
    """The configuration in `path`, or the built-in one for None. ConfigError lists every problem."""
    document = documents.read(path)
    settings = document.settings
    source = str(path) if path is not None else "built-in defaults"
    warnings: list[str] = []
    login = _login(document, warnings)
    if path is not None and settings["mysql"]["password"]:
        passwords.warn_if_readable(path, warnings)
    policy = policy_told(document)
    probe, control = settings["probe"], settings["control"]
    if not document.given("probe.fast_interval"):
        probe["fast_interval"] = min(probe["fast_interval"], probe["interval"])
    elif probe["fast_interval"] > probe["interval"]:
        says = f"{spoken(probe['fast_interval'])}: must be at most probe.interval, {spoken(probe['interval'])}"
        document.wrong("probe.fast_interval", f"{says}; the same means that every look is a whole probe")
    if probe["heartbeat_write"] and probe["heartbeat_table"] is None:
        document.wrong("probe.heartbeat_write", "needs probe.heartbeat_table: the table to write to")
    _what_roles_need(policy.roles, login, document)
    agent_ports = _agent_ports(policy.roles, document)
    track_files = _track_files(policy.roles, document)
    _raise_problems(document, source)
    return Config(
        source=source,
        login=login,
        policy=policy,
        interval_seconds=probe["interval"],
        fast_seconds=probe["fast_interval"],
        timeout_seconds=probe["timeout"],
        watch=_watch(probe),
        notify=probe["notify"],
        listen=tuple(settings["http"]["listen"]),
        drain_code=settings["http"]["drain_code"],
        agent_ports=agent_ports,
        admin_words=settings["agent_check"]["admin_words"],
        track_files=track_files,
        mysqld_names=settings["metrics"]["mysqld_names"],
        textfile=settings["metrics"]["textfile"],
        control=Control(
            socket=Path(control["socket"]),
            mode=int(control["mode"], 8),
            group=control["group"],
            required=document.given("control.socket"),
        ),
        peers=settings["peers"],
        record=_recording(probe),
        state_dir=Path(settings["state_dir"]),
        log_level=settings["log"]["level"],
        log_format=settings["log"]["format"],
        settings=settings,
        warnings=tuple(warnings),
    )


def policy_of(document: Document, source: str) -> Policy:
    """What the rules need, without a look at any other file. ConfigError lists every problem that shows so."""
    policy = policy_told(document)
    _agent_ports(policy.roles, document)
    _track_files(policy.roles, document)
    _raise_problems(document, source)
    return policy


def _raise_problems(document: Document, source: str) -> None:
    if document.problems:
        raise ConfigError(source, tuple(sorted(document.problems, key=lambda problem: problem.line or 0)))


def _recording(probe: dict[str, Any]) -> Recording | None:
    path, samples = probe["record"], probe["record_samples"]
    return Recording(path=path, samples=samples) if path is not None else None


def _what_roles_need(roles: tuple[Role, ...], login: Login, document: Document) -> None:
    """A gate that can never know anything would hold its role down for ever, or never: so it is no setting for it."""
    table = document.settings["probe"]["write_table"]
    for role in roles:
        asks, keeps = f"roles.{role.name}.write_probe", f"roles.{role.name}.min_disk_free"
        if role.write_probe and table is None and document.given(asks):
            document.wrong(asks, "needs probe.write_table: the table to write to")
        if role.min_disk_free is not None and not login.local and document.given(keeps):
            says = f"the datadir of {login.where} cannot be seen from here: only an agent beside the server knows it"
            document.wrong(keeps, says)


def _agent_ports(roles: tuple[Role, ...], document: Document) -> tuple[AgentPort, ...]:
    section = "agent_check.listen"
    taken = [("http.listen", host, port) for host, port in document.settings["http"]["listen"]]
    found: list[AgentPort] = []
    for written, role in document.settings["agent_check"]["listen"].items():
        path = f"{section}.{written}"
        if role is not None and (wrong := _not_served(role, roles)):
            document.wrong(path, f"{wrong}; null: by agent-send")
        try:
            host, port = address(written)
        except ValueError as error:
            document.wrong(path, str(error))
            continue
        for where, other, same in taken:
            if port == same and addresses_overlap(host, other) and document.given(section):
                document.wrong(path, f"overlaps with {spoken_address(other, same)} of {where}; keep one of them")
            elif port == same and addresses_overlap(host, other):
                says = f"{spoken_address(other, same)} overlaps with {written}, where agent-check is by default"
                document.wrong(where, f"{says}; give {section} other addresses, or {{}} for none")
        taken.append((section, host, port))
        found.append(AgentPort(host=host, port=port, role=role))
    return tuple(found)


def _track_files(roles: tuple[Role, ...], document: Document) -> tuple[TrackFile, ...]:
    files: tuple[TrackFile, ...] = document.settings["keepalived"]["track_files"]
    for file in files:
        if wrong := _not_served(file.role, roles):
            document.wrong("keepalived.track_files", f"{file.path}: {wrong}")
    return files


def _not_served(name: Any, roles: tuple[Role, ...]) -> str:
    """Why nothing can go by that role; "" for one that is served."""
    if any(role.name == name and role.dry_run for role in roles):
        return f"{name} is a dry run: nothing may go by it until roles.{name}.dry_run is taken away"
    names = [role.name for role in roles if not role.dry_run]
    return "" if name in names else f"unknown role {worded(name)}; roles: {', '.join(names)}"


def _watch(probe: dict[str, Any]) -> Watch:
    return Watch(
        client_port_seconds=probe["client_port"],
        disk=True,
        write_table=probe["write_table"],
        heartbeat_table=probe["heartbeat_table"],
        heartbeat_utc=probe["heartbeat_utc"],
        heartbeat_write=probe["heartbeat_write"],
    )


def _login(document: Document, warnings: list[str]) -> Login:
    mysql = document.settings["mysql"]
    for one, other in (("socket", "host"), ("password", "password_file")):
        if document.given(f"mysql.{one}") and document.given(f"mysql.{other}"):
            document.wrong(f"mysql.{other}", f"cannot stand beside mysql.{one}: keep one of them")
    options = _options(document, warnings)
    host = mysql["host"] or (options.get("host") if not mysql["socket"] else None)
    if host == "localhost":  # as every MariaDB client takes it: the socket
        host = None
    socket = None if host else mysql["socket"] or options.get("socket") or DEFAULT_SOCKET
    wrong = any(problem.path == "mysql.port" for problem in document.problems)
    if socket is not None and document.given("mysql.port") and not wrong:
        document.wrong("mysql.port", "needs mysql.host: the login goes through a socket, which has no port")
    port = mysql["port"] if document.given("mysql.port") else options.get("port", mysql["port"])
    try:
        port = SECTIONS["mysql"]["port"].kind(int(port))
    except ValueError:
        document.wrong("mysql.defaults_file", f"port is {port!r}; must be a whole number from 1 to 65535")
    return Login(
        user=mysql["user"] or options.get("user") or _system_user(),
        password=passwords.password(document, options.get("password", ""), warnings),
        socket=socket,
        host=host or "127.0.0.1",
        port=port,
        datadir=mysql["datadir"],
        pid_file=mysql["pid_file"],
    )


def _options(document: Document, warnings: list[str]) -> dict[str, str]:
    """The [client] and [healthagent] groups of defaults_file; of ~/.my.cnf where no login is configured at all."""
    named = document.settings["mysql"]["defaults_file"]
    own = ("socket", "host", "user", "password", "password_file")
    if named is None and any(document.given(f"mysql.{key}") for key in own):
        return {}
    path = Path(named or os.path.expanduser("~/.my.cnf"))  # noqa: PTH111  Path raises where there is no home
    parser = Parser(strict=False)  # a group may stand there twice
    try:
        parser.read_string(path.read_text("utf-8"))
    except OSError as error:
        if named is None:  # none there, or in a home that is not ours to look into
            return {}
        document.wrong("mysql.defaults_file", f"{path} cannot be read: {error.strerror}")
        return {}
    except (ParserError, UnicodeDecodeError) as error:
        document.wrong("mysql.defaults_file", f"{path} is not an option file: {str(error).splitlines()[0]}")
        return {}
    found = [(key, parser.get(group, key)) for group in OPTION_GROUPS if group in parser for key in parser[group]]
    options = {key: str(value) for key, value in found if value is not None}
    if "password" in options:
        passwords.warn_if_readable(path, warnings)
    return options


def shown(config: Config) -> dict[str, Any]:
    """The effective settings as they could stand in a file, secrets hidden."""
    login, settings = config.login, config.settings
    address = {"socket": login.socket} if login.socket else {"host": login.host, "port": login.port}
    mysql = {
        key: settings["mysql"][key]
        for key in ("password_file", "defaults_file", "topology", "datadir", "pid_file", "cluster_uuid")
    }
    secret = {"password": HIDDEN} if login.password and not mysql["password_file"] else {}
    return {
        "mysql": {**address, "user": login.user, **secret, **{k: v for k, v in mysql.items() if v is not None}},
        "probe": {key: item.say(settings["probe"][key]) for key, item in SECTIONS["probe"].items()},
        "roles": shown_roles(config.policy.roles),
        "weights": {key: item.say(settings["weights"][key]) for key, item in WEIGHTS.items()},
        "http": {
            "listen": [spoken_address(*place) for place in config.listen],
            "drain_code": config.drain_code,
        },
        "agent_check": {
            "listen": {spoken_address(entry.host, entry.port): entry.role for entry in config.agent_ports},
            "admin_words": config.admin_words,
        },
        "keepalived": {key: item.say(settings["keepalived"][key]) for key, item in SECTIONS["keepalived"].items()},
        "metrics": {key: item.say(settings["metrics"][key]) for key, item in SECTIONS["metrics"].items()},
        "control": {key: value for key, value in settings["control"].items() if value is not None},
        **{key: item.say(settings[key]) for key, item in TOP_LEVEL.items()},
        "log": settings["log"],
    }


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "healthagent"
