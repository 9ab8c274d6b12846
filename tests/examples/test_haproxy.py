"""HAProxy accepts every example as it stands, and beside the configuration that Debian ships."""

import subprocess
from pathlib import Path

import pytest

from tests.binaries import need

EXAMPLES = sorted((Path(__file__).parents[2] / "haproxy-examples").glob("*.cfg"))
DEBIAN = Path("/etc/haproxy/haproxy.cfg")


def check(*files: Path) -> str:
    """What `haproxy -c` has to say; fails unless it accepts the files."""
    arguments = [argument for file in files for argument in ("-f", str(file))]
    done = subprocess.run(["haproxy", "-c", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_accepted_without_a_warning(example: Path) -> None:
    need("haproxy")
    said = check(example)
    assert "WARNING" not in said
    assert "ALERT" not in said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_accepted_after_debians_own_file(example: Path) -> None:
    need("haproxy")
    if not DEBIAN.exists():
        pytest.skip(f"no {DEBIAN} here")
    check(DEBIAN, example)
