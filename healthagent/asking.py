"""The commands that ask the running daemon: each prints what it answers and returns its exit status.

`arguments` has `socket` (a path, or None for that of the configuration) and `config` (a file, or None).
"""

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from healthagent.client import NoAnswerError, Reply, ask, one_line
from healthagent.document import control_socket, default_path
from healthagent.errors import HealthagentError, UnreachableError

__all__ = ["ack", "why"]

OK, USAGE = 0, 2
BAD_REQUEST = 400


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


def _ask(arguments: Namespace, target: str, *, method: str = "GET") -> Reply:
    """The daemon's answer, of 200 or 400. HealthagentError for what else it says."""
    path = arguments.socket or control_socket(arguments.config or default_path())
    try:
        reply = ask(str(path), target, method=method)
    except NoAnswerError as error:
        raise UnreachableError(str(error)) from error
    if reply.code not in (200, BAD_REQUEST):
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
