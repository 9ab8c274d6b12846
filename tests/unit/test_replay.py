"""Records of an agent under a clock of its own, and what a replay makes of them."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthagent import cli, config
from healthagent.course import differences, tally
from healthagent.facts import Failure, FailureKind, Snapshot
from healthagent.judge import Memory, acknowledge, adapt, judge, repinned, starting
from healthagent.model import Status
from healthagent.plan import Plan
from healthagent.policy import Policy, Role
from healthagent.record import GAP, RELOAD, START, TURN, Ack, End, Entry, Header, Recording, Sample
from healthagent.recordfile import RecordFile
from healthagent.replay import Replay
from healthagent.trail import Pins
from tests.build import DOWN, HUNG, POLICY, ROLES, SYNCED, WALL, galera, replica, slave_row
from tools.docs import DOCS

AT = 5000.0
REJECTING = galera(reject_queries="ALL")
VOTED_OUT = galera(local_state="5", local_state_comment="Inconsistent")
STRICT = replace(POLICY, roles=tuple(replace(role, max_lag_seconds=2.0) for role in ROLES))


class Diary:
    """What an agent would record, and what it told: (seconds, role, status) as they changed."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy, self.entries, self.turns = policy, list[Entry](), list[tuple[float, str, Status]]()
        self.at, self.sequence, self.pins = AT, 0, Pins()
        self.memory: Memory | None = None
        self.header = Header(why=START, at=AT, wall=WALL, run=1.0, version="0", server="/s", config={})

    @property
    def wall(self) -> float:
        return WALL + self.at - AT

    def head(self, why: str, **more: Any) -> "Diary":
        self.header = replace(self.header, why=why, at=self.at, wall=self.wall, pins=self.pins, **more)
        self.entries.append(self.header)
        if why in (START, GAP):
            self.memory, self.sequence = starting(self.policy, self.wall, self.pins), self.sequence + (why == GAP)
        return self

    def reload(self, policy: Policy, **more: Any) -> "Diary":
        self.policy = policy
        self.head(RELOAD, **more)
        self._tell(lambda memory: adapt(memory, Plan(policy), self.wall))
        return self

    def sees(self, what: Snapshot, seconds: float = 0.5, *, every: float = 0.5) -> "Diary":
        for _ in range(round(seconds / every)):
            self.at, self.sequence = round(self.at + every, 6), self.sequence + 1
            snapshot = replace(what, ended_at=self.at, sequence=self.sequence)
            self._tell(lambda memory, snapshot=snapshot: judge(memory, snapshot, self.wall))  # type: ignore[misc]
            assert self.memory is not None
            self.pins = self.memory.trail.pins
            self.entries.append(Sample(snapshot=snapshot, wall=self.wall, pins=self.pins))
        return self

    def acks(self) -> "Diary":
        self._tell(lambda memory: repinned(memory, acknowledge(memory, cluster=False)[0]))
        self.entries.append(Ack(cluster=False, at=self.at, wall=self.wall))
        return self

    def ends(self) -> "Diary":
        self.entries.append(End(at=self.at, wall=self.wall))
        return self

    def _tell(self, step: Callable[[Memory], Memory]) -> None:
        assert self.memory is not None
        before, self.memory = self.memory.publication, step(self.memory)
        for name, verdict in self.memory.publication.verdicts.items():
            if name in before.verdicts and before.verdicts[name].status is not verdict.status:
                self.turns.append((round(self.at - AT, 6), name, verdict.status))


def begun(policy: Policy = POLICY) -> Diary:
    return Diary(policy).head(START)


def replayed(entries: Sequence[Entry], *policies: Policy) -> Replay:
    found = Replay([lambda header, policy=policy: policy for policy in policies or (POLICY,)])  # type: ignore[misc]
    found.run(entries)
    return found


def told(found: Replay) -> list[tuple[float, str, Status]]:
    return [
        (round(turn.at, 6), turn.role, turn.after)
        for turn in found.courses[0].turns
        if turn.before is not None and turn.after is not None
    ]


