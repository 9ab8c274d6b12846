"""`setup`: what this node lacks for the daemon, and with --apply its making. Without --apply nothing is changed.

What is there is left as it is, so that a second run does nothing.
"""

import asyncio
import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path

from healthagent import config, once
from healthagent.config import Config
from healthagent.document import DEFAULT_PATH
from healthagent.enrol import enrol
from healthagent.errors import ConfigError, HealthagentError
from healthagent.firewall import rules
from healthagent.grants import MONITOR, Account, account_of
from healthagent.model import Publication
from healthagent.reasons import State
from healthagent.steps import Mark, Steps

__all__ = ["run"]

SYSTEMCTL_SECONDS = 60.0
SERVICE = "healthagent.service"
BOOTED = Path("/run/systemd/system")  # as sd_booted(3) looks


def run(path: Path | None, *, apply: bool) -> int:
    """The number of steps that failed. ConfigError for a file that is wrong, HealthagentError for who may not apply."""
    if apply and os.geteuid() != 0:
        raise HealthagentError("setup --apply: only root may create the account and enable the service")
    here = config.load(None).login
    settings = _as_the_daemon(path)
    account = account_of(settings.login)
    steps = Steps(apply)
    _system_user(account, steps)
    seen, works = asyncio.run(enrol(settings, here, account, steps))
    _service(path, steps)
    for says in rules(settings):
        steps.tell("firewall", Mark.NOTE, says)
    _probe(path, account, seen, works, steps, password=bool(settings.login.password))
    if steps.left:
        print("nothing was changed: `healthagent setup --apply` does it")
    return steps.failed


def _as_the_daemon(path: Path | None) -> Config:
    """The settings as it will read them: its user is another one, and root's ~/.my.cnf is not for it."""
    user = _passwd(MONITOR)
    os.environ["HOME"] = "/nonexistent" if user is None else user.pw_dir
    settings = config.load(path)
    me = _passwd(os.geteuid())
    if settings.settings["mysql"]["user"] is not None or me is None or settings.login.user != me.pw_name:
        return settings
    return replace(settings, login=replace(settings.login, user=MONITOR))


def _system_user(account: Account, steps: Steps) -> None:
    if not account.by_socket:
        return
    if _passwd(account.user) is not None:
        steps.tell("user", Mark.THERE, account.user)
        return
    make = f"useradd --system --home-dir /var/lib/healthagent --shell /usr/sbin/nologin {account.user}"
    steps.tell("user", Mark.FAILED, f"no system user {account.user}; the package makes it, or: {make}")


def _passwd(who: str | int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(who) if isinstance(who, int) else pwd.getpwnam(who)
    except KeyError:
        return None


def _service(path: Path | None, steps: Steps) -> None:
    unit = _unit(path)
    if unit is None:
        steps.tell("service", Mark.NOTE, f"{path} is not the configuration of {SERVICE}: start its service yourself")
    elif not BOOTED.is_dir():
        steps.tell("service", Mark.NOTE, "systemd does not run here: start `healthagent serve` by what starts daemons")
    else:
        _by_systemd(unit, steps)


def _unit(path: Path | None) -> str | None:
    """The service that runs with this file: the units look below /etc/healthagent."""
    if path is None or path == DEFAULT_PATH:
        return SERVICE
    if path.parent == DEFAULT_PATH.parent and path.suffix == DEFAULT_PATH.suffix:
        return f"healthagent@{path.stem}.service"
    return None


def _by_systemd(unit: str, steps: Steps) -> None:
    try:
        show = _systemctl("show", "--property=LoadState,UnitFileState,ActiveState", unit)
        shown = dict(line.split("=", 1) for line in show.stdout.splitlines() if "=" in line)
        if shown.get("LoadState") != "loaded":
            found = shown.get("LoadState", "unknown")
            help_ = f"systemctl unmask {unit}" if found == "masked" else "the package brings it"
            steps.tell("service", Mark.FAILED, f"{unit} is {found}: {help_}")
        elif shown.get("UnitFileState") == "enabled" and shown.get("ActiveState") in ("active", "reloading"):
            steps.tell("service", Mark.THERE, f"{unit} is enabled and runs")
        elif not steps.apply:
            steps.tell("service", Mark.WOULD, f"systemctl enable --now {unit}")
        else:
            _systemctl("enable", "--now", unit)
            steps.tell("service", Mark.DONE, f"systemctl enable --now {unit}")
    except subprocess.CalledProcessError as error:
        says = " ".join(str(error.stderr).split()) or f"exit status {error.returncode}"
        steps.tell("service", Mark.FAILED, f"{' '.join(error.cmd)}: {says}")
    except (OSError, subprocess.TimeoutExpired) as error:
        steps.tell("service", Mark.FAILED, str(error))


def _systemctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, check=True, timeout=SYSTEMCTL_SECONDS
    )


def _probe(
    path: Path | None, account: Account, seen: Publication | None, works: bool, steps: Steps, *, password: bool
) -> None:
    """The table of `probe`: by the daemon's user and its account where they are there, else of what root has seen."""
    user = _passwd(account.user)
    if works and os.geteuid() == 0 and (user is not None or not account.by_socket):
        try:
            seen = _as_user(user, path)
        except (OSError, ConfigError) as error:
            steps.tell("login", Mark.FAILED, f"as {account.user}: {error}")
        else:
            _login(account, seen, steps, password=password)
    if seen is not None:
        print("", *once.table(seen), sep="\n")


def _login(account: Account, seen: Publication, steps: Steps, *, password: bool) -> None:
    failure = seen.snapshot.failure if seen.snapshot is not None else None
    if failure is None:
        steps.tell("login", Mark.THERE, f"{account.quoted}, {seen.state.word}")
    elif seen.state is State.AUTH_ERROR and not account.by_socket and not password:
        says = f"{account.quoted}: its password is not known here (systemd may have it); `/state` of the service says"
        steps.tell("login", Mark.NOTE, says)
    else:
        steps.tell("login", Mark.FAILED, f"{account.quoted}, {seen.state.word}: {failure.message}")


def _as_user(user: pwd.struct_passwd | None, path: Path | None) -> Publication:
    """The last step: root is not needed any more. MariaDB's unix_socket goes by the user of the process."""
    if user is not None:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    return asyncio.run(once.look(_as_the_daemon(path)))
