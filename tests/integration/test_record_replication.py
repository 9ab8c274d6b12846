"""A record of a real replica: what a stricter limit would have told, as a dry run told it at the time."""

from pathlib import Path

from lab import Agent, Pair, Writer, lab_dir, wait_until
from tests.integration.expect import measured, replicating, says, state
from tests.integration.replays import logged, replay, replayed, told


def test_a_stricter_limit_on_the_history_of_a_real_replica(pair: Pair, tmp_path: Path) -> None:
    """As a dry run told it at the time, and as another configuration tells it afterwards."""
    file, stricter = lab_dir() / "replica-record", tmp_path / "stricter.yaml"
    trial = {"trial": {"base": "reader", "max_lag": "2s", "dry_run": True}}
    with Agent.for_node(pair.replica, name="tried", port=9220, probe={"record": str(file)}, roles=trial) as agent:
        replicating(agent.start())
        pair.delay(4)
        with Writer(pair.primary.address, interval=0.1):
            wait_until(lambda: state(agent)["roles"]["trial"]["verdict"] == "down", 15, "the trial is down")
            assert says(agent, "reader") == "200"
            assert says(agent, "trial") == "400 Bad Request"
        pair.delay(0)
        wait_until(lambda: state(agent)["roles"]["trial"]["verdict"] == "up", 15, "the trial is up")
        agent.stop()
        own = logged(agent)
    stricter.write_text("roles: {reader: {max_lag: 2s}}\n")
    found = replayed(file, "--config", str(stricter), "--role", "reader")
    (recorded,) = replayed(file)["courses"]

    assert told(recorded) == own
    assert recorded["roles"]["reader"]["falls"] == 0
    lagging = [one for one in found["differences"] if one["would_be"]["reasons"] == ["replica_lagging"]]
    falls = [turn for turn in recorded["turns"] if turn["role"] == "trial" and turn["from"] == "up" and turn["to"]]
    assert [one["from"] for one in lagging] == [turn["at"] for turn in falls if turn["reasons"] == ["replica_lagging"]]
    assert {(one["recorded"]["to"], one["would_be"]["to"]) for one in lagging} == {("up", "down")}
    assert [gate["gate"] for gate in lagging[0]["would_be"]["gates"]] == ["lag"]
    seconds = sum(one["seconds"] for one in lagging)
    text = replay(file, "--config", str(stricter), "--role", "reader").stdout
    assert "reader  up, would be down reasons=replica_lagging lag=" in text
    measured(
        f"max_lag 2s instead of 10s on a replica delayed by 4 s: down for {seconds:.1f} s of {found['seconds']:.1f} s"
    )
