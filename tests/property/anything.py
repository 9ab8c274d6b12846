"""Strategies: rows from nowhere, looks beside the probe, and roles with any setting."""

from dataclasses import replace

from hypothesis import strategies as st

from healthagent.facts import (
    Beside,
    ClientPort,
    Disk,
    Evidence,
    FailureKind,
    Heartbeat,
    ProcessState,
    Snapshot,
    Transfer,
    WriteProbe,
)
from healthagent.policy import Amount, Base, FlowControl, Policy, PrimaryLost, Role, Topology, Weights
from healthagent.reasons import Gate
from tests.build import GALERA_ROWS, NO_MEMBER, ROLES, SLAVE_ROW, START, failed, snapshot

WORDS = ["ON", "OFF", "Primary", "non-Primary", "Disconnected", "NONE", "ALL", "Yes", "No", "Connecting", "Synced"]
NUMBERS = ["0", "1", "2", "3", "4", "5", "-1", NO_MEMBER, str(2**64 - 5), "9" * 19, "9" * 5000, "1e400", "nan", "inf"]
FOREIGN = [
    "\u0664",
    "\u0967-\u0967-\u0967",
    "\u00b2",
    "\uff14",
    "0-1-44,\u0660-1-1",
    "\0",
    "4\n",
    " 4 ",
    "0" * 30 + "4",
]
HUGE = [
    "evs.suspect_timeout = PT" + "9" * 400 + "S; gcs.fc_limit = " + "9" * 400,
    "evs.suspect_timeout = PT0S; gcs.fc_limit = 0; gcs.fc_factor = 999999999999",
    "gcs.fc_limit =" * 2000,
    ",".join(f"{domain}-1-{2**64 - 1}" for domain in range(2000)),
    "Loading buffer pool " * 500,
]
VALUES = st.one_of(
    st.none(),
    st.sampled_from([*WORDS, *NUMBERS, *FOREIGN, *HUGE]),
    st.integers(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.floats(),
    st.booleans(),
)
SLAVE_NAMES = sorted({*SLAVE_ROW, "Master_Slave_time_diff"})
ROWS = st.dictionaries(st.sampled_from(sorted(GALERA_ROWS)), VALUES).map(lambda some: {**GALERA_ROWS, **some})
FEW_ROWS = st.dictionaries(st.sampled_from(sorted(GALERA_ROWS)), VALUES)
SLAVES = st.lists(
    st.dictionaries(st.sampled_from(SLAVE_NAMES), VALUES).map(lambda some: {**SLAVE_ROW, **some}), max_size=3
)
TRANSFERS = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            Transfer, joiner=st.booleans(), method=st.sampled_from(["rsync", "mariabackup", "x"]), bypass=st.booleans()
        ),
        max_size=2,
    ).map(tuple),
)
EVIDENCE = st.builds(Evidence, process=st.one_of(st.none(), st.sampled_from(ProcessState)), transfers=TRANSFERS)
AGES = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 30.0]))
HEARTBEATS = st.one_of(
    st.none(),
    st.lists(st.builds(Heartbeat, server_id=st.sampled_from([101, 102]), age_seconds=AGES), max_size=3).map(tuple),
)
BYTES = st.integers(0, 2**64)
BESIDE = st.builds(
    Beside,
    client_port=st.one_of(
        st.none(),
        st.builds(ClientPort, open=st.sampled_from([None, True, False]), code=st.sampled_from([None, 1040, 1045])),
    ),
    disk=st.one_of(st.none(), st.builds(Disk, free_bytes=BYTES, total_bytes=BYTES)),
    write_probe=st.one_of(
        st.none(),
        st.builds(
            WriteProbe,
            pending_since=st.one_of(st.none(), st.floats(START - 60.0, START + 60.0)),
            error=st.sampled_from([None, "1021: Disk full"]),
        ),
    ),
)


def surrounded(
    what: Snapshot, evidence: Evidence, beside: Beside, heartbeats: tuple[Heartbeat, ...] | None
) -> Snapshot:
    return replace(what, evidence=evidence, beside=beside, heartbeats=heartbeats)


BROUGHT = st.builds(snapshot, st.one_of(ROWS, FEW_ROWS), st.one_of(st.none(), SLAVES))
FAILED = st.builds(failed, st.sampled_from(FailureKind), silent_after_eof=st.booleans())
ANYTHING = st.builds(surrounded, st.one_of(BROUGHT, FAILED), EVIDENCE, BESIDE, HEARTBEATS)
STEPS = st.lists(st.tuples(ANYTHING, st.floats(min_value=0.001, max_value=20.0)), min_size=1, max_size=12)

BOOLEANS = st.booleans()
PARTS = st.floats(0.0, 1.0)
WEIGHTS = st.builds(
    Weights,
    lag=BOOLEANS,
    queue=BOOLEANS,
    flow=BOOLEANS,
    connections=BOOLEANS,
    donor=PARTS,
    desynced=PARTS,
    warm_up_seconds=st.floats(0.0, 3600.0),
    step=st.integers(1, 100),
    raise_seconds=st.floats(0.0, 600.0),
)
NAMES = st.sampled_from([(), ("",), ("", "a"), ("a",)])
TAGS = st.sampled_from([(), (("dc", "a"),), (("dc", "b"),)])
SETTINGS = {
    "name": st.just("own"),
    "base": st.sampled_from(Base),
    "max_lag_seconds": st.floats(0.0, 1e9),
    "soft_lag_seconds": st.one_of(st.none(), st.floats(0.0, 1e9)),
    "subtract_delay": BOOLEANS,
    "connections": st.one_of(st.none(), NAMES),
    "donor": BOOLEANS,
    "desync": BOOLEANS,
    "max_queue": st.one_of(st.none(), st.integers(0, 10**9)),
    "asked_queue": st.one_of(st.none(), st.integers(0, 10**9)),
    "min_size": st.integers(0, 1000),
    "flow": st.sampled_from(FlowControl),
    "min_disk_free": st.one_of(
        st.none(), st.builds(Amount, ratio=PARTS), st.builds(Amount, bytes=st.integers(0, 2**60))
    ),
    "write_probe": BOOLEANS,
    "paranoid": BOOLEANS,
    "max_restarts": st.integers(0, 100),
    "buffer_pool_load": BOOLEANS,
    "require_replication": BOOLEANS,
    "replication_required": BOOLEANS,
    "grace_seconds": st.floats(0.0, 3600.0),
    "primary_lost": st.sampled_from(PrimaryLost),
    "exclude_writer": BOOLEANS,
    "ring": NAMES,
    "tags": TAGS,
    "ignore": st.frozensets(st.sampled_from(Gate), max_size=4),
    "drain": BOOLEANS,
    "weights": WEIGHTS,
}
OWN_ROLE = st.fixed_dictionaries({}, optional=SETTINGS).map(
    lambda some: Role(**{"name": "own", "base": Base.READER, **some})
)
POLICIES = st.builds(
    lambda own, topology, uuid, tags: Policy(roles=(own, *ROLES), topology=topology, cluster_uuid=uuid, tags=tags),
    OWN_ROLE,
    st.sampled_from(Topology),
    st.sampled_from([None, "11111111-2222-3333-4444-555555555555"]),
    TAGS,
)
