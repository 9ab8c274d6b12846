"""What is published and what was counted -> the numbers of /metrics. What is not known is absent, never 0."""

from collections.abc import Iterator

from healthagent import families
from healthagent.decide import own, passing
from healthagent.facts import Replication, Snapshot
from healthagent.families import Family, Samples
from healthagent.model import Publication, Status, Verdict
from healthagent.reasons import State
from healthagent.tally import Tally

__all__ = ["MAX_CONNECTIONS", "connections", "label", "measures", "newest_facts"]

Measured = Iterator[tuple[Family, Samples]]
MAX_CONNECTIONS = 64  # replication connections that are told of; a server has a few
LABEL_CHARACTERS = 64  # as many as the name of a connection may have


def measures(publication: Publication, tally: Tally, *, version: str, now: float) -> Measured:
    """Every family but the histogram of probes that has a sample, in the order of families.FAMILIES."""
    facts = newest_facts(publication)
    for part in (
        _node(publication, version),
        _roles(publication, tally),
        _probes(publication, tally, now),
        _replication(publication, facts),
        _galera(publication, facts),
        _server(facts),
        _config(tally),
    ):
        yield from ((family, samples) for family, samples in part if samples)


def newest_facts(publication: Publication) -> Snapshot | None:
    """What the newest probe has brought; None where it has brought nothing, or too long ago."""
    snapshot = publication.snapshot
    fresh = snapshot is not None and snapshot.server is not None and publication.state is not State.STALE
    return snapshot if fresh else None


def connections(facts: Snapshot | None) -> list[tuple[str, Replication]]:
    """The replication connections with their names as a label, each name once."""
    found: dict[str, Replication] = {}
    for row in (facts.replications or ()) if facts is not None else ():
        if len(found) < MAX_CONNECTIONS:
            found.setdefault(label(row.connection), row)
    return list(found.items())


def label(text: str) -> str:
    """A name of the server's as the value of a label: one line, printable, and not long."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:LABEL_CHARACTERS])


def _node(publication: Publication, version: str) -> Measured:
    yield families.UP, _one(newest_facts(publication) is not None)
    yield families.BUILD_INFO, [((version,), 1)]
    yield families.STATE, [((state.word,), state is publication.state) for state in State]
    yield families.STATE_CODE, _one(publication.state.value)
    yield families.ELECTION_ENABLED, _one(0)
    yield families.ADMIN_STATE, [(("drain",), 0), (("maintenance",), 0)]


def _roles(publication: Publication, tally: Tally) -> Measured:
    # not somebody's question with parameters: its words must not become labels
    verdicts: dict[str, Verdict] = {name: publication.verdicts[name] for name in own(publication)}
    yield families.ROLE_UP, [((name,), verdict.status is Status.UP) for name, verdict in verdicts.items()]
    yield families.ROLE_DRAINING, [((name,), verdict.status is Status.DRAIN) for name, verdict in verdicts.items()]
    yield families.ROLE_DRY_RUN, [((name,), 1) for name, verdict in verdicts.items() if verdict.dry_run]
    yield families.ROLE_WEIGHT, [((name,), verdict.weight) for name, verdict in verdicts.items()]
    yield (
        families.ROLE_REASON,
        [((name, reason.word), 1) for name, verdict in verdicts.items() for reason in dict.fromkeys(verdict.reasons)],
    )
    yield (
        families.GATE_PASSED,
        [((name, gate.value), passed) for name in verdicts for gate, passed in passing(publication, name).items()],
    )
    yield families.TRANSITIONS, [((name, to.value), count) for (name, to), count in tally.transitions.items()]
    yield families.STATE_TRANSITIONS, [((state.word,), count) for state, count in tally.states.items()]


def _probes(publication: Publication, tally: Tally, now: float) -> Measured:
    snapshot = publication.snapshot
    yield families.PROBE_FAILURES, [((kind.value,), count) for kind, count in tally.failures.items()]
    yield families.SAMPLE_AGE, _one(max(0.0, now - snapshot.ended_at) if snapshot is not None else None)
    yield families.CHECKS, [(labels, cell[0]) for labels, cell in tally.checks.items()]


def _replication(publication: Publication, facts: Snapshot | None) -> Measured:
    lag: Samples = []
    age: Samples = []
    running: Samples = []
    errors: Samples = []
    for name, row in connections(facts):
        told, link = publication.trail.lag(row.connection), publication.trail.link(row.connection)
        if told.seconds is not None and told.source is not None:
            lag.append(((name, told.source), told.seconds))
        if facts is not None and link.moved_at is not None:
            age.append(((name,), max(0.0, facts.ended_at - link.moved_at)))
        for thread, says, errno in (
            ("io", row.io_running, row.io_errno),
            ("sql", row.sql_running, row.sql_errno),
        ):
            if says is not None:
                running.append(((name, thread), says == "Yes"))
            if errno is not None:
                errors.append(((name, thread), errno))
    yield families.LAG, lag
    yield families.LINK_AGE, age
    yield families.THREAD_RUNNING, running
    yield families.REPLICATION_ERROR, errors


def _galera(publication: Publication, facts: Snapshot | None) -> Measured:
    galera = facts.galera if facts is not None and publication.trail.galera else None
    if galera is None:
        return
    status = galera.cluster_status
    yield families.CLUSTER_SIZE, _one(galera.cluster_size)
    yield families.LOCAL_STATE, _one(galera.local_state)
    yield families.GALERA_PRIMARY, _one(None if status is None else status == "Primary")
    yield families.GALERA_READY, _one(galera.ready)
    yield families.GALERA_CONNECTED, _one(galera.connected)
    yield families.RECV_QUEUE, _one(galera.recv_queue)
    yield families.FLOW_PAUSED, _one(publication.trail.flow.paused)
    yield families.FLOW_SENT, _one(galera.flow_control_sent)
    yield families.DESYNCS, _one(galera.desync_count)


def _server(facts: Snapshot | None) -> Measured:
    server, disk = (facts.server, facts.beside.disk) if facts is not None else (None, None)
    if server is not None and server.threads_connected is not None and server.max_connections:
        yield families.CONNECTIONS_USED, _one(server.threads_connected / server.max_connections)
    if disk is not None and disk.total_bytes:
        yield families.DATADIR_FREE, _one(disk.free_ratio)


def _config(tally: Tally) -> Measured:
    yield families.RELOAD_SUCCESS, _one(not tally.reload_failed)
    yield families.RELOAD_TIME, _one(tally.loaded_wall)


def _one(value: float | None) -> Samples:
    """The sample of a family without labels."""
    return [] if value is None else [((), value)]
