"""/metrics of an agent beside a real replica."""

from lab import Agent, Pair, wait_until
from tests.integration.test_metrics import series

SQL_THREAD = 'healthagent_replication_thread_running{connection="",thread="sql"}'


def test_a_replica_stops_and_goes_on(pair: Pair, replica: Agent) -> None:
    before = series(replica)
    assert before['healthagent_replication_lag_seconds{connection="",source="seconds_behind"}'] == 0
    assert before['healthagent_replication_link_age_seconds{connection=""}'] < 10
    assert before[SQL_THREAD] == 1
    pair.replica.execute("STOP SLAVE SQL_THREAD")
    wait_until(lambda: series(replica)[SQL_THREAD] == 0, 5, "it is seen")
    pair.replica.execute("START SLAVE SQL_THREAD")
    wait_until(lambda: series(replica)[SQL_THREAD] == 1, 5, "it goes on")
    pair.break_sql()
    error = 'healthagent_replication_error{connection="",thread="sql"}'
    wait_until(lambda: series(replica)[error] == 1062, 5, "the error is told")
    pair.repair_sql()
