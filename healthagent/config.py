"""YAML -> one frozen Config, or all that is wrong with it at once, each with its dotted path and line."""

import os
import pwd
from configparser import Error as ParserError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pymysql.optionfile import Parser

from healthagent import document as documents
from healthagent import schema
from healthagent.document import Document
from healthagent.errors import ConfigError
from healthagent.model import Base, Policy, Role, Topology
from healthagent.schema import RESERVED_NAMES, ROLE_NAME, ROLE_SETTINGS, SECTIONS, role_keys
from healthagent.session import Login

__all__ = ["DEFAULT_PATH", "Config", "Control", "load", "shown"]

DEFAULT_PATH = Path("/etc/healthagent/healthagent.yaml")
DEFAULT_SOCKET = "/run/mysqld/mysqld.sock"
OPTION_GROUPS = ("client", "healthagent")
HIDDEN = "(hidden)"
# the paths /replica and /slave: the reader without the primary
REPLICA = "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`group` None: `healthagent` where that group exists; `required`: the file asks for it, so it must be there."""

    socket: Path
    mode: int
    group: str | None
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the daemon needs, checked. `warnings` are for the log, `settings` for `config show`."""

    source: str
    login: Login
    policy: Policy
    interval_seconds: float
    timeout_seconds: float
    listen: tuple[tuple[str, int], ...]
    control: Control
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
        _warn_if_readable(path, warnings)
    policy = Policy(
        roles=_roles(document),
        topology=Topology(settings["mysql"]["topology"]),
        max_age_seconds=settings["probe"]["max_age"],
    )
    probe, control = settings["probe"], settings["control"]
    least = probe["interval"] + 2 * probe["timeout"]
    if probe["max_age"] < least:
        says = f"{spoken(probe['max_age'])}: must be at least interval + 2 x timeout, {spoken(least)}"
        document.wrong("probe.max_age", f"{says}: else one slow answer takes the node out")
    if document.problems:
        raise ConfigError(source, tuple(sorted(document.problems, key=lambda problem: problem.line or 0)))
    return Config(
        source=source,
        login=login,
        policy=policy,
        interval_seconds=probe["interval"],
        timeout_seconds=probe["timeout"],
        listen=tuple(settings["http"]["listen"]),
        control=Control(
            socket=Path(control["socket"]),
            mode=int(control["mode"], 8),
            group=control["group"],
            required=document.given("control.socket"),
        ),
        state_dir=Path(settings["state_dir"]),
        log_level=settings["log"]["level"],
        log_format=settings["log"]["format"],
        settings=settings,
        warnings=tuple(warnings),
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
    port = mysql["port"] if document.given("mysql.port") else options.get("port", mysql["port"])
    try:
        port = SECTIONS["mysql"]["port"].kind(int(port))
    except ValueError:
        document.wrong("mysql.defaults_file", f"port is {port!r}; must be a whole number from 1 to 65535")
    return Login(
        user=mysql["user"] or options.get("user") or _system_user(),
        password=_password(document, options, warnings),
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
        _warn_if_readable(path, warnings)
    return options


def _password(document: Document, options: dict[str, str], warnings: list[str]) -> str:
    mysql = document.settings["mysql"]
    if mysql["password_file"] is None:
        return str(mysql["password"] or options.get("password") or "")
    path = Path(mysql["password_file"])
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        document.wrong("mysql.password_file", f"{path} cannot be read: {error.strerror}")
        return ""
    except UnicodeDecodeError:
        document.wrong("mysql.password_file", f"{path} is not UTF-8 text")
        return ""
    if not lines or not lines[0]:
        document.wrong("mysql.password_file", f"{path} is empty; its first line must be the password")
        return ""
    _warn_if_readable(path, warnings)
    return lines[0]


def _roles(document: Document) -> tuple[Role, ...]:
    written: dict[str, dict[str, Any]] = document.settings["roles"]
    built_in = {base.value: _role(base.value, base, Role(name=base.value, base=base), document) for base in Base}
    reader = built_in[Base.READER]
    replica = replace(reader, name=REPLICA, exclude_writer=True)
    # outside Galera `any` asks what the reader asks
    built_in[Base.ANY] = replace(
        built_in[Base.ANY],
        max_lag_seconds=reader.max_lag_seconds,
        require_replication=reader.require_replication,
    )
    own: list[Role] = []
    for name in written:
        if name in built_in:
            continue
        base = written[name].get("base")
        if not ROLE_NAME.fullmatch(name) or name in RESERVED_NAMES:
            document.wrong(f"roles.{name}", "is not a name for a role: a-z, 0-9, - and _ only, and no path of ours")
        elif not isinstance(base, str) or base not in built_in:
            says = f"{schema.shown(base)}: " if base is not None else "is missing: "
            document.wrong(f"roles.{name}.base", f"{says}must be one of {', '.join(built_in)}")
        else:
            own.append(_role(name, Base(base), replace(built_in[base], name=name), document))
    return (*built_in.values(), replica, *own)


def _role(name: str, base: Base, role: Role, document: Document) -> Role:
    """`role` with what the file says of it; `base` only for roles of the operator's own."""
    known = role_keys(base)
    fields = {"max_lag": "max_lag_seconds"}
    for key, value in document.settings["roles"].get(name, {}).items():
        path = f"roles.{name}.{key}"
        if key == "base" and name != base.value:
            continue
        if key not in known:
            document.wrong(path, f"a {base} takes {', '.join(known) if known else 'no settings'}")
            continue
        try:
            role = replace(role, **{fields.get(key, key): ROLE_SETTINGS[key].kind(value)})
        except ValueError as error:
            document.wrong(path, f"{schema.shown(value)}: {error}")
    return role


def shown(config: Config) -> dict[str, Any]:
    """The effective settings as they could stand in a file, secrets hidden."""
    login, settings = config.login, config.settings
    address = {"socket": login.socket} if login.socket else {"host": login.host, "port": login.port}
    mysql = {
        key: settings["mysql"][key] for key in ("password_file", "defaults_file", "topology", "datadir", "pid_file")
    }
    secret = {"password": HIDDEN} if login.password and not mysql["password_file"] else {}
    listen = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in config.listen]
    return {
        "mysql": {**address, "user": login.user, **secret, **{k: v for k, v in mysql.items() if v is not None}},
        "probe": {key: spoken(seconds) for key, seconds in settings["probe"].items()},
        "roles": {role.name: _shown_role(role) for role in config.policy.roles if role.name != REPLICA},
        "http": {"listen": listen},
        "control": {key: value for key, value in settings["control"].items() if value is not None},
        "state_dir": settings["state_dir"],
        "log": settings["log"],
    }


def _shown_role(role: Role) -> dict[str, Any]:
    values = {"max_lag": spoken(role.max_lag_seconds)} | {
        key: getattr(role, key) for key in ROLE_SETTINGS if key != "max_lag"
    }
    base = {"base": role.base.value} if role.name != role.base.value else {}
    return base | {key: values[key] for key in role_keys(role.base)}


def spoken(seconds: float) -> str:
    """A duration as one would write it."""
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "healthagent"


def _warn_if_readable(path: Path, warnings: list[str]) -> None:
    if path.stat().st_mode & 0o004:
        warnings.append(f"{path}: others can read this file, and a password stands in it")