def words(found: Replay) -> list[str]:
    return [event.word for event in found.events]


def test_a_replay_tells_what_was_told() -> None:
    diary = begun().sees(SYNCED, 5).sees(REJECTING, 2).sees(SYNCED, 5).sees(DOWN, 3).sees(SYNCED, 3).ends()
    found = replayed(diary.entries)

    assert told(found) == diary.turns
    assert len(diary.turns) == 5 * len(ROLES), "up, down, up, down, up"
    assert (found.samples, round(found.seconds, 6)) == (36, 18.0)
    assert words(found) == ["started", "stopped"]
    assert [state.after for state in found.courses[0].states] == ["synced", "rejecting", "synced", "down", "synced"]


def test_what_a_turn_says() -> None:
    found = replayed(begun().sees(SYNCED, 1).sees(REJECTING, 1).entries)
    turn = next(turn for turn in found.courses[0].turns if turn.role == "writer" and turn.before is Status.UP)
    assert (turn.after, turn.weight, [reason.word for reason in turn.reasons]) == (Status.DOWN, 0, ["rejecting"])
    assert [(facing.gate, facing.value, facing.limit) for facing in turn.facing] == [("accepting", "ALL", "NONE")]


def test_between_two_samples_the_facts_grow_too_old() -> None:
    """As the board tells it to balancers, to the moment; the node is `stale` then."""
    found = replayed(begun().sees(SYNCED, 2).sees(SYNCED, 10, every=10).entries)
    falls = [turn for turn in found.courses[0].turns if turn.aged]
    assert {round(turn.at, 6) for turn in falls} == {2.0 + 3.0}
    assert {tuple(reason.word for reason in turn.reasons) for turn in falls} == {("stale",)}
    assert [state.after for state in found.courses[0].states] == ["synced", "stale", "thawed"]
    assert tally(found.courses[0], "any").down == 0.5 + 10 - 3


def test_a_reload_keeps_what_was_known_and_brings_its_roles() -> None:
    more = replace(POLICY, roles=(*ROLES, Role(name="own", base=ROLES[2].base)))
    diary = begun().sees(SYNCED, 2).reload(more).sees(SYNCED, 2)
    policies = {RELOAD: more, START: POLICY}
    found = Replay([lambda header: policies[header.why]])
    found.run(diary.entries)

    assert told(found) == diary.turns
    assert words(found) == ["started", "reloaded"]
    assert found.courses[0].roles == (*(role.name for role in ROLES), "own")
    assert tally(found.courses[0], "own").away == 2.0
    assert tally(found.courses[0], "writer").falls == 0


def test_a_reload_to_another_server_knows_nothing_of_it() -> None:
    diary = begun().sees(SYNCED, 2)
    diary.head(RELOAD, server="/other")
    found = replayed(diary.entries)
    assert [turn.after for turn in found.courses[0].turns if turn.role == "any"] == [
        Status.DOWN,
        Status.UP,
        Status.DOWN,
    ]


def test_an_acknowledgement_ends_what_was_latched() -> None:
    diary = begun().sees(VOTED_OUT, 1).sees(SYNCED, 2).acks().sees(SYNCED, 2)
    found = replayed(diary.entries)
    assert told(found) == diary.turns
    assert [turn.after for turn in found.courses[0].turns if turn.role == "any"] == [Status.DOWN, Status.UP]
    assert words(found) == ["started", "acknowledged"]


def test_what_was_latched_outlives_the_agent() -> None:
    diary = begun().sees(VOTED_OUT, 1).ends()
    found = replayed(diary.head(START, run=2.0).sees(SYNCED, 2).entries)
    assert [turn.after for turn in found.courses[0].turns if turn.role == "any"] == [Status.DOWN, None, Status.DOWN]


