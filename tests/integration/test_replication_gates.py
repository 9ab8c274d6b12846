"""The gates of a replica on a real one: its link, its lag, its weight, a lost source, heartbeats, and what is asked."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab import Agent, Pair, Writer, sql, wait_until
from tests.integration.expect import expect, gate, measured, reloaded, replicating, says, state, weight
from tests.integration.tables import prepare_tables

LINK_SECONDS = 10
RAISE_SECONDS = 5


@contextmanager
def lagging(pair: Pair) -> Iterator[None]:
    """Its SQL thread waits behind a lock: both threads say Yes, and the data grow old."""
    with pair.replica.client() as session:
        sql.execute(session, "LOCK TABLES shop.orders WRITE")
        pair.primary.execute("INSERT INTO shop.orders (client, seq) VALUES (31, 1)")
        try:
            yield
        finally:
            sql.execute(session, "UNLOCK TABLES")
    pair.primary.execute("DELETE FROM shop.orders WHERE client = 31")


def first_reasons(agent: Agent, role: str) -> str:
    return agent.get(f"/{role}").headers["x-healthagent-reasons"]


def samples(agent: Agent) -> int:
    """How many probes have ended."""
    return int(state(agent)["sample"]["sequence"])


def wait_says(agent: Agent, role: str, said: str) -> None:
    wait_until(lambda: says(agent, role) == said, 10, f"{role}: {said}")


def test_a_source_that_hangs(pair: Pair, replica: Agent) -> None:
    """Nothing but the missing heartbeats tells it for all of slave_net_timeout."""
    pair.replica.execute("SET GLOBAL slave_net_timeout = 60")
    pair.follow()
    replicating(replica)
    told: set[tuple[object, ...]] = set()

    def down() -> bool:
        row = state(replica)["replication"][0]
        told.add((row["io_running"], row["sql_running"], row["lag_seconds"]))
        return says(replica, "reader") == "503 replica_stale_link"

    try:
        pair.primary.freeze()
        frozen = time.monotonic()
        wait_until(down, LINK_SECONDS + 5, "the link is dead")
        took = time.monotonic() - frozen
        assert told == {("Yes", "Yes", 0)}
        assert LINK_SECONDS - 1.5 < took < LINK_SECONDS + 2.5, "the limit, what the last heartbeat was old, and 1 s"
        pair.primary.thaw()
        measured(f"source frozen -> reader 503: {took:.1f} s; it goes on -> 200: {replicating(replica) / 1000:.1f} s")
    finally:
        pair.primary.thaw()
        pair.replica.execute("SET GLOBAL slave_net_timeout = 10")


def test_a_reader_that_would_rather_serve_what_it_has(pair: Pair, replica: Agent) -> None:
    """`primary_lost: serve`, beside a role that is down then: as long as the source is all that is missing."""
    roles = {
        "reader": {"primary_lost": "serve", "max_lag": "3s"},
        "strict": {"base": "reader", "primary_lost": "down", "grace": "2s"},
    }
    with reloaded(replica, roles=roles):
        assert says(replica, "strict") == "200"
        pair.primary.kill()
        wait_until(lambda: says(replica, "strict") == "503 replica_stale_link", 8, "down without its source")
        wait_until(lambda: gate(replica, "reader", "lag")["reason"] == "primary_lost", 8, "its lag is beyond max_lag")
        assert (says(replica, "reader"), first_reasons(replica, "reader")) == ("200", "primary_lost")
        assert says(replica, "any") == "200"
        pair.replica.execute("STOP SLAVE SQL_THREAD")
        wait_until(lambda: says(replica, "reader") == "503 replica_stopped", 5, "that is no missing source")
        pair.replica.execute("START SLAVE SQL_THREAD")
        wait_until(lambda: says(replica, "reader") == "200", 5, "it serves again what it has")
        pair.primary.up()
        pair.wait_running()
        wait_until(lambda: first_reasons(replica, "reader") == "", 8, "all is well")
        wait_until(lambda: says(replica, "strict") == "200", 8, "for others too")


def test_a_delay_that_is_wanted(pair: Pair, replica: Agent) -> None:
    """MASTER_DELAY is part of the lag, but for roles of one's own that take it off."""
    roles = {
        "reader": {"max_lag": "3s"},
        "delayed": {"base": "reader", "max_lag": "3s", "subtract_delay": True},
    }
    with reloaded(replica, roles=roles):
        pair.delay(5)
        try:
            with Writer(pair.primary.address, client=32, interval=0.05):
                wait_until(lambda: says(replica, "reader") == "503 replica_lagging", 15, "too old")
                heard: list[str] = []

                def often() -> bool:
                    heard.append(says(replica, "delayed"))
                    return samples(replica) > until

                until = samples(replica) + 10
                wait_until(often, 15, "ten more samples")
                assert set(heard) == {"200"}
                assert says(replica, "reader") == "503 replica_lagging"
                measured(f"MASTER_DELAY 5 s under writes: lag {gate(replica, 'reader', 'lag')['value']}")
        finally:
            pair.delay(0)
        replicating(replica)


