"""Whatever is published, /metrics can be read by Prometheus' own rules, and has a bounded number of series."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from healthagent.board import Board
from healthagent.facts import FailureKind, Snapshot
from healthagent.measures import MAX_CONNECTIONS
from healthagent.metrics import Metrics
from healthagent.model import Status
from healthagent.mysqld_names import MYSQLD_FAMILIES
from healthagent.policy import Policy
from healthagent.reasons import Gate, Reason, State
from healthagent.tally import BUCKETS
from tests.build import Agent, replica, slave_row
from tests.property.anything import POLICIES, STEPS

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
ONCE = 60  # families without labels, process_*, build_info, admin_state
CONNECTION_SERIES = 6 + 8
ACCEPTS = st.one_of(
    st.text(string.printable, max_size=60),
    st.lists(
        st.sampled_from(
            ["application/openmetrics-text", "text/plain", "*/*", "version=", "1.0.0", "x", "q=", ";", ","]
        ),
        max_size=8,
    ).map("".join),
)


def read(metrics: Metrics) -> list[Metric]:
    """What a strict reader of OpenMetrics finds."""
    text = metrics.scrape(OPENMETRICS)[1].decode()
    return list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def most(policy: Policy) -> int:
    """Series that there can be at most."""
    per_role = 3 + len(Reason) + len(Gate) + len(Status)
    fixed = ONCE + 2 * len(State) + len(FailureKind) + len(BUCKETS) + 3 + len(MYSQLD_FAMILIES)
    return fixed + len(policy.roles) * per_role + MAX_CONNECTIONS * CONNECTION_SERIES


@given(POLICIES, STEPS)
def test_any_publication_can_be_read(policy: Policy, steps: list[tuple[Snapshot, float]]) -> None:
    agent = Agent(policy)
    board = Board(agent.publication, policy.max_age_seconds, lambda: agent.now)
    metrics = Metrics(board)
    metrics.adopt(mysqld_names=True)
    for what, after in steps:
        agent.sees(what, after=after)
        board.publish(agent.publication, policy.max_age_seconds)
    for families in (list(text_string_to_metric_families(metrics.scrape("")[1].decode())), read(metrics)):
        series = [(it.name, *sorted(it.labels.items())) for family in families for it in family.samples]
        assert len(set(series)) == len(series) <= most(policy)
        values = [it.value for family in families for it in family.samples]
        assert all(value == value and abs(value) != float("inf") for value in values), "never NaN"


@given(st.lists(st.text(), max_size=6))
def test_any_name_of_a_connection_can_be_read(names: list[str]) -> None:
    agent = Agent().sees(replica(*[slave_row(Connection_name=name) for name in names]))
    metrics = Metrics(Board(agent.publication, 3.0, lambda: agent.now))
    metrics.adopt(mysqld_names=True)
    (told,) = (family for family in read(metrics) if family.name == "healthagent_replication_error")
    assert 1 <= len({sample.labels["connection"] for sample in told.samples}) <= max(1, len(names))


@given(ACCEPTS)
def test_any_accept_header_gets_one_of_the_two_formats(accept: str) -> None:
    metrics = METRICS
    content_type, body = metrics.scrape(accept)
    open_metrics = content_type.startswith("application/openmetrics-text; version=")
    assert open_metrics or content_type.startswith("text/plain; version=")
    assert body.endswith(b"# EOF\n") == open_metrics
    assert b"\nhealthagent_up 0.0\n" in body
    assert len(metrics._encoded) < 16, "what clients say fills no memory"


METRICS = Metrics(Board(Agent().publication, 3.0, lambda: 0.0))


@pytest.mark.parametrize("seconds", [*BUCKETS, 0.0, 1e9])
def test_a_bound_belongs_to_its_bucket(seconds: float) -> None:
    """`le`: less or equal."""
    agent = Agent()
    metrics = Metrics(Board(agent.publication, 3.0, lambda: agent.now))
    metrics.tally._sampled(Snapshot(sequence=1, ended_at=0.0, duration_seconds=seconds))
    told = [bound for bound, count in zip((*BUCKETS, float("inf")), metrics.tally.durations, strict=True) if count]
    assert told == [next(bound for bound in (*BUCKETS, float("inf")) if seconds <= bound)]