def test_while_the_agent_was_away_nothing_was_told() -> None:
    diary = begun().sees(SYNCED, 2).ends()
    diary.at += 60
    diary.sequence = 0
    found = replayed(diary.head(START, run=2.0).sees(SYNCED, 2).entries)
    any_role = tally(found.courses[0], "any")
    assert (any_role.away, any_role.falls) == (60.0, 0)
    assert any_role.up == pytest.approx(3.0)
    assert any_role.down == pytest.approx(1.0), "starting, until the first sample"
    assert words(found) == ["started", "stopped", "started"]


def test_behind_a_reboot_the_wall_clock_tells_how_long() -> None:
    first = begun().sees(SYNCED, 2)
    again = Diary().head(START, run=2.0).sees(SYNCED, 2).entries
    later = [
        replace(entry, wall=entry.wall + 300, at=entry.at - 4000)
        if isinstance(entry, Header)
        else replace(
            entry, wall=entry.wall + 300, snapshot=replace(entry.snapshot, ended_at=entry.snapshot.ended_at - 4000)
        )
        for entry in again
        if isinstance(entry, Header | Sample)
    ]
    found = replayed([*first.entries, *later])
    assert found.seconds == pytest.approx(302.0)
    assert words(found) == ["started", "ended", "started"]


def test_a_file_that_goes_on_is_no_beginning() -> None:
    diary = begun().sees(SYNCED, 2)
    found = replayed(diary.head(TURN).sees(SYNCED, 2).sees(HUNG, 1).entries)
    assert told(found) == diary.turns
    assert words(found) == ["started"]


def test_a_file_whose_beginning_is_gone_begins_in_the_middle() -> None:
    diary = begun().sees(SYNCED, 2)
    found = replayed(diary.head(TURN).sees(SYNCED, 2).entries[5:])
    assert words(found) == ["recording"]
    assert [turn.after for turn in found.courses[0].turns if turn.role == "any"] == [Status.DOWN, Status.UP]


def test_a_hole_between_two_files_is_no_time_without_samples() -> None:
    diary = begun().sees(SYNCED, 2)
    diary.at += 100
    diary.sequence += 200
    found = replayed(diary.head(TURN).sees(SYNCED, 2).entries)
    assert words(found) == ["started", "ended", "recording"]
    assert tally(found.courses[0], "any").away == 100.0
    assert not any(turn.aged for turn in found.courses[0].turns)


def test_lost_samples_are_no_time_without_samples() -> None:
    diary = begun().sees(SYNCED, 2)
    diary.at += 30
    found = replayed(diary.head(GAP).sees(SYNCED, 2).entries)
    assert words(found) == ["started", "lost samples", "recording"]
    assert tally(found.courses[0], "any").falls == 0


# --- another configuration ------------------------------------------------------------------------------------------


def lagging(seconds: int) -> Snapshot:
    return replica(slave_row(Seconds_Behind_Master=seconds, Slave_received_heartbeats=seconds))


def test_where_a_stricter_limit_differs() -> None:
    entries = begun().sees(lagging(0), 5).sees(lagging(5), 4).sees(lagging(0), 5).entries
    found = replayed(entries, POLICY, STRICT)
    ours, theirs = found.courses
    (any_one, reader, _) = differences(ours, theirs)

    assert {any_one.role, reader.role} == {"any", "reader"}
    assert (reader.one.after, reader.other.after) == (Status.UP, Status.DOWN)
    assert [reason.word for reason in reader.other.reasons] == ["replica_lagging"]
    assert (reader.at, reader.seconds) == (6.5, 4.0), "from 1 s of lag on to 1 s without"
    assert tally(theirs, "reader").longest_down == 4.0
    assert (tally(ours, "reader").falls, tally(theirs, "reader").falls) == (0, 1)
    assert differences(ours, ours) == ()


def test_a_difference_that_lasts_to_the_end() -> None:
    found = replayed(begun().sees(lagging(0), 5).sees(lagging(5), 4).entries, STRICT, POLICY)
    difference = differences(*found.courses)[-1]
    assert difference.at + difference.seconds == found.seconds
    assert difference.until_wall == found.ended_wall


