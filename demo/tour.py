"""The tour: four things that happen to a node, and what agents, HAProxy and a client make of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from demo.stand import HOST, WRITER_PORT, Stand
from demo.table import show_table
from demo.watch import PATHS, Watch
from lab import LabError, wait_until

SQL_SECONDS, START_SECONDS = 20, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`expect`: what must be seen in the end, by the beginning of its text."""

    title: str
    command: str
    node: str
    act: Callable[[], object]
    expect: Mapping[str, str]
    note: str = ""
    timeout: float = SQL_SECONDS
    table: bool = False


def tour(stand: Stand) -> None:
    """LabError when a step did not happen, or when a write that was acknowledged is lost."""
    print(f"\nA client writes to {HOST}:{WRITER_PORT} every 10 ms from now on. Times count from the command.")
    stand.start_client()
    wait_until(lambda: stand.client.acknowledged, 10, "the client's first write", logs=[stand.haproxy.log])
    steps = (*_desync(stand), *_read_only(stand), *_kill(stand))
    for number, step in enumerate(steps, start=1):
        _take(stand, step, f"{number}/{len(steps)}")
    _count_lost(stand)


def _take(stand: Stand, step: Step, number: str) -> None:
    print(f"\n{number} {step.title}\n    {step.command}")
    watch = Watch(stand, step.node)
    watch.run(step.act, step.expect, step.timeout)
    print(f"    {watch.client_summary()}")
    if step.note:
        print(f"    {step.note}")
    if step.table:
        show_table(stand)


def _answers(node: str, code: str, paths: tuple[str, ...] = PATHS) -> dict[str, str]:
    return {f"{node} {path}": code for path in paths}


def _servers(node: str, status: str) -> dict[str, str]:
    return {f"HAProxy {backend}/{node}": status for backend in ("writer", "reader")}


def _set(stand: Stand, node: str, setting: str) -> tuple[str, Callable[[], object]]:
    statement = f"SET GLOBAL {setting}"
    return f"{node}> {statement};", lambda: stand.nodes[node].execute(statement)


def _desync(stand: Stand) -> tuple[Step, ...]:
    on, turn_on = _set(stand, "n3", "wsrep_desync = ON")
    off, turn_off = _set(stand, "n3", "wsrep_desync = OFF")
    return (
        Step(
            title="n3 is desynced: it may fall behind without slowing the cluster down",
            command=on,
            node="n3",
            act=turn_on,
            expect=_answers("n3", "503 desynced") | _servers("n3", "DOWN"),
            note="Some seconds of it are daily work and no outage; this one has outlasted the 5 s of grace.",
            table=True,
        ),
        Step(
            title="n3 takes part again",
            command=off,
            node="n3",
            act=turn_off,
            expect=_answers("n3", "200 OK") | _servers("n3", "UP"),
        ),
    )


def _read_only(stand: Stand) -> tuple[Step, ...]:
    on, turn_on = _set(stand, "n1", "read_only = ON")
    off, turn_off = _set(stand, "n1", "read_only = OFF")
    still_reads = {"n1 /any": "200 OK", "n1 /reader": "200 OK", "HAProxy reader/n1": "UP"}
    return (
        Step(
            title="n1, where the client writes, is made read_only: no writes, but reads",
            command=on,
            node="n1",
            act=turn_on,
            expect={
                "n1 /writer": "503 read_only",
                "HAProxy writer/n1": "DOWN",
                "the client": "writes on n2",
                **still_reads,
            },
            note="Writes failed (error 1290) until HAProxy closed the session to n1. Reads there go on.",
            table=True,
        ),
        Step(
            title="n1 may be written to again",
            command=off,
            node="n1",
            act=turn_off,
            expect={
                "n1 /writer": "200 OK",
                "HAProxy writer/n1": "UP",
                "the client": "writes on n2",
                **still_reads,
            },
            note="The client stays on n2: the example's stick-table prevents a second switch for nothing.",
        ),
    )


def _kill(stand: Stand) -> tuple[Step, ...]:
    node = stand.nodes["n2"]
    return (
        Step(
            title="n2, where the client writes now, is killed",
            command=f"kill -9 {node.pid}",
            node="n2",
            act=node.kill,
            expect={**_answers("n2", "503"), **_servers("n2", "DOWN"), "the client": "writes on n1"},
            note="The pause is Galera's own: so long it waits for a silent member (evs.suspect_timeout 5 s).",
            table=True,
        ),
        Step(
            title="n2 is started again and receives what it missed",
            command="mariadbd --wsrep-start-position=...",
            node="n2",
            act=node.start_ist,
            expect={**_answers("n2", "200 OK"), **_servers("n2", "UP"), "the client": "writes on n1"},
            timeout=START_SECONDS,
            table=True,
        ),
    )


def _count_lost(stand: Stand) -> None:
    """Every write that was acknowledged must be on every node."""
    stand.client.stop()
    stand.galera.wait_synced()
    lost = {name: stand.client.verify(node) for name, node in stand.nodes.items()}
    done, failed = len(stand.client.acknowledged), len(stand.client.failed)
    print(f"\nThe client: {done} writes acknowledged, {failed} failed, {max(map(len, lost.values()))} lost.")
    if any(lost.values()):
        raise LabError(f"acknowledged writes are missing: {lost}")
