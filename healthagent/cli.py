"""The command line."""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

import yaml

from healthagent import __version__, config, logs
from healthagent.config import DEFAULT_PATH, Config
from healthagent.errors import ConfigError, HealthagentError
from healthagent.judge import judge, starting
from healthagent.model import Publication, Snapshot, Status
from healthagent.pin import Pin
from healthagent.probe import Probe
from healthagent.render import state_document, text_line, why_document
from healthagent.service import Service

__all__ = ["main"]

OK, DOWN, USAGE = 0, 1, 2
INTERRUPTED = 130
MONITOR = "healthagent"

EPILOG = """\
examples:
  healthagent sql grants | mariadb     the monitoring account, with SLAVE MONITOR and nothing else
  healthagent probe                    state, verdict of every role and every gate, without a daemon
  healthagent config check FILE        everything that is wrong, with line and path
  healthagent config show              the effective settings, secrets hidden
  healthagent serve                    the daemon; then: curl -i http://127.0.0.1:9200/writer

exit status: 0 well, or `any` is up; 1 it is down, or the daemon could not start; 2 usage or configuration
"""
CONFIG_HELP = f"configuration file; default: {DEFAULT_PATH} if it exists, else built-in defaults"


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 well, 1 down or could not start, 2 usage or configuration."""
    arguments = _parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except ConfigError as error:
        for line in error.lines():
            print(f"healthagent: {line}", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="healthagent",
        description="Tells load balancers whether this MariaDB node may take writes, reads or nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"healthagent {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)
    # the same option behind the command must not wipe out the one before it
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP, default=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", parents=[common], help="run the daemon (SIGHUP reloads, SIGTERM stops)")
    serve.set_defaults(run=_serve)
    probe = commands.add_parser("probe", parents=[common], help="read the server once and explain every verdict")
    probe.add_argument("--json", action="store_true", help="the whole answer as JSON")
    probe.set_defaults(run=_probe)

    settings = commands.add_parser("config", parents=[common], help="check or show: the configuration").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    check = settings.add_parser("check", parents=[common], help="say all that is wrong with it")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help=CONFIG_HELP)
    check.set_defaults(run=_config_check)
    show = settings.add_parser("show", parents=[common], help="print the effective settings, secrets hidden")
    show.set_defaults(run=_config_show)

    sql = commands.add_parser("sql", parents=[common], help="grants: statements for the database").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    grants = sql.add_parser("grants", parents=[common], help="print the monitoring account's least privileges")
    grants.set_defaults(run=_sql_grants)
    return parser


def _path(named: Path | None) -> Path | None:
    """The file that is meant; None for the built-in defaults."""
    try:
        default = DEFAULT_PATH if DEFAULT_PATH.exists() else None
    except PermissionError:  # it is there and not for us: reading it will say so
        default = DEFAULT_PATH
    return named or default


def _serve(arguments: argparse.Namespace) -> int:
    def load() -> Config:
        return config.load(_path(arguments.config))

    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(Service(settings, load).run())
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    settings = config.load(_path(arguments.config))
    publication = asyncio.run(_probe_once(settings))
    if arguments.json:
        about = {"source": settings.source, "last_reload_success": True, "errors": []}
        now = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
        document = state_document(publication, now=now, version=__version__, config=about)
        gates = {name: why_document(reports) for name, reports in publication.gates.items()}
        print(json.dumps(document | {"gates": gates}, indent=2))
    else:
        _print_publication(publication)
    return OK if publication.verdicts["any"].status is Status.UP else DOWN


async def _probe_once(settings: Config) -> Publication:
    probe = Probe(settings.login, timeout_seconds=settings.timeout_seconds)
    try:
        snapshot: Snapshot = await probe.sample()
    finally:
        await probe.close()
    policy = Pin(settings.state_dir).apply(settings.policy)
    return judge(starting(policy, 0.0), snapshot, policy, time.time()).publication


def _print_publication(publication: Publication) -> None:
    snapshot = publication.snapshot
    print(f"state {publication.state.word}")
    if snapshot is not None and snapshot.failure is not None:
        print(f"  {snapshot.failure.message}")
    for name, verdict in publication.verdicts.items():
        print(text_line(verdict))
        for report in publication.gates.get(name, ()):
            finding = report.finding
            mark = "failed" if not report.passed else "held" if finding.bad else "passed"
            shown = "" if finding.value is None else f" {finding.value}"
            limit = "" if finding.limit is None else f" (limit {finding.limit})"
            print(f"  {mark:6} {finding.gate.value}{shown}{limit}")


def _config_check(arguments: argparse.Namespace) -> int:
    settings = config.load(arguments.file or _path(arguments.config))
    for warning in settings.warnings:
        print(f"healthagent: warning: {warning}", file=sys.stderr)
    print(f"{settings.source}: ok")
    return OK


def _config_show(arguments: argparse.Namespace) -> int:
    settings = config.load(_path(arguments.config))
    print(f"# {settings.source}")
    print(yaml.safe_dump(config.shown(settings), sort_keys=False), end="")
    return OK


def _sql_grants(arguments: argparse.Namespace) -> int:
    login = config.load(_path(arguments.config)).login
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
    return OK
