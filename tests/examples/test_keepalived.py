"""No example for keepalived holds what never moves, or what fails open; each of these mistakes put in is found.

What keepalived itself has to say of them (`keepalived -t`, and that they move) is in tests/integration.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from healthagent.places import CONTROL_SOCKET

EXAMPLES = sorted((Path(__file__).parents[2] / "keepalived-examples").glob("*.conf"))
TMPFILES = EXAMPLES[0].parent / "healthagent-track.tmpfiles"
TRACKERS = {"track_file": "track_file", "track_script": "vrrp_script", "track_process": "vrrp_track_process"}


@dataclass(slots=True)
class Block:
    """`words {` ... `}`: its own lines as lists of words, and the blocks in it."""

    words: list[str]
    lines: list[list[str]] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)

    @staticmethod
    def read(text: str, host: str) -> "Block":
        """What keepalived reads on that host: its own `@host` lines, and those without."""
        top = Block([])
        stack = [top]
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words and words[0].startswith("@") and words.pop(0) != f"@{host}":
                continue
            if words[-1:] == ["{"]:
                stack[-1].blocks.append(Block(words[:-1]))
                stack.append(stack[-1].blocks[-1])
            elif words == ["}"]:
                stack.pop()
            elif words:
                stack[-1].lines.append(words)
        assert stack == [top], "every block is closed"
        return top

    def named(self, kind: str) -> list["Block"]:
        return [block for block in self.blocks if block.words[:1] == [kind]]

    def value(self, key: str) -> list[str] | None:
        """The words behind a key; None: it is not there."""
        return next((words[1:] for words in self.lines if words[0] == key), None)


def hosts(text: str) -> list[str]:
    return sorted({word[1:] for line in text.splitlines() for word in line.split()[:1] if word.startswith("@")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """One thing that an instance goes by."""

    kind: str
    weight: int
    reverse: bool

    @property
    def opens(self) -> bool:
        """A file that means FAULT by not being 0: keepalived reads a missing one as 0."""
        return self.kind == "track_file" and not self.weight and not self.reverse

    @property
    def counts_when_lost(self) -> bool:
        return self.kind == "track_file" and (self.weight > 0 or (not self.weight and self.reverse))


def tracked(top: Block, instance: Block) -> list[Tracked]:
    """The defaults are keepalived's."""
    found = []
    for kind, definition in TRACKERS.items():
        for name in [words[0] for block in instance.named(kind) for words in block.lines]:
            (block,) = (block for block in top.named(definition) if block.words[1] == name)
            weight, *more = block.value("weight") or ["1" if kind == "track_file" else "0"]
            found.append(Tracked(kind=kind, weight=int(weight), reverse=more == ["reverse"]))
    return found


def mistakes(text: str) -> set[str]:
    tops = {host: Block.read(text, host) for host in hosts(text)}
    found: set[str] = set()
    for top in tops.values():
        found |= mistakes_of_scripts(top) | mistakes_of_processes(top)
        for instance in top.named("vrrp_instance"):
            found |= mistakes_of_timing(top, instance)
            found |= mistakes_of_tracking(tracked(top, instance), gap(tops, instance))
    return found


def mistakes_of_scripts(top: Block) -> set[str]:
    (settings,) = top.named("global_defs")
    scripts = top.named("vrrp_script")
    says = {
        "a script without a user: it is dropped, or runs as root": all(
            settings.value("script_user") or script.value("user") for script in scripts
        ),
        "no enable_script_security": not scripts or settings.value("enable_script_security") is not None,
        "a script without a timeout": all(script.value("timeout") for script in scripts),
    }
    return {mistake for mistake, well in says.items() if not well}


def mistakes_of_processes(top: Block) -> set[str]:
    """`process NAME` is every process of that name; with more words, or `full_command`, it is a command line."""
    fences = [(block.value("process") or [], block) for block in top.named("vrrp_track_process")]
    says = {
        "the agent by its name: each of its checks is one too": all(words != ["healthagent"] for words, _ in fences),
        "the agent without `param_match`: --config would make it another one": all(
            block.value("param_match") == ["partial"] for words, block in fences if "serve" in words
        ),
    }
    return {mistake for mistake, well in says.items() if not well}


def mistakes_of_timing(top: Block, instance: Block) -> set[str]:
    (settings,) = top.named("global_defs")
    interval = float((instance.value("advert_int") or ["1"])[0])
    version = instance.value("version") or settings.value("vrrp_version")
    stays = instance.value("nopreempt") is not None
    says = {
        "advert_int below 1 without version 3 is 1": interval >= 1 or version == ["3"],
        "nopreempt without state BACKUP": not stays or instance.value("state") == ["BACKUP"],
        "nopreempt with a weight never moves": not stays or not any(one.weight for one in tracked(top, instance)),
    }
    return {mistake for mistake, well in says.items() if not well}


