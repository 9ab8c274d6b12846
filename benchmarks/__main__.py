"""Measures all subjects, or those that are named, and writes benchmarks/RESULTS.md: see README.md.

    lab/enter .venv-bench/uvloop/bin/python -m benchmarks [SUBJECT ...]

With names the tables are only printed: RESULTS.md is that of one whole run.
"""

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import about
from benchmarks.report import Section, markdown
from benchmarks.rivals import builds
from lab import LabError

SUBJECTS = ("load", "cost", "start", "core")
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Results

One run of `make bench`; how it is done and what the figures do not say: [README.md](README.md). Ratios are those of two
runs of one round; behind each median stand the least and the greatest, in parentheses.
"""


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 a server did not do what was needed, 2 unknown subject."""
    unknown = [name for name in arguments if name not in SUBJECTS]
    if unknown:
        print(f"unknown subject {unknown[0]!r}; must be one of {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    try:
        lines = about([build.python for build in builds()])
        sections: list[Section] = []
        for name in arguments or SUBJECTS:
            sections += _measured(name)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    text = "\n".join([HEAD, *lines, "", markdown(sections)])
    if arguments:
        print(text, end="")
    else:
        RESULTS.write_text(text)
        print(f"written: {RESULTS}")
    return 0


def _measured(name: str) -> list[Section]:
    began = time.monotonic()
    found: list[Section] = importlib.import_module(f"benchmarks.{name}").sections()
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
