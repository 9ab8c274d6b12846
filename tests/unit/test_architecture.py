"""The rooms of the house and the doors between them. A new import is a decision: it is written down here first."""

import ast
from pathlib import Path

import pytest

import healthagent

HOUSE = Path(healthagent.__file__).parent
MAX_LINES = 330

# room -> the rooms it looks at. What is above knows nothing of what is below it.
DOORS: dict[str, set[str]] = {
    "__init__": set(),
    "reasons": set(),
    "errors": set(),
    "clock": set(),
    "facts": set(),
    "policy": set(),
    "parse": {"facts"},
    "links": {"facts"},
    "pace": {"facts"},
    "trail": {"facts", "links", "pace", "policy"},
    "model": {"facts", "reasons", "trail"},
    "assess": {"facts", "links", "policy", "reasons", "trail"},
    "view": {"facts", "model", "policy", "reasons", "trail"},
    "gates_server": {"assess", "facts", "model", "policy", "reasons", "view"},
    "gates_galera": {"assess", "facts", "model", "policy", "reasons", "trail", "view"},
    "gates_replication": {"assess", "facts", "links", "model", "policy", "reasons", "view"},
    "weights": {"assess", "gates_replication", "model", "policy", "reasons", "view"},
    "damping": {"model"},
    "table": {"gates_galera", "gates_replication", "gates_server", "model", "policy", "reasons"},
    "plan": {"model", "policy", "reasons", "table"},
    "decide": {"assess", "model", "reasons"},
    "judge": {"assess", "damping", "decide", "facts", "model", "plan", "policy", "reasons", "trail", "view", "weights"},
    "tally": {"decide", "facts", "model", "reasons"},
    "families": set(),
    "measures": {"decide", "facts", "families", "model", "reasons", "tally"},
    "mysqld_names": {"families", "measures", "model"},
    "balancers": set(),
    "render": {"balancers", "decide", "facts", "model", "reasons"},
    "events": set(),
    "transitions": {"decide", "events", "facts", "model", "reasons"},
    "forms": {"events", "render"},
    "folding": {"events", "forms"},
    "outlet": {"events", "folding", "forms"},
    "sinks": {"forms"},
    "logs": {"events", "forms", "outlet", "sinks"},
    "board": {"clock", "decide", "model"},
    "metrics": {"__init__", "board", "clock", "families", "measures", "mysqld_names", "tally"},
    "tables": {"facts"},
    "packets": set(),
    "link": {"facts", "packets"},
    "session": {"facts", "link", "parse", "tables"},
    "diag": set(),
    "transfer": {"diag", "facts"},
    "process": {"clock", "diag", "facts", "transfer"},
    "errand": {"clock"},
    "lookout": {"logs"},
    "clientport": {"errand", "facts", "link", "lookout", "process", "session"},
    "writing": {"clock", "errand", "facts", "link", "session", "tables", "trail"},
    "beside": {"clientport", "errand", "facts", "lookout", "process", "session", "writing"},
    "probe": {"beside", "clock", "facts", "link", "lookout", "parse", "process", "session"},
    "rhythm": {"facts"},
    "quantities": set(),
    "record": {"facts", "parse", "quantities", "trail"},
    "recordfile": {"record"},
    "course": {"model", "reasons"},
    "replay": {"course", "decide", "judge", "model", "plan", "policy", "record"},
    "kinds": {"parse", "policy", "tables"},
    "paths": {"kinds"},
    "trackfile": {"kinds", "paths"},
    "places": set(),
    "schema": {"kinds", "paths", "places", "policy", "trackfile"},
    "document": {"errors", "kinds", "places", "schema"},
    "roles": {"document", "kinds", "policy", "schema"},
    "passwords": {"document"},
    "config": {
        "document",
        "errors",
        "kinds",
        "passwords",
        "policy",
        "record",
        "roles",
        "schema",
        "session",
        "trackfile",
    },
    "recorder": {
        "__init__",
        "clock",
        "config",
        "errand",
        "facts",
        "logs",
        "lookout",
        "record",
        "recordfile",
        "trail",
    },
    "question": {"kinds", "policy"},
    "pin": {"clock", "errand", "events", "logs", "lookout", "parse", "policy", "trail"},
    "monitor": {
        "board",
        "clock",
        "config",
        "events",
        "facts",
        "judge",
        "logs",
        "model",
        "pin",
        "plan",
        "policy",
        "probe",
        "recorder",
        "rhythm",
        "trail",
        "transitions",
    },
    "doorbell": {"errors", "kinds"},
    "preface": set(),
    "healthcheck": {"render"},
    "wire": {"preface"},
    "handler": {"healthcheck", "logs", "wire"},
    "reception": {"events", "handler", "logs", "wire"},
    "web": {
        "__init__",
        "balancers",
        "board",
        "clock",
        "decide",
        "handler",
        "healthcheck",
        "metrics",
        "model",
        "policy",
        "question",
        "render",
        "tally",
        "wire",
    },
    "agentcheck": {"board", "model", "policy", "reasons", "reception", "render", "tally", "wire"},
    "listeners": {"agentcheck", "config", "errors", "events", "handler", "kinds", "logs", "reception", "wire"},
    "trackwriter": set(),
    "tracker": {"board", "clock", "errors", "events", "logs", "lookout", "render", "trackfile", "trackwriter"},
    "textfile": {"board", "errand", "logs", "lookout", "model"},
    "notify": {"board", "events", "logs", "model"},
    "service": {
        "__init__",
        "agentcheck",
        "clock",
        "config",
        "doorbell",
        "errors",
        "events",
        "listeners",
        "logs",
        "metrics",
        "monitor",
        "notify",
        "pin",
        "textfile",
        "recorder",
        "tracker",
        "web",
    },
    "client": set(),
    "checking": {"client", "document", "errors", "places"},
    "asking": {"client", "document", "errors"},
    "once": {"config", "decide", "forms", "judge", "model", "pin", "probe", "render", "session"},
    "grants": {"session", "tables"},
    "firewall": {"config"},
    "steps": set(),
    "enrol": {"config", "facts", "grants", "link", "model", "once", "reasons", "session", "steps"},
    "setup": {"config", "document", "enrol", "errors", "firewall", "grants", "model", "once", "reasons", "steps"},
    "nodes": {"errors", "kinds"},
    "budget": {"errors", "kinds"},
    "recipe_haproxy": {"budget", "kinds", "nodes"},
    "recipe_keepalived": {"budget", "nodes", "trackfile"},
    "recipe_hetzner": {"budget", "nodes"},
    "recipe_prometheus": {"budget", "kinds", "nodes"},
    "recipes": {
        "budget",
        "client",
        "config",
        "document",
        "errors",
        "kinds",
        "nodes",
        "policy",
        "probe",
        "recipe_haproxy",
        "recipe_hetzner",
        "recipe_keepalived",
        "recipe_prometheus",
    },
    "recipe_arguments": {"kinds", "nodes", "recipes"},
    "replaying": {
        "config",
        "course",
        "document",
        "errors",
        "forms",
        "model",
        "policy",
        "record",
        "recordfile",
        "render",
        "replay",
    },
    "cli": {
        "__init__",
        "asking",
        "checking",
        "config",
        "decide",
        "document",
        "errors",
        "events",
        "grants",
        "logs",
        "model",
        "once",
        "recipe_arguments",
        "render",
        "replaying",
        "service",
        "setup",
    },
    "__main__": {"checking", "cli"},
}
# Values in, values out: no clock, no loop, no socket, no log, no file, no database, no HTTP.
PURE: dict[str, set[str]] = {
    "reasons": {"enum", "typing"},
    "errors": {"dataclasses"},
    "facts": {"collections", "dataclasses", "enum"},
    "policy": {"dataclasses", "enum"},
    "parse": {"collections", "functools", "re"},
    "links": {"dataclasses", "math"},
    "pace": {"dataclasses", "typing"},
    "trail": {"dataclasses"},
    "model": {"collections", "dataclasses", "enum", "typing"},
    "assess": {"collections"},
    "view": {"dataclasses"},
    "gates_server": set(),
    "gates_galera": set(),
    "gates_replication": set(),
    "weights": {"itertools", "typing"},
    "damping": set(),
    "table": {"collections", "typing"},
    "plan": {"collections", "dataclasses", "functools"},
    "decide": {"collections", "dataclasses"},
    "judge": {"collections", "dataclasses"},
    "tally": {"bisect"},
    "families": {"enum", "typing"},
    "measures": {"collections"},
    "mysqld_names": {"collections"},
    "balancers": {"dataclasses", "re"},
    "render": {"collections", "dataclasses", "datetime", "json", "typing"},
    "healthcheck": {"re", "typing"},
    "events": {"collections", "dataclasses", "enum", "typing"},
    "transitions": {"collections"},
    "forms": {"collections", "dataclasses", "datetime", "itertools", "json", "math", "re"},
    "folding": {"collections", "dataclasses", "typing"},
    "packets": {"collections", "dataclasses", "functools"},
    "rhythm": set(),
    "quantities": {"typing"},
    "record": {"collections", "dataclasses", "json", "pathlib", "typing"},
    "course": {"collections", "dataclasses", "itertools"},
    "replay": {"collections", "dataclasses", "math"},
    "preface": {"ipaddress", "re"},
    "tables": {"collections", "re"},
    "kinds": {"collections", "ipaddress", "re", "typing"},
    "paths": {"pathlib", "typing"},
    "trackfile": {"dataclasses", "pathlib", "typing"},
    "nodes": {"collections", "dataclasses", "ipaddress", "itertools", "re"},
    "budget": {"dataclasses", "math"},
    "recipe_haproxy": {"collections"},
    "recipe_keepalived": {"collections", "dataclasses", "pathlib"},
    "recipe_hetzner": {"collections"},
    "recipe_prometheus": {"collections"},
}
# each library has one way in
LIBRARIES = {
    "aiohttp": {"handler", "web", "wire"},
    "aiomysql": {"link"},
    "prometheus_client": {"metrics"},
    "pymysql": {"config", "link", "probe"},
    "uvloop": {"service"},
    "yaml": {"cli", "document"},
}