def test_tallies_add_up() -> None:
    drained = replace(POLICY, roles=tuple(replace(role, drain=True) for role in ROLES))
    diary = begun().sees(SYNCED, 4).reload(drained).sees(SYNCED, 2).sees(DOWN, 3).reload(POLICY).sees(SYNCED, 1).ends()
    found = Replay([lambda header: drained if header.at == AT + 4 else POLICY])
    found.run(diary.entries)
    any_role = tally(found.courses[0], "any")
    assert (any_role.up, any_role.drain, any_role.down, any_role.away) == (3.5, 2.5, 4.0, 0.0)
    assert any_role.up + any_role.drain + any_role.down + any_role.away == found.seconds


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    file = tmp_path / "own.yaml"
    file.write_text(f"mysql: {{user: agent, socket: {tmp_path}/no.sock}}\nroles: {{trial: {{base: writer}}}}\n")
    return config.load(file)


@pytest.fixture
def file(tmp_path: Path, settings: config.Config) -> Path:
    """A replica that lags for 4 s, as its agent has recorded it."""
    path = tmp_path / "record"
    diary = Diary(settings.policy)
    diary.header = replace(diary.header, config=config.shown(settings))
    diary.head(START).sees(lagging(0), 5).sees(lagging(5), 4).sees(lagging(0), 5).ends()
    RecordFile(Recording(path=path, samples=1000)).append(diary.entries)
    return path


def test_the_configuration_of_the_record_is_its_policy(settings: config.Config) -> None:
    from healthagent.document import retold

    assert config.policy_of(retold(config.shown(settings), "x"), "x") == settings.policy


def test_without_a_configuration(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(file), "--role", "reader"]) == 0
    out, err = capsys.readouterr()
    first, *lines = out.splitlines()
    assert first == "# 2025-10-09T08:53:20.000Z to 2025-10-09T08:53:34.000Z, 28 samples"
    assert lines == [
        "2025-10-09T08:53:20.000Z  agent   started",
        "2025-10-09T08:53:20.500Z  state   unknown -> replica",
        "2025-10-09T08:53:20.500Z  reader  down -> up weight=100",
        "2025-10-09T08:53:34.000Z  agent   stopped",
        "",
        "role    by           up       drain   down    not told  falls  longest down",
        "reader  as recorded  96.429%  0.000%  3.571%  0s        0      500ms",
    ]
    assert err == ""


