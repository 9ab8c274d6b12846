"""The table: every node, its state, the verdict and weight of every role, and what HAProxy makes of it."""

from typing import Any

from demo.stand import BACKENDS, HOST, READER_PORT, WRITER_PORT, Stand

# The order of the columns; roles that are not named come after them.
ROLES = ("any", "writer", "reader")


def show_table(stand: Stand) -> None:
    states = {name: agent.control("/state").json() for name, agent in stand.agents.items()}
    rows = {(row["pxname"], row["svname"]): row for row in stand.haproxy.stat()}
    known = [role for role in next(iter(states.values()))["roles"] if role not in ROLES]
    roles = [*ROLES, *known]
    lines = [["node", "state", *roles, *(f"HAProxy {backend}" for backend in BACKENDS)]]
    for name, state in states.items():
        verdicts = [_verdict(state["roles"][role]) for role in roles]
        lines.append([name, state["state"], *verdicts, *(_server(rows[backend, name]) for backend in BACKENDS)])
    print()
    _print_aligned(lines)
    for text in _reasons(states):
        print(f" {text}")
    print(f" clients write to {HOST}:{WRITER_PORT} and read from {HOST}:{READER_PORT}")


def _verdict(verdict: dict[str, Any]) -> str:
    return f"{verdict['verdict']} {verdict['weight']}"


def _server(row: dict[str, str]) -> str:
    """`UP`, `UP backup`, `DOWN L7STS/503`, `DOWN (agent)`."""
    if row["status"].startswith("UP"):
        return "UP backup" if row["bck"] == "1" else "UP"
    if row["status"].endswith("(agent)"):
        return row["status"]
    return f"{row['status']} {row['check_status']}/{row['check_code']}".rstrip("/")


def _reasons(states: dict[str, Any]) -> list[str]:
    """`n3: any, writer: desynced`, for what has any."""
    found: list[str] = []
    for name, state in states.items():
        by_reason: dict[str, list[str]] = {}
        for role, verdict in state["roles"].items():
            if verdict["reasons"]:
                by_reason.setdefault(", ".join(verdict["reasons"]), []).append(role)
        found += [f"{name}: {', '.join(roles)}: {reason}" for reason, roles in by_reason.items()]
    return found


def _print_aligned(lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        print(" " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print(" " + "  ".join("-" * width for width in widths))