def files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(HOUSE.glob("*.py"))}


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, inside functions too; `healthagent.room` for a room."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            module = node.module or ""
            if module == "healthagent":
                rooms = {alias.name if (HOUSE / f"{alias.name}.py").exists() else "__init__" for alias in node.names}
                found |= {f"healthagent.{room}" for room in rooms}
            else:
                found.add(module)
    return found


def rooms(path: Path) -> set[str]:
    return {name.removeprefix("healthagent.") for name in imports(path) if name.startswith("healthagent.")}


def libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)} - {"healthagent"}


def test_every_room_is_listed() -> None:
    assert set(files()) == set(DOORS)


@pytest.mark.parametrize("room", DOORS)
def test_a_room_looks_only_where_it_may(room: str) -> None:
    assert rooms(files()[room]) == DOORS[room]


def test_all_doors_lead_one_way() -> None:
    order = list(DOORS)
    backwards = {(room, other) for room in order for other in DOORS[room] if order.index(other) >= order.index(room)}

    assert backwards == set()


@pytest.mark.parametrize("room", PURE)
def test_the_middle_of_the_house_is_pure(room: str) -> None:
    assert libraries(files()[room]) <= PURE[room]
    assert DOORS[room] <= set(PURE)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_has_few_ways_in(library: str) -> None:
    assert {room for room, path in files().items() if library in libraries(path)} == LIBRARIES[library]


def test_no_room_is_too_large() -> None:
    lines = {room: len(path.read_text("utf-8").splitlines()) for room, path in files().items()}

    assert {room: count for room, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize("room", PURE)
def test_nothing_pure_opens_prints_or_waits(room: str) -> None:
    tree = ast.parse(files()[room].read_text("utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    waits = [node for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global)]

    assert called & {"open", "print", "input", "exec", "eval", "__import__"} == set()
    assert waits == []
