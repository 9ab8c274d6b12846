"""`healthagent check ROLE`, for whoever runs a program as its check: keepalived, scripts.

It is run every second on every node, so it starts without argparse, asyncio and YAML, and reads its few options itself.
It never waits longer than DEADLINE_SECONDS: an agent answers from memory, in milliseconds, and one that is frozen has
to be noticed well before the next run.
"""

import os

from healthagent.client import NoAnswerError, ask, one_line
from healthagent.places import CONFIG_FILE, CONTROL_SOCKET

__all__ = ["DEADLINE_SECONDS", "USAGE_TEXT", "asked", "exit_status", "main"]

UP, DOWN, USAGE, UNREACHABLE = 0, 1, 2, 3
# keepalived's `misc_dynamic`: 0 and 2..255 mean that all is well, 1 that it is not
FAILED, WEIGHTLESS, HEAVIEST = 1, 2, 100
OK_CODE, BAD_REQUEST = 200, 400
DEADLINE_SECONDS = 0.5
ROLE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
DURATION_LETTERS = frozenset("0123456789.hms")
WEIGHT_LIKE = ("-w", "-W", "--w", "--W")
WITH_VALUE = ("--config", "--socket", "--max-lag")

USAGE_TEXT = """\
usage: healthagent check [--socket PATH | --config FILE] [--max-lag 5s] [--weight] ROLE

asks the running daemon for its verdict and prints it as one line, within 0.5 s

  ROLE            any, writer, reader, replica, synced, candidate, or one of your own
  --max-lag 5s    the data may be that old, at most
  --weight        exit status for keepalived's misc_dynamic: the weight + 2
  --socket PATH   control socket of the daemon; quicker than looking it up in the configuration
  --config FILE   the daemon's configuration file

exit status: 0 up; 1 down or draining; 2 usage or configuration; 3 no daemon answers
with --weight: up: weight + 2; draining: 2; all else, wrong usage and a daemon that does not answer too: 1
"""


class UsageError(Exception):
    """What is wrong with the command line, or with what it names; one line."""


def asked(argv: list[str]) -> bool:
    """Whether the command is `check`: the first word that is no option, nor the value of one."""
    words = iter(argv)
    for word in words:
        if word in WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word == "check"
    return False


def main(argv: list[str]) -> int:
    """The exit status of a command line that has `check` in it. Nothing is raised."""
    weighs = any(word.startswith(WEIGHT_LIKE) for word in argv)  # misspelt too: 2 would mean that all is well
    try:
        if "--help" in argv or "-h" in argv:
            status = _say(USAGE_TEXT)
        else:
            verdict, weight, line = _ask(argv)
            _say(f"{line}\n")
            return exit_status(verdict, weight, weighs=weighs)
    except UsageError as error:
        status = _complain(USAGE, *error.args)
    except NoAnswerError as error:
        status = _complain(UNREACHABLE, str(error))
    except KeyboardInterrupt:
        status = DOWN
    except Exception as error:  # a fault of ours is no reason to say that the role is up
        status = _complain(DOWN, str(error) or type(error).__name__)
    return FAILED if weighs else status


def exit_status(verdict: str, weight: int, *, weighs: bool) -> int:
    """`verdict` is up, drain or down. With `weighs` as keepalived's misc_dynamic reads it, else 0 for up alone."""
    if not weighs:
        return UP if verdict == "up" else DOWN
    return {"up": weight + WEIGHTLESS, "drain": WEIGHTLESS}.get(verdict, FAILED)


def _ask(argv: list[str]) -> tuple[str, int, str]:
    """The agent's verdict, weight and text line."""
    role, options = _parse(argv)
    lag = options.get("--max-lag")
    reply = ask(_socket(options), f"/{role}" if lag is None else f"/{role}?max_lag={lag}", seconds=DEADLINE_SECONDS)
    line = one_line(reply.body)
    if reply.code == BAD_REQUEST:
        raise UsageError(line)
    verdict, weight = reply.headers.get("x-healthagent-verdict"), reply.headers.get("x-healthagent-weight", "")
    if verdict is None and reply.code == OK_CODE:  # /liveness, /state: an answer, but no verdict
        raise UsageError(f"{role!r} is no role")
    if verdict is None:
        raise RuntimeError(f"the agent answers {reply.code}: {line}")
    if (verdict == "up") != (reply.code == OK_CODE) or not weight.isdecimal() or (verdict == "up") != (int(weight) > 0):
        raise RuntimeError(f"the agent's answer is not understood: {reply.code} {verdict} weight {weight}")
    return verdict, min(int(weight), HEAVIEST), line


def _parse(argv: list[str]) -> tuple[str, dict[str, str]]:
    """(role, options that have a value)"""
    options: dict[str, str] = {}
    names: list[str] = []
    words = iter(argv)
    for word in words:
        option, is_set, value = word.partition("=")
        if option in WITH_VALUE:
            options[option] = value if is_set else next(words, "")
            if not options[option]:
                raise UsageError(f"{option} needs a value")
        elif word.startswith("-") and word != "--weight":
            raise UsageError(f"unknown option {word!r}")
        elif word != "--weight":
            names.append(word)
    role, *more = names[1:] or [""]  # the first one is `check`
    if more:
        raise UsageError(f"one ROLE, please, not {' '.join(names[1:])!r}")
    if not role or not ROLE_LETTERS.issuperset(role):
        raise UsageError(f"unknown role {role!r}" if role else "ROLE is missing")
    if not DURATION_LETTERS.issuperset(options.get("--max-lag", "")):
        raise UsageError(f"--max-lag {options['--max-lag']!r}: must be a duration such as 500ms, 5s or 10m")
    return role, options


def _socket(options: dict[str, str]) -> str:
    if "--socket" in options:
        return options["--socket"]
    if "--config" not in options and not os.path.lexists(CONFIG_FILE):
        return CONTROL_SOCKET
    from pathlib import Path

    from healthagent.document import control_socket
    from healthagent.errors import ConfigError

    try:
        return str(control_socket(Path(options.get("--config", CONFIG_FILE))))
    except ConfigError as error:
        raise UsageError(*error.lines()) from error


def _say(text: str) -> int:
    """Past Python's own buffer, which it would try to write once more at exit, and end with 120."""
    try:
        os.write(1, text.encode("utf-8", "replace"))
    except OSError:  # nobody is there to read it; the status says the same
        return UP
    return UP


def _complain(status: int, *lines: str) -> int:
    try:
        os.write(2, "".join(f"healthagent: {line}\n" for line in lines).encode("utf-8", "replace"))
    except OSError:  # nobody is there to read it; the status says the same
        return status
    return status
