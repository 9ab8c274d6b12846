"""The command line.

What only the daemon and `probe` need is loaded when they run: a command that asks the daemon has answered in 0.1 s,
while loading aiohttp and the database client alone takes 0.3 s.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from healthagent import __version__, asking, checking
from healthagent.document import DEFAULT_PATH, default_path
from healthagent.errors import AskedWrongError, ConfigError, HealthagentError, UnreachableError
from healthagent.recipe_arguments import add_recipes

if TYPE_CHECKING:
    from healthagent.config import Config

__all__ = ["command_line", "main"]

OK, DOWN, USAGE, UNREACHABLE = 0, 1, 2, 3
FAULT = 70  # EX_SOFTWARE of sysexits.h: systemd restarts it at once, unlike what could not start
INTERRUPTED = 130

EPILOG = """\
examples:
  healthagent sql grants | mariadb     the monitoring account, with SLAVE MONITOR and nothing else
  healthagent setup                    what this node still lacks: account, grants, service; --apply does it
  healthagent probe                    state, verdict of every role and every gate, without a daemon
  healthagent config check FILE        everything that is wrong, with line and path
  healthagent config show              the effective settings, secrets hidden
  healthagent serve                    the daemon; then: curl -i http://127.0.0.1:9200/writer
  healthagent check writer             up or not, by its exit status; for keepalived and scripts
  healthagent why writer               every gate of the role, as the daemon sees it
  healthagent ack                      what the daemon held against the node has been seen to
  healthagent replay FILE --config NEW what NEW would have made of what was recorded
  healthagent config haproxy           a configuration for HAProxy that fits this cluster; also keepalived, hetzner

exit status: 0 well, or `any` is up; 1 it is down, or the daemon could not start; 2 usage or configuration;
3 the daemon that was asked does not answer; 70 the daemon ended by a fault of its own while it served
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
    setup = commands.add_parser(
        "setup", parents=[common], help="say what this node still lacks: account, grants, service"
    )
    setup.add_argument("--apply", action="store_true", help="do it, as root; without it nothing is changed")
    setup.set_defaults(run=_setup)
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

    replay = commands.add_parser("replay", help="what a record (`probe.record`) told, or would have told")
    replay.add_argument(
        "--config", type=Path, metavar="FILE", help="judge by this one too, and compare", default=argparse.SUPPRESS
    )
    replay.add_argument("file", type=Path, metavar="FILE", help="the record; FILE.1 beside it is read first")
    replay.add_argument("--role", metavar="ROLE", help="this one alone")
    replay.add_argument("--json", action="store_true", help="everything as JSON")
    replay.set_defaults(run=_replay)

    settings = commands.add_parser("config", parents=[common], help="its own and those of balancers").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    check = settings.add_parser("check", parents=[common], help="say all that is wrong with it")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help=CONFIG_HELP)
    check.add_argument("--running", action="store_true", help="and that the daemon has taken it: its last reload")
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
    from healthagent.events import Event, Kind, Level
    from healthagent.service import Service, new_event_loop

    def load() -> "Config":
        return config.load(arguments.config or default_path())

    def refuse(errors: list[str], status: int) -> int:
        says = f"not started: {'; '.join(errors)}"
        logs.tell(Event(kind=Kind.START_FAILED, level=Level.ERROR, says=says, fields={"errors": tuple(errors)}))
        return status

    # Nobody may read what we say: not even a daemon that cannot start waits for that.
    logs.configure("info", "auto")
    service: Service | None = None
    try:
        settings = load()
        logs.configure(settings.log_level, settings.log_format)
        service = Service(settings, load)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(service.run())
    except ConfigError as error:
        return refuse(error.lines(), USAGE)
    except HealthagentError as error:
        return refuse([str(error)], DOWN)
    except Exception as error:  # one line, like all that the log has
        logs.fault("the daemon ends", error, Level.CRITICAL)
        return FAULT if service is not None and service.ready else DOWN
    finally:
        logs.close()
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    from healthagent import config, once
    from healthagent.decide import reports
    from healthagent.model import Status
    from healthagent.render import state_document, why_document

    settings = config.load(arguments.config or default_path())
    publication = asyncio.run(once.look(settings))
    if arguments.json:
        about = {"source": settings.source, "last_reload_success": True, "errors": [], "reloading": False}
        now = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
        document = state_document(publication, now=now, version=__version__, config=about)
        factors, verdicts = publication.factors, publication.verdicts
        gates = {name: why_document(reports(publication, name), factors.get(name), verdicts[name]) for name in verdicts}
        print(json.dumps(document | {"gates": gates}, indent=2))
    else:
        print(*once.table(publication), sep="\n")
    return OK if publication.verdicts["any"].status is Status.UP else DOWN


def _replay(arguments: argparse.Namespace) -> int:
    from healthagent import replaying

    return replaying.replay(arguments)


def _config_check(arguments: argparse.Namespace) -> int:
    from healthagent import config

    settings = config.load(arguments.file or arguments.config or default_path())
    for warning in settings.warnings:
        print(f"healthagent: warning: {warning}", file=sys.stderr)
    if arguments.running:
        asking.reloaded(settings.control.socket)
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
    from healthagent import config, grants

    settings = config.load(arguments.config or default_path())
    for statement in grants.statements(settings.login, settings.watch):
        print(f"{statement.sql};")
    return OK


def _setup(arguments: argparse.Namespace) -> int:
    from healthagent import setup

    return DOWN if setup.run(arguments.config or default_path(), apply=arguments.apply) else OK
