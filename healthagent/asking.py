"""The commands that ask the running daemon: each prints what it answers and returns its exit status.

`arguments` has `socket` (a path, or None for that of the configuration) and `config` (a file, or None).
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from healthagent.client import NoAnswerError, Reply, ask, one_line
from healthagent.document import control_socket, default_path
from healthagent.errors import HealthagentError, UnreachableError

__all__ = ["ack", "reloaded", "why"]

OK, USAGE = 0, 2
OK_CODE, BAD_REQUEST = 200, 400
RELOAD_SECONDS, RELOAD_BEAT_SECONDS = 10.0, 0.1


def why(arguments: Namespace) -> int:
    """Every gate of `arguments.role` and every factor of its weight; 2 for a role that is not known."""
    reply = _ask(arguments, f"/why?role={quote(arguments.role, safe='')}")
    if reply.code == BAD_REQUEST:
        print(f"healthagent: {one_line(reply.body)}", file=sys.stderr)
        return USAGE
    if arguments.json:
        print(reply.body, end="")
        return OK
    try:
        lines = list(_explained(json.loads(reply.body)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HealthagentError(f"the agent's answer is not understood: {one_line(reply.body)}") from error
    print(*lines, sep="\n")
    return OK


def ack(arguments: Namespace) -> int:
    """What the daemon held against its node until somebody said that it has been seen to."""
    reply = _ask(arguments, "/ack?cluster=1" if arguments.cluster else "/ack", method="POST")
    if reply.code == BAD_REQUEST:
        raise HealthagentError(f"the agent is of another version: {one_line(reply.body)}")
    print(one_line(reply.body))
    return OK


def reloaded(control: Path) -> None:
    """Waits until the daemon has seen to every SIGHUP that it got before. HealthagentError with what it refused.

    The file may name another control socket than before: that one is there when the reload has been taken.
    """
    deadline = time.monotonic() + RELOAD_SECONDS
    while True:
        late = time.monotonic() >= deadline
        try:
            about = _about_config(ask(str(control), "/state"))
        except NoAnswerError as error:
            if late:
                raise UnreachableError(str(error)) from error
        else:
            if not about.get("reloading"):
                break
            if late:
                raise HealthagentError(f"the agent has not ended its reload for {RELOAD_SECONDS:g} s")
        time.sleep(RELOAD_BEAT_SECONDS)
    if not about.get("last_reload_success"):
        errors = about.get("errors") or ("for a reason that it does not tell",)
        raise HealthagentError(f"not reloaded: {'; '.join(map(_said, errors))}")


def _about_config(reply: Reply) -> dict[str, Any]:
    try:
        about = json.loads(reply.body)["config"]
    except (ValueError, TypeError, KeyError):
        about = None
    if reply.code != OK_CODE or not isinstance(about, dict):
        raise HealthagentError(f"the agent's answer is not understood: {one_line(reply.body)[:200]}")
    return about


def _ask(arguments: Namespace, target: str, *, method: str = "GET") -> Reply:
    """The daemon's answer, of 200 or 400. HealthagentError for what else it says."""
    path = arguments.socket or control_socket(arguments.config or default_path())
    try:
        reply = ask(str(path), target, method=method)
    except NoAnswerError as error:
        raise UnreachableError(str(error)) from error
    if reply.code not in (OK_CODE, BAD_REQUEST):
        raise HealthagentError(f"{path}: the agent answers {reply.code}: {one_line(reply.body)}")
    return reply


def _explained(entries: Any) -> Iterable[str]:
    """The list of /why, one line for each gate and each factor of the weight."""
    if not isinstance(entries, list):
        raise TypeError("not a list")
    width = max((len(entry.get("gate", "")) for entry in entries), default=0)
    for entry in entries:
        if "factor" in entry:
            yield f"factor {one_line(entry['factor'])} {_said(entry['value'])}"
            continue
        mark = "failed" if not entry["passed"] else "held" if entry["reason"] is not None else "passed"
        value = "" if entry["value"] is None else f"  {_said(entry['value'])}"
        limit = "" if entry["limit"] is None else f" (limit {_said(entry['limit'])})"
        reason = "" if entry["reason"] is None else f"  reason={_said(entry['reason'])}"
        yield f"{mark:6} {one_line(entry['gate']):{width}}  since {_said(entry['since'])}{reason}{value}{limit}"
    if not entries:
        yield "nothing is known yet: no probe has ended"


def _said(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value))
