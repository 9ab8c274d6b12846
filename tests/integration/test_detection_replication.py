"""Looks between probes on a primary and its replica: what they see, and what they cost."""

import time

import pytest

from lab import Pair, wait_until
from tests.integration.expect import measured, says
from tests.integration.test_detection import PER_SECOND, PER_SECOND_REPLICA, SELDOM, agent_of, costs


def test_what_a_primary_is_asked(pair: Pair) -> None:
    costs("primary", pair.primary, PER_SECOND)


def test_what_a_replica_is_asked(pair: Pair) -> None:
    costs("replica", pair.replica, PER_SECOND_REPLICA)


@pytest.mark.parametrize("thread", ["SQL_THREAD", "IO_THREAD"])
def test_a_thread_that_stops_does_not_wait_for_the_probe(pair: Pair, thread: str) -> None:
    with agent_of(pair.replica, **SELDOM) as agent:
        began = time.monotonic()
        pair.replica.execute(f"STOP SLAVE {thread}")
        wait_until(lambda: says(agent, "reader") == "503 replica_stopped", 5, "seen by a look between two probes")
        measured(f"STOP SLAVE {thread} -> 503: {1000 * (time.monotonic() - began):.0f} ms")
        pair.replica.execute(f"START SLAVE {thread}")


def test_a_primary_that_becomes_a_replica_takes_no_more_writes(pair: Pair) -> None:
    with agent_of(pair.primary, **SELDOM) as agent:
        assert says(agent, "writer") == "200"
        pair.primary.execute("CHANGE MASTER 'back' TO MASTER_HOST=%s", [pair.replica.address])
        try:
            wait_until(lambda: says(agent, "writer") == "503 is_replica", 5, "seen by a look between two probes")
        finally:
            pair.primary.execute("RESET SLAVE 'back' ALL")