def test_what_a_question_asks_for(pair: Pair, replica: Agent) -> None:
    roles = {
        "reader": {"max_lag": "60s"},
        "fresh": {"base": "reader", "max_lag": "2s"},
    }
    strict = ("reader?max_lag=2s", "reader?lag=2s", "reader?max_lag=2s&max_queue=5", "read-only?lag=2s", "fresh")
    with reloaded(replica, roles=roles, tags={"dc": "fsn1"}):
        assert {says(replica, role) for role in strict} == {"200"}
        with lagging(pair):
            for role in strict:
                wait_says(replica, role, "503 replica_lagging")
            assert says(replica, "fresh?max_lag=10m") == "503 replica_lagging", "a parameter loosens nothing"
            assert {says(replica, role) for role in ("reader", "reader?max_lag=1h", "reader?max_queue=0")} == {"200"}
            assert says(replica, "reader?tag_dc=fsn1") == "200"
            assert says(replica, "reader?tag_dc=nbg1") == "503 tag_mismatch"
            assert says(replica, "reader?tag_dc=nbg1&lag=2s") == "503 replica_lagging"
        for role in strict:
            wait_says(replica, role, "200")


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("max_lag=", "max_lag"),
        ("lag=soon", "lag"),
        ("max_lag=-1s", "max_lag"),
        ("max_lag=nan", "max_lag"),
        ("max_queue=1.5", "max_queue"),
        ("max_queue=-1", "max_queue"),
        ("tag_dc=", "tag_dc"),
        ("tag_=x", "tag_"),
        ("maxlag=5s", "maxlag"),
        ("max_lag=5s&max_lag=1h", "max_lag"),
    ],
)
def test_a_question_that_is_none(replica: Agent, question: str, named: str) -> None:
    answer = replica.get(f"/reader?{question}")
    assert answer.status == 400
    assert f"'{named}'" in answer.body


def resident_kib(agent: Agent) -> int:
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{agent.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_any_number_of_questions(replica: Agent) -> None:
    """Each is judged like a role of its own while it is asked, and leaves nothing behind."""
    roles = state(replica)["roles"].keys()
    assert {says(replica, f"reader?max_lag={number}s") for number in range(1, 41)} == {"200"}
    assert state(replica)["roles"].keys() == roles

    def ask(numbers: range) -> None:
        assert {says(replica, f"reader?max_queue={number}&tag_x=y") for number in numbers} == {"503 tag_mismatch"}

    ask(range(500))
    before = resident_kib(replica)
    ask(range(500, 3000))
    grown = resident_kib(replica) - before
    measured(f"2500 more different questions: {grown} KiB more memory")
    assert grown < 1000
    assert state(replica)["roles"].keys() == roles


def test_the_weight_falls_with_the_lag_and_rises_slowly(pair: Pair, replica: Agent) -> None:
    told: list[tuple[float, int]] = [(time.monotonic(), weight(replica, "reader"))]

    def reached(wanted: int) -> bool:
        now = weight(replica, "reader")
        if now != told[-1][1]:
            told.append((time.monotonic(), now))
        return now <= wanted if wanted < 100 else now == 100

    assert told[0][1] == 100
    with reloaded(replica, roles={"reader": {"soft_lag": "1s", "max_lag": "11s"}}):
        with lagging(pair):
            wait_until(lambda: reached(50), 15, "half of its weight")
            assert says(replica, "reader") == "200"
        wait_until(lambda: reached(100), 20, "all of it")
    weights = [seen for _, seen in told]
    lowest = weights.index(min(weights))
    assert weights == [*sorted(weights[: lowest + 1], reverse=True), *sorted(weights[lowest + 1 :])], "down, then up"
    assert lowest > 1, "in steps"
    assert not any(seen % 10 for seen in weights)
    rises = [later - earlier for (earlier, _), (later, _) in pairwise(told[lowest:])]
    measured(f"weight by lag: {' '.join(map(str, weights))}; back after {', '.join(f'{rise:.1f} s' for rise in rises)}")
    assert rises
    assert min(rises) > RAISE_SECONDS - 0.2


def test_heartbeats_from_the_agent_of_the_primary(pair: Pair) -> None:
    """Its agent gone, no row comes any more: to the server that is a replica without any lag."""
    prepare_tables(pair.primary)
    pair.wait_caught_up()
    beat = {"heartbeat_table": "ops.beat", "heartbeat_write": True}
    with (
        Agent.for_node(pair.primary, probe=beat) as writer,
        Agent.for_node(pair.replica, probe=beat, roles={"reader": {"max_lag": "4s"}}) as reader,
    ):
        writer.start()
        replicating(reader.start())
        wait_until(lambda: lag(reader)["source"] == "heartbeat", 10, "the row has come")
        ages: list[float] = []

        def often() -> bool:
            ages.append(lag(reader)["seconds"])
            return samples(reader) > until

        until = samples(reader) + 8
        wait_until(often, 15, "eight more samples")
        measured(f"heartbeats on an idle pair: lag {min(ages):.2f} to {max(ages):.2f} s")
        assert max(ages) < 3
        writer.stop()
        said = "503 replica_lagging"
        took = expect(reader, any=said, writer="503 read_only", reader=said, is_state="replica_lagging", within=15)
        measured(f"heartbeats end -> reader with max_lag 4 s is down: {took / 1000:.1f} s")
        assert state(reader)["replication"][0]["lag_seconds"] == 0, "the server itself sees no lag"
        writer.start()
        replicating(reader)


def lag(agent: Agent) -> dict[str, Any]:
    found: dict[str, Any] = state(agent)["replication"][0]["lag"]
    return found
