"""systemd/healthagent.catalog: one text for each kind of event, and journalctl takes it."""

import re
import subprocess
from pathlib import Path

import pytest

from healthagent.events import KIND_TEXT, Kind
from tests.binaries import need

CATALOG = Path(__file__).parents[2] / "systemd" / "healthagent.catalog"
ENTRY = re.compile(r"^-- ([0-9a-f]{32})\n((?:[A-Za-z-]+: .+\n)+)\n((?:.*\n)*?)(?=^-- |\Z)", re.MULTILINE)
BY_ID = {text.message_id: kind for kind, text in KIND_TEXT.items()}


def entries() -> dict[str, tuple[dict[str, str], str]]:
    """Message id -> headers and text."""
    found = ENTRY.findall(CATALOG.read_text("utf-8"))
    return {
        message_id: (dict(line.split(": ", 1) for line in head.splitlines()), body.strip())
        for message_id, head, body in found
    }


def test_each_kind_has_a_text_and_each_text_a_kind() -> None:
    listed = re.findall(r"^-- (.+)$", CATALOG.read_text("utf-8"), re.MULTILINE)
    assert listed == list(entries()), "nothing that only looks like an entry"
    assert set(listed) == set(BY_ID)
    assert len(listed) == len(set(listed)) == len(Kind)


@pytest.mark.parametrize("message_id", BY_ID)
def test_a_text_says_what_it_is_what_it_means_and_where_to_read_on(message_id: str) -> None:
    head, body = entries()[message_id]
    assert head.pop("Defined-By") == "healthagent"
    assert head.pop("Documentation").startswith("man:healthagent")
    assert 10 < len(head.pop("Subject")) < 80
    assert head == {}
    assert len(body) > 80
    assert max(map(len, body.splitlines())) <= 82


@pytest.mark.parametrize("message_id", BY_ID)
def test_only_fields_of_that_kind_are_put_in(message_id: str) -> None:
    head, body = entries()[message_id]
    used = set(re.findall(r"@([A-Z_]+)@", head["Subject"] + body))
    assert used <= {name.upper() for name in KIND_TEXT[BY_ID[message_id]].fields}


def test_journalctl_takes_it(tmp_path: Path) -> None:
    need("journalctl")
    directory = tmp_path / "usr" / "lib" / "systemd" / "catalog"
    directory.mkdir(parents=True)
    (directory / CATALOG.name).write_bytes(CATALOG.read_bytes())
    (tmp_path / "var" / "lib" / "systemd" / "catalog").mkdir(parents=True)
    for argv in ("--update-catalog", "--list-catalog"):
        done = subprocess.run(
            ["journalctl", f"--root={tmp_path}", argv], capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.split(" ", 1)[0] for line in done.stdout.splitlines()) == sorted(BY_ID)
