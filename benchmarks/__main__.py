"""Measures all subjects, or those that are named, and writes their tables to benchmarks/RESULTS.md: see README.md.

    lab/enter .venv-bench/uvloop/bin/python -m benchmarks [SUBJECT ...]

A subject's part of RESULTS.md says when it was measured; the parts of others stay as they are.
"""

import importlib
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import about, moment
from benchmarks.report import markdown
from benchmarks.rivals import builds
from lab import LabError

SUBJECTS = ("load", "cost", "start", "core", "detection")
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Results

What `make bench` has measured; how it is done and what the figures do not say: [README.md](README.md). Ratios are those
of two runs of one round; behind each median stand the least and the greatest, in parentheses.
"""
PART = re.compile(r"^<!-- (\w+) -->\n(.*?)(?=^<!-- \w+ -->$|\Z)", re.DOTALL | re.MULTILINE)


def main(arguments: Sequence[str], results: Path = RESULTS) -> int:
    """The exit status: 0, 1 a server did not do what was needed, 2 unknown subject."""
    unknown = [name for name in arguments if name not in SUBJECTS]
    if unknown:
        print(f"unknown subject {unknown[0]!r}; must be one of {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    try:
        builds()  # before anything is started: what is installed is measured, not this tree
        for name in arguments or SUBJECTS:
            began, when = time.monotonic(), moment()
            part = markdown(importlib.import_module(f"benchmarks.{name}").sections())
            print(f"{name}: {time.monotonic() - began:.0f} s\n\n{part}", flush=True)
            before = results.read_text() if results.exists() else ""
            results.write_text(
                renewed(before, name, f"Measured {when}.\n\n{part}", about([it.python for it in builds()]))
            )
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def renewed(before: str, subject: str, part: str, machine: Sequence[str]) -> str:
    """RESULTS.md with another part for this subject, and what `machine` says of the machine."""
    parts = {name: text.strip() for name, text in PART.findall(before)} | {subject: part.strip()}
    texts = [f"<!-- {name} -->\n{parts[name]}\n" for name in SUBJECTS if name in parts]
    return "\n".join([HEAD, *machine, "", *texts])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
