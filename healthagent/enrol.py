"""The monitoring account at the server: what of it is there, and its making.

It is only created where it belongs: on the primary, from where it replicates, or on a healthy member of a Galera
cluster, which has it everywhere at once. What is there is never changed.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from healthagent import config, once
from healthagent.config import Config
from healthagent.facts import FailureKind
from healthagent.grants import Account, Statement, create_user, statements
from healthagent.link import Link, failure_of
from healthagent.model import Publication
from healthagent.reasons import STATE_TEXT, State
from healthagent.session import Login, link_to
from healthagent.steps import Mark, Steps

__all__ = ["enrol"]

SQL_SECONDS = 30.0  # CREATE USER waits for its turn in the whole Galera cluster
OTHER_HELP = {
    FailureKind.REFUSED: "is MariaDB running, and is that its socket? `mysql.socket` in the configuration says where",
    FailureKind.LOGIN: "run it as root, which logs in by unix_socket, or put user and password into root's ~/.my.cnf",
}
REPLICAS = {State.REPLICA, State.REPLICA_LAGGING, State.REPLICA_STALE_LINK, State.REPLICA_STOPPED, State.REPLICA_ERROR}
WRITABLE = (State.SYNCED, State.PRIMARY, State.STANDALONE)
GRANTED = re.compile(r"GRANT (?P<rights>.+?) ON (?P<on>\S+) TO ")


async def enrol(settings: Config, here: Login, account: Account, steps: Steps) -> tuple[Publication | None, bool]:
    """`here`: the login of who runs this. What the server is, and whether the account and its rights are there now."""
    login = settings.login
    if not login.local:
        steps.tell("account", Mark.FAILED, f"{login.where} is another machine: run `healthagent sql grants` for it")
        return None, False
    socket = login.socket or here.socket or config.DEFAULT_SOCKET
    here = replace(here, socket=socket, datadir=login.datadir, pid_file=login.pid_file)
    seen = await once.look(settings, here)
    failure = seen.snapshot.failure if seen.snapshot is not None else None
    if failure is not None:
        more = OTHER_HELP.get(failure.kind, STATE_TEXT[seen.state])
        steps.tell("server", Mark.FAILED, f"{here.where} as {here.user}: {failure.message}; {more}")
        return seen, False
    link = link_to(here)
    try:
        async with asyncio.timeout(SQL_SECONDS):
            await link.open(SQL_SECONDS)
            if login.socket is None and (other := await _other_server(link, login)) is not None:
                steps.tell("server", Mark.FAILED, f"{here.where}: {other}")
                return None, False
            steps.tell("server", Mark.THERE, f"{here.where}, {seen.state.word}")
            works = await _account(link, settings, account, _objection(seen, login, account), steps)
            await link.leave()
    except Exception as error:  # aiomysql's, or the end of the connection
        steps.tell("account", Mark.FAILED, f"{here.where}: {failure_of(error, abandoned=0).message}")
        return seen, False
    finally:
        link.abort()
    return seen, works


async def _other_server(link: Link, login: Login) -> str | None:
    """Why what answers at the socket cannot be what the configuration names by host and port."""
    (row,) = await link.rows("SELECT @@port AS port")
    if str(row["port"]) == str(login.port):
        return None
    return (
        f"that server's port is {row['port']}, and the configuration means {login.where}: name the socket of the"
        " latter in root's ~/.my.cnf, or run `healthagent sql grants` for it"
    )


def _objection(seen: Publication, login: Login, account: Account) -> str | None:
    """Why no account may be created here and now."""
    if not account.by_socket and not login.password:  # one from a credential of systemd is not seen here
        return "no password is known: put it into mysql.password_file, or use `healthagent sql grants`"
    state, server = seen.state, seen.snapshot.server if seen.snapshot is not None else None
    if state in REPLICAS:
        return f"this is a replica ({state.word}), and what is written here is nowhere else: run it on the primary"
    if state not in WRITABLE:
        return f"the node is {state.word} ({STATE_TEXT[state]}): run it on a healthy one, or when this is healthy"
    if server is None or server.read_only is not False:
        return "read_only is on: somebody wants nothing to be written here"
    return None


async def _account(link: Link, settings: Config, account: Account, objection: str | None, steps: Steps) -> bool:
    granted = await _granted(link, account)
    complaint = await _other_login(link, account) if granted is not None else None
    works = True
    for statement in statements(settings.login, settings.watch):
        if await _is_there(link, statement, granted):
            mark, says = (Mark.THERE, _name(statement, account)) if complaint is None else (Mark.FAILED, complaint)
            complaint = None
        elif objection is not None or not works:
            mark, says = Mark.FAILED, objection or f"needs what failed above: {statement.sql}"
        elif not steps.apply:
            mark, says = Mark.WOULD, statement.sql
        else:
            mark, says = await _made(link, statement, settings.login, account)
        works &= mark is not Mark.FAILED
        steps.tell(statement.makes, mark, says)
    return works and not steps.left


async def _granted(link: Link, account: Account) -> list[tuple[set[str], str]] | None:
    """(rights, on what) of each of its grants; None: no such account."""
    user, host = link.escape(account.user), link.escape(account.host)
    if not await link.rows(f"SELECT 1 FROM mysql.user WHERE User = {user} AND Host = {host}"):
        return None
    lines = [str(next(iter(row.values()))) for row in await link.rows(f"SHOW GRANTS FOR {account.quoted}")]
    found = [match for match in map(GRANTED.match, lines) if match is not None]
    return [(set(match["rights"].split(", ")), match["on"].replace("`", "")) for match in found]


async def _other_login(link: Link, account: Account) -> str | None:
    """What to do about an account that logs in otherwise than the configuration wants it: who made it knows why."""
    rows = await link.rows(f"SHOW CREATE USER {account.quoted}")
    if account.by_socket and not any("unix_socket" in str(value) for row in rows for value in row.values()):
        return (
            f"{account.quoted} is there, but not by unix_socket: ALTER USER {account.quoted} IDENTIFIED VIA unix_socket"
        )
    return None


async def _is_there(link: Link, statement: Statement, granted: Sequence[tuple[set[str], str]] | None) -> bool:
    database, _, table = statement.on.partition(".")
    if statement.makes == "account":
        return granted is not None
    if statement.makes == "grant":
        wide = {"*.*", f"{database}.*", statement.on}
        rights = {right for some, on in granted or () if on in wide for right in some}
        return "ALL PRIVILEGES" in rights or rights.issuperset(statement.rights)
    where, name = ("SCHEMATA", "SCHEMA_NAME") if statement.makes == "database" else ("TABLES", "TABLE_SCHEMA")
    sql = f"SELECT 1 FROM information_schema.{where} WHERE {name} = {link.escape(database)}"
    return bool(await link.rows(sql if not table else f"{sql} AND TABLE_NAME = {link.escape(table)}"))


async def _made(link: Link, statement: Statement, login: Login, account: Account) -> tuple[Mark, str]:
    sql = create_user(account, link.escape(login.password)) if statement.makes == "account" else statement.sql
    try:
        await link.execute(sql)
    except Exception as error:  # what the server says of it; a connection that is gone says so at the next one
        return Mark.FAILED, f"{statement.sql}: {failure_of(error, abandoned=0).message}"
    return Mark.DONE, statement.sql


def _name(statement: Statement, account: Account) -> str:
    if statement.makes == "grant":
        return f"{', '.join(statement.rights)} on {statement.on}"
    return statement.on or account.quoted
