"""Reads lines of logfmt back, strictly: what is not `key=value key="JSON string"` from end to end is an error."""

import json
import re

PAIR = re.compile(r'([a-z][a-z0-9_]*)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$)')

Fields = dict[str, str]


def parse(line: str) -> Fields:
    """The fields of one line, each once."""
    found: Fields = {}
    at = 0
    while at < len(line):
        match = PAIR.match(line, at)
        if match is None or match[1] in found:
            raise ValueError(f"no logfmt at {at}: {line}")
        found[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
        at = match.end()
    return found


def lines(text: str) -> list[Fields]:
    return [parse(line) for line in text.split("\n")[:-1]]
