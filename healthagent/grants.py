"""The monitoring account and what it may do, as SQL: no more than the daemon does."""

from dataclasses import dataclass

from healthagent import tables
from healthagent.session import Login, Watch

__all__ = ["MONITOR", "Account", "Statement", "account_of", "create_user", "statements"]

MONITOR = "healthagent"
LEAST = "SLAVE MONITOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`by_socket`: it logs in by unix_socket, else by a password."""

    user: str
    host: str
    by_socket: bool

    @property
    def quoted(self) -> str:
        return f"`{self.user.replace('`', '``')}`@`{self.host}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`makes`: account, grant, database or table; `on`: its name, `database.table` or `*.*`; `rights` of a grant."""

    makes: str
    sql: str
    on: str = ""
    rights: tuple[str, ...] = ()


def account_of(login: Login) -> Account:
    """root can log in anyway; the daemon should run as a user of its own."""
    return Account(
        user=MONITOR if login.user == "root" else login.user,
        host=_host(login),
        by_socket=bool(login.socket and not login.password),
    )


def _host(login: Login) -> str:
    """As the server sees who comes. To one that listens on both, `127.0.0.1` is nobody from `::1`."""
    if login.socket:
        return "localhost"
    if not login.local:
        return "%"
    return "::1" if login.host == "::1" else "127.0.0.1"


def create_user(account: Account, password: str = "<the password of your configuration, quoted>") -> str:
    """`password` as an SQL literal. As it stands it is no SQL: nobody shall pipe one into the server that everybody
    can read here.
    """
    way = "VIA unix_socket" if account.by_socket else f"BY {password}"
    return f"CREATE USER IF NOT EXISTS {account.quoted} IDENTIFIED {way} WITH MAX_USER_CONNECTIONS 5"


def statements(login: Login, watch: Watch) -> list[Statement]:
    """In the order in which they have to be run.

    ON DUPLICATE KEY UPDATE asks for SELECT too (1143 on 10.11), even where it sets a constant.
    """
    account = account_of(login)
    write = ("SELECT", "INSERT", "UPDATE")
    wanted = [Statement(makes="account", sql=create_user(account)), _grant((LEAST,), "*.*", account)]
    if watch.write_table is not None:
        wanted += _creating(watch.write_table, tables.create_write_table(watch.write_table))
        wanted.append(_grant(write, watch.write_table, account))
    if watch.heartbeat_table is not None:
        wanted += _creating(watch.heartbeat_table, tables.create_heartbeat_table(watch.heartbeat_table))
        wanted.append(_grant(write if watch.heartbeat_write else ("SELECT",), watch.heartbeat_table, account))
    return wanted


def _grant(rights: tuple[str, ...], on: str, account: Account) -> Statement:
    where = on if on == "*.*" else tables.quoted(on)
    return Statement(
        makes="grant", sql=f"GRANT {', '.join(rights)} ON {where} TO {account.quoted}", on=on, rights=rights
    )


def _creating(table: str, create: str) -> list[Statement]:
    database = table.partition(".")[0]
    return [
        Statement(makes="database", sql=f"CREATE DATABASE IF NOT EXISTS `{database}`", on=database),
        Statement(makes="table", sql=create, on=table),
    ]
