"""HAProxy accepts every example as it stands, and beside the configuration that Debian ships."""

import re
import subprocess
from pathlib import Path

import pytest

from lab.haproxy import programs
from tests.binaries import need

EXAMPLES = sorted((Path(__file__).parents[2] / "haproxy-examples").glob("*.cfg"))
DEBIAN = Path("/etc/haproxy/haproxy.cfg")
README = EXAMPLES[0].parent / "README.md"


def check(program: list[str | Path], *files: Path) -> str:
    """What `haproxy -c` has to say; fails unless it accepts the files."""
    arguments = [argument for file in files for argument in ("-f", str(file))]
    done = subprocess.run([*program, "-c", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(params=programs().items(), ids=lambda item: item[0])
def program(request: pytest.FixtureRequest) -> list[str | Path]:
    """HAProxy as Debian 12 and 13 ship it."""
    need("haproxy")
    found: list[str | Path] = request.param[1]
    return found


def test_the_readme_lists_them() -> None:
    text = README.read_text()
    assert len(EXAMPLES) >= 5
    assert [example.name for example in EXAMPLES if f"| [{example.name}]({example.name}) |" not in text] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_accepted_without_a_warning(program: list[str | Path], example: Path) -> None:
    said = check(program, example)
    assert "WARNING" not in said
    assert "ALERT" not in said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_accepted_after_debians_own_file(program: list[str | Path], example: Path) -> None:
    if not DEBIAN.exists():
        pytest.skip(f"no {DEBIAN} here")
    check(program, DEBIAN, example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_httpchk_and_agent_check_with_a_weight_that_a_percentage_can_be_taken_of(example: Path) -> None:
    """An agent alone fails open, and `up 90%` of the default weight, 1, is 0. In every backend that has servers."""
    lines = [line.split("#")[0] for line in example.read_text().splitlines()]
    sections = re.split(r"^(?=\S)", "\n".join(lines), flags=re.MULTILINE)
    backends = [section for section in sections if re.search(r"^ +server ", section, re.MULTILINE)]
    assert backends
    for backend in backends:
        assert re.search(r"^ +option httpchk$", backend, re.MULTILINE), backend
        assert re.search(r"agent-check agent-port 920\d agent-inter 500ms weight 100$", backend, re.MULTILINE), backend
