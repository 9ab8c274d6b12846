"""The command line.

What only the daemon and `probe` need is loaded when they run: a command that asks the daemon has answered in 0.1 s,
while loading aiohttp and the database client alone takes 0.3 s.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from healthagent import __version__, asking, checking
from healthagent.document import DEFAULT_PATH, default_path
from healthagent.errors import AskedWrongError, ConfigError, HealthagentError, UnreachableError
from healthagent.recipe_arguments import add_recipes

if TYPE_CHECKING:
    from healthagent.config import Config
    from healthagent.model import Publication
    from healthagent.session import Watch

__all__ = ["command_line", "main"]

OK, DOWN, USAGE, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130
MONITOR = "healthagent"

EPILOG = """\
examples:
  healthagent sql grants | mariadb     the monitoring account, with SLAVE MONITOR and nothing else
  healthagent probe                    state, verdict of every role and every gate, without a daemon
  healthagent config check FILE        everything that is wrong, with line and path
  healthagent config show              the effective settings, secrets hidden
  healthagent serve                    the daemon; then: curl -i http://127.0.0.1:9200/writer
  healthagent check writer             up or not, by its exit status; for keepalived and scripts
  healthagent why writer               every gate of the role, as the daemon sees it
  healthagent ack                      what the daemon held against the node has been seen to
  healthagent config haproxy           a configuration for HAProxy that fits this cluster; also keepalived, hetzner

exit status: 0 well, or `any` is up; 1 it is down, or the daemon could not start; 2 usage or configuration;
3 the daemon that was asked does not answer
"""
SOCKET_HELP = "control socket of the daemon to ask; default: the one of the configuration"
CONFIG_HELP = f"configuration file; default: {DEFAULT_PATH} if it exists, else built-in defaults"


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    0 well, 1 down or could not start, 2 usage or configuration, 3 no daemon answers.
    """
    argv = sys.argv[1:] if argv is None else argv
    if checking.asked(argv):
        return checking.main(argv)
    parser = command_line()
    arguments = parser.parse_args(argv)
    if arguments.socket is not None and not arguments.asks:
        parser.error("--socket is for check, why, ack and config haproxy|keepalived|hetzner: they ask the daemon")
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except ConfigError as error:
        for line in error.lines():
            print(f"healthagent: {line}", file=sys.stderr)
        return USAGE
    except UnreachableError as error:
        print(f"healthagent: {error}", file=sys.stderr)
        return UNREACHABLE
    except AskedWrongError as error:
        print(f"healthagent: {error}", file=sys.stderr)
        return USAGE
    except HealthagentError as error:
        print(f"healthagent: {error}", file=sys.stderr)
        return DOWN
    except BrokenPipeError:
        # whoever read our output has had enough; the verdict is not known to be up, and exit must not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DOWN
    except KeyboardInterrupt:
        return INTERRUPTED