def test_with_another_one(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "new.yaml"
    other.write_text("mysql: {password_file: /nowhere}\nroles: {reader: {max_lag: 2s}}\n")
    assert cli.main(["replay", str(file), "--config", str(other), "--role", "reader"]) == 0
    out = capsys.readouterr().out
    assert (
        f"# where {other} differs from what was recorded: 1\n"
        "2025-10-09T08:53:26.500Z to 2025-10-09T08:53:30.500Z (4.0s)  reader"
        "  up, would be down reasons=replica_lagging lag=5s (seconds_behind) (limit 2.0)\n"
    ) in out


def test_a_role_of_the_other_one_alone_has_its_turns(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "new.yaml"
    other.write_text("roles: {fresh: {base: reader, max_lag: 2s}}\n")
    assert cli.main(["replay", str(file), "--config", str(other), "--role", "fresh"]) == 0
    out = capsys.readouterr().out
    assert "2025-10-09T08:53:26.500Z  fresh  up -> down reasons=replica_lagging lag=5s (seconds_behind)" in out
    assert "2025-10-09T08:53:30.500Z  fresh  down -> up" in out


def test_what_a_server_says_makes_no_line_and_moves_no_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, forged = tmp_path / "record", "no\n2025-10-09T08:53:20.000Z  writer  down -> up weight=100 \x1b[2J"
    failure = Failure(kind=FailureKind.LOGIN, message=forged, code=1045)
    refused = replace(SYNCED, server=None, galera=None, rows=None, failure=failure)
    broken = replica(slave_row(Slave_SQL_Running="No", Last_SQL_Errno="1062", Last_SQL_Error=forged))
    RecordFile(Recording(path=path, samples=1000)).append(begun().sees(broken, 2).sees(refused, 5).ends().entries)
    assert cli.main(["replay", str(path)]) == 0
    out = capsys.readouterr().out
    assert r"no\n2025-10-09T08:53:20.000Z  writer  down -> up weight=100 \u001b[2J" in out
    assert "\x1b" not in out
    assert not any(line.endswith("[2J") for line in out.splitlines() if line.split()[1:2] == ["writer"])


def test_what_stands_before_damage_is_replayed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpacked = gzip.decompress(file.read_bytes())
    file.write_bytes(unpacked + b"{\n")
    assert cli.main(["replay", str(file), "--role", "reader"]) == 1
    out, err = capsys.readouterr()
    assert "reader  down -> up weight=100\n" in out
    assert err.endswith("; what stands before it was replayed\n")
    assert f"{file}: line {unpacked.count(bytes([10])) + 1}: is no JSON: " in err


def test_as_json(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "new.yaml"
    other.write_text("roles: {reader: {max_lag: 2s}}\nprobe: {heartbeat_table: a.b}\n")
    assert cli.main(["--config", str(other), "replay", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"from", "to", "seconds", "samples", "events", "courses", "differences", "notes"}
    assert [course["configuration"] for course in found["courses"]] == ["as recorded", str(other)]
    assert "trial" in found["courses"][0]["roles"]
    assert "trial" not in found["courses"][1]["roles"]
    (note,) = found["notes"]
    assert "heartbeat table" in note


WRONG = {
    "no file": (["replay", "{tmp}/nowhere"], 1, "{tmp}/nowhere: cannot be read: No such file or directory"),
    "damaged": (["replay", "{tmp}/other"], 1, "{tmp}/other: line 1: is no JSON"),
    "a role": (["replay", "{tmp}/record", "--role", "x"], 2, "unknown role 'x'; roles in this record: any, synced"),
    "config": (["replay", "{tmp}/record", "--config", "{tmp}/bad"], 2, "{tmp}/bad:1: roles.reader.max_lag: "),
    "no config": (["replay", "{tmp}/record", "--config", "{tmp}/no"], 2, "{tmp}/no: cannot be read"),
    "socket": (["--socket", "/x", "replay", "{tmp}/record"], 2, "--socket is for"),
}


@pytest.mark.parametrize(("argv", "status", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong(
    argv: list[str], status: int, says: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").write_text("other\n")
    (tmp_path / "bad").write_text("roles: {reader: {max_lag: soon}}\n")
    try:
        found = cli.main([word.format(tmp=tmp_path) for word in argv])
    except SystemExit as end:
        found = int(str(end.code))
    out, err = capsys.readouterr()
    assert (found, out) == (status, "")
    assert says.format(tmp=tmp_path) in err


def test_a_configuration_that_this_version_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record"
    diary = Diary()
    diary.header = replace(diary.header, version="9.9", config={"nonsense": 1})
    RecordFile(Recording(path=path, samples=1000)).append(diary.head(START).entries)
    assert cli.main(["replay", str(path)]) == 2
    assert f"{path}, configuration of healthagent 9.9:1: nonsense: unknown key" in capsys.readouterr().err


def test_the_session_in_the_docs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed there is printed, of a replica that lags for 4 s."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "record-and-replay.md").read_text("utf-8")
    _, cat, replay = text.split("```")[3].split("$ ")
    Path("new.yaml").write_text(cat.partition("\n")[2])
    command, _, shown = replay.partition("\n")
    argv = [str(file) if word == "/var/lib/healthagent/record" else word for word in command.split()[1:]]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == shown
