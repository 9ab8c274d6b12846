"""The numbers that monitoring keeps: once released, a number never changes its meaning. New words, new numbers."""

from healthagent.reasons import REASON_TEXT, STATE_TEXT, Reason, State

STATES = {
    "unknown": 0,
    "stale": 1,
    "down": 2,
    "server_starting": 3,
    "sst_joiner": 4,
    "hung": 5,
    "auth_error": 6,
    "connection_limit": 7,
    "inconsistent": 8,
    "disconnected": 9,
    "non_primary": 10,
    "joining": 11,
    "joined": 12,
    "rejecting": 13,
    "donor_blocking": 14,
    "donor": 15,
    "desynced": 16,
    "synced": 17,
    "not_ready": 18,
    "stalled": 19,
    "thawed": 20,
    "wsrep_off": 21,
    "primary": 30,
    "replica": 31,
    "replica_lagging": 32,
    "replica_stale_link": 33,
    "replica_stopped": 34,
    "replica_error": 35,
    "standalone": 40,
}
REASONS = {
    "unknown": 1,
    "stale": 2,
    "down": 3,
    "server_starting": 4,
    "sst_joiner": 5,
    "hung": 6,
    "auth_error": 7,
    "connection_limit": 8,
    "inconsistent": 9,
    "disconnected": 10,
    "non_primary": 11,
    "joining": 12,
    "joined": 13,
    "rejecting": 14,
    "donor_blocking": 15,
    "donor": 16,
    "desynced": 17,
    "not_ready": 18,
    "wsrep_off": 19,
    "thawed": 20,
    "stalled": 21,
    "starting": 40,
    "draining": 41,
    "read_only": 50,
    "not_galera": 51,
    "is_primary": 52,
    "other_cluster": 53,
    "cluster_too_small": 54,
    "recv_queue": 55,
    "flow_control": 56,
    "disk_space": 57,
    "membership": 58,
    "warming_up": 59,
    "restarts": 60,
    "client_port": 61,
    "tag_mismatch": 62,
    "is_replica": 80,
    "replica_stopped": 81,
    "replica_error": 82,
    "replica_stale_link": 83,
    "replica_lagging": 84,
    "not_replicating": 85,
    "replication_unknown": 86,
    "fatal_binlog_error": 87,
    "primary_lost": 88,
}


def test_states() -> None:
    assert {state.word: state.value for state in State} == STATES


def test_reasons() -> None:
    assert {reason.word: reason.value for reason in Reason} == REASONS


def test_every_word_has_a_line_for_people() -> None:
    assert set(STATE_TEXT) == set(State)
    assert set(REASON_TEXT) == set(Reason)
    assert all(text and "\n" not in text for text in (*STATE_TEXT.values(), *REASON_TEXT.values()))