def command_line() -> argparse.ArgumentParser:
    """Every command and option; the manual page and the completion of shells are made from it."""
    parser = argparse.ArgumentParser(
        prog="healthagent",
        description="Tells load balancers whether this MariaDB node may take writes, reads or nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(asks=False)
    parser.add_argument("--version", action="version", version=f"healthagent {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)
    # the same option behind the command must not wipe out the one before it
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP, default=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, metavar="PATH", help=SOCKET_HELP)
    asks = argparse.ArgumentParser(add_help=False, parents=[common])
    asks.add_argument("--socket", type=Path, metavar="PATH", help=SOCKET_HELP, default=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", parents=[common], help="run the daemon (SIGHUP reloads, SIGTERM stops)")
    serve.set_defaults(run=_serve)
    probe = commands.add_parser("probe", parents=[common], help="read the server once and explain every verdict")
    probe.add_argument("--json", action="store_true", help="the whole answer as JSON")
    probe.set_defaults(run=_probe)

    commands.add_parser("check", help="ask the daemon whether a role is up: see `healthagent check --help`")
    why = commands.add_parser("why", parents=[asks], help="ask the daemon for every gate of a role")
    why.add_argument("role", metavar="ROLE", help="any, writer, reader, replica, synced, candidate, or one of your own")
    why.add_argument("--json", action="store_true", help="the answer as the daemon gives it")
    why.set_defaults(run=asking.why, asks=True)
    ack = commands.add_parser("ack", parents=[asks], help="tell the daemon that a latched reason has been seen to")
    ack.add_argument("--cluster", action="store_true", help="this node is meant to be in another cluster now")
    ack.set_defaults(run=asking.ack, asks=True)

    settings = commands.add_parser("config", parents=[common], help="its own and those of balancers").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    check = settings.add_parser("check", parents=[common], help="say all that is wrong with it")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help=CONFIG_HELP)
    check.set_defaults(run=_config_check)
    show = settings.add_parser("show", parents=[common], help="print the effective settings, secrets hidden")
    show.set_defaults(run=_config_show)
    add_recipes(settings, asks)

    sql = commands.add_parser("sql", parents=[common], help="grants: statements for the database").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    grants = sql.add_parser("grants", parents=[common], help="print the monitoring account's least privileges")
    grants.set_defaults(run=_sql_grants)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from healthagent import config, logs
    from healthagent.service import Service, new_event_loop

    def load() -> "Config":
        return config.load(arguments.config or default_path())

    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(Service(settings, load).run())
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    from healthagent import config
    from healthagent.decide import reports
    from healthagent.model import Status
    from healthagent.render import state_document, why_document

    settings = config.load(arguments.config or default_path())
    publication = asyncio.run(_probe_once(settings))
    if arguments.json:
        about = {"source": settings.source, "last_reload_success": True, "errors": []}
        now = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
        document = state_document(publication, now=now, version=__version__, config=about)
        factors, verdicts = publication.factors, publication.verdicts
        gates = {name: why_document(reports(publication, name), factors.get(name), verdicts[name]) for name in verdicts}
        print(json.dumps(document | {"gates": gates}, indent=2))
    else:
        _print_publication(publication)
    return OK if publication.verdicts["any"].status is Status.UP else DOWN


async def _probe_once(settings: "Config") -> "Publication":
    from healthagent.judge import judge, starting
    from healthagent.pin import PinFile
    from healthagent.probe import Probe

    probe = Probe(settings.login, timeout_seconds=settings.timeout_seconds, watch=settings.watch.once)
    try:
        snapshot = await probe.sample()
    finally:
        await probe.close()
    memory = starting(settings.policy, time.time(), PinFile(settings.state_dir).read())
    return judge(memory, snapshot, time.time()).publication


def _print_publication(publication: "Publication") -> None:
    from healthagent.decide import reports
    from healthagent.render import text_line

    snapshot = publication.snapshot
    print(f"state {publication.state.word}")
    if snapshot is not None and snapshot.failure is not None:
        print(f"  {snapshot.failure.message}")
    for name, verdict in publication.verdicts.items():
        print(text_line(verdict))
        for report in reports(publication, name):
            finding = report.finding
            mark = "failed" if not report.passed else "held" if finding.bad else "passed"
            shown = "" if finding.value is None else f" {finding.value}"
            limit = "" if finding.limit is None else f" (limit {finding.limit})"
            print(f"  {mark:6} {report.gate.value}{shown}{limit}")


def _config_check(arguments: argparse.Namespace) -> int:
    from healthagent import config

    settings = config.load(arguments.file or arguments.config or default_path())
    for warning in settings.warnings:
        print(f"healthagent: warning: {warning}", file=sys.stderr)
    print(f"{settings.source}: ok")
    return OK


def _config_show(arguments: argparse.Namespace) -> int:
    import yaml

    from healthagent import config

    settings = config.load(arguments.config or default_path())
    print(f"# {settings.source}")
    print(yaml.safe_dump(config.shown(settings), sort_keys=False, default_flow_style=None, width=120), end="")
    return OK


def _sql_grants(arguments: argparse.Namespace) -> int:
    from healthagent import config

    settings = config.load(arguments.config or default_path())
    login, watch = settings.login, settings.watch
    host = "localhost" if login.socket else "127.0.0.1" if login.local else "%"
    # root can log in anyway; the daemon should run as a user of its own
    user = MONITOR if login.user == "root" else login.user.replace("`", "``")
    account = f"`{user}`@`{host}`"
    # no SQL as it stands: nobody shall pipe a password into the server that everybody can read here
    way = (
        "VIA unix_socket" if login.socket and not login.password else "BY <the password of your configuration, quoted>"
    )
    print(f"CREATE USER IF NOT EXISTS {account} IDENTIFIED {way} WITH MAX_USER_CONNECTIONS 5;")
    print(f"GRANT SLAVE MONITOR ON *.* TO {account};")
    for statement in _table_statements(watch, account):
        print(f"{statement};")
    return OK


def _table_statements(watch: "Watch", account: str) -> list[str]:
    """The tables that are configured, and what the account may do to them: no more than it does.

    ON DUPLICATE KEY UPDATE asks for SELECT too (1143 on 10.11), even where it sets a constant.
    """
    from healthagent import tables

    write = "SELECT, INSERT, UPDATE"
    statements = []
    if watch.write_table is not None:
        statements += _creating(watch.write_table, tables.create_write_table(watch.write_table))
        statements.append(f"GRANT {write} ON {tables.quoted(watch.write_table)} TO {account}")
    if watch.heartbeat_table is not None:
        rights = write if watch.heartbeat_write else "SELECT"
        statements += _creating(watch.heartbeat_table, tables.create_heartbeat_table(watch.heartbeat_table))
        statements.append(f"GRANT {rights} ON {tables.quoted(watch.heartbeat_table)} TO {account}")
    return statements


def _creating(table: str, create: str) -> list[str]:
    database = table.partition(".")[0]
    return [f"CREATE DATABASE IF NOT EXISTS `{database}`", create]