def mistakes_of_tracking(all_of_it: list[Tracked], gap: int) -> set[str]:
    files = [one for one in all_of_it if one.kind == "track_file"]
    says = {
        "only what means well when it is missing": any(not one.opens for one in all_of_it),
        "no file whose loss counts": not files or any(one.counts_when_lost for one in files),
        "nothing that notices a frozen agent": any(one.kind == "track_script" for one in all_of_it),
        "a negative weight: what is lost counts as well": not any(one.weight < 0 for one in all_of_it),
        "a weight that is no more than what lies between the priorities": not any(
            0 < one.weight <= gap for one in all_of_it
        ),
    }
    return {mistake for mistake, well in says.items() if not well}


def gap(tops: dict[str, Block], instance: Block) -> int:
    """The difference of the priorities that the hosts give to that instance."""
    same = [other for top in tops.values() for other in top.named("vrrp_instance") if other.words == instance.words]
    priorities = [int((other.value("priority") or ["100"])[0]) for other in same]
    return max(priorities) - min(priorities)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_it_moves_and_fails_closed(example: Path) -> None:
    text = example.read_text()
    assert len(hosts(text)) == 2
    assert mistakes(text) == set()


MISTAKES = {
    "nopreempt with a weight": ("writer-vip", "weight 0 reverse", "weight 50", "nopreempt with a weight never moves"),
    "a weight by default": ("writer-vip", "    weight 0 reverse\n", "", "nopreempt with a weight never moves"),
    "nopreempt as MASTER": ("writer-vip", "state BACKUP", "state MASTER", "nopreempt without state BACKUP"),
    "a fault file alone": ("reader-vip", "        reader_alive\n", "", "no file whose loss counts"),
    "version 2": ("writer-vip", "    vrrp_version 3\n", "", "advert_int below 1 without version 3 is 1"),
    "no script user": ("fence", "    script_user healthagent\n", "", "a script without a user: it is dropped"),
    "no script security": ("fence", "    enable_script_security\n", "", "no enable_script_security"),
    "no script": ("writer-vip", "        writer_check\n", "", "nothing that notices a frozen agent"),
    "no timeout": ("haproxy-vip", "    timeout 2\n", "", "a script without a timeout"),
    "too light": ("reader-vip", "weight 60", "weight 20", "no more than what lies between the priorities"),
    "negative": ("reader-vip", "weight 60", "weight -60", "a negative weight"),
    "the agent by name": (
        "fence",
        "process /usr/bin/python3 /usr/bin/healthagent serve",
        "process healthagent",
        "each of its checks",
    ),
    "the whole command line": ("fence", "    param_match partial\n", "", "--config would make it another one"),
    "not reversed": ("fence", "weight 0 reverse", "weight 0", "no file whose loss counts"),
}


@pytest.mark.parametrize(("name", "right", "wrong", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_every_mistake_is_found(name: str, right: str, wrong: str, says: str) -> None:
    (text,) = (path.read_text() for path in EXAMPLES if path.stem == name)
    assert right in text
    assert any(says in mistake for mistake in mistakes(text.replace(right, wrong)))


def test_a_fault_file_alone_fails_open() -> None:
    (text,) = (path.read_text() for path in EXAMPLES if path.stem == "reader-vip")
    alone = text.replace("        reader_alive\n", "").replace("        reader_check\n", "")
    assert "only what means well when it is missing" in mistakes(alone)


def test_every_track_file_is_made_with_the_value_that_means_down() -> None:
    """tmpfiles.d has each file of each example, with the `down` of the agent's settings in that example."""
    made = {line.split()[1]: line.split()[-1] for line in TMPFILES.read_text().splitlines() if line.startswith("f ")}
    named: dict[str, str] = {}
    for example in EXAMPLES:
        text = example.read_text()
        lines = [line.split("{role", 1)[1] for line in text.splitlines() if "{role" in line]
        settings = [dict(pair.split(": ") for pair in f"role{line}".split("}")[0].split(", ")) for line in lines]
        named |= {entry["path"]: entry["down"] for entry in settings}
        definitions = Block.read(text, "db1").named("track_file")
        used = {words[1] for block in definitions for words in block.lines if words[0] == "file"}
        assert used == {entry["path"] for entry in settings}
    assert made == named


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_checks_name_the_socket(example: Path) -> None:
    """The default one, but named: so no check has to read the configuration."""
    checks = [line for line in example.read_text().splitlines() if "/usr/bin/healthagent check" in line]
    assert all(f"--socket {CONTROL_SOCKET}" in line for line in checks)
