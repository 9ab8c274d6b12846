"""Writes the tables of docs/ that are taken from the code: `python -m tools.docs`. A test holds them up to date."""

import re
from pathlib import Path

from healthagent.config import spoken
from healthagent.model import Base
from healthagent.reasons import REASON_TEXT, STATE_TEXT, Reason, State
from healthagent.schema import ROLE_SETTINGS, SECTIONS, TOP_LEVEL, Setting, role_keys

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def states() -> str:
    rows = [f"| {state.value} | `{state.word}` | {STATE_TEXT[state]} |" for state in State]
    return _table("| number | state | meaning |", rows)


def reasons() -> str:
    rows = [f"| {reason.value} | `{reason.word}` | {REASON_TEXT[reason]} |" for reason in Reason]
    return _table("| number | reason | meaning |", rows)


def settings() -> str:
    rows = [_setting(f"{section}.{key}", item) for section, keys in SECTIONS.items() for key, item in keys.items()]
    rows += [_setting(key, item) for key, item in TOP_LEVEL.items()]
    return _table("| setting | default | meaning |", rows)


def roles() -> str:
    rows = [
        f"| `{key}` | {_default(item.default)} | {_bases(key)} | {item.meaning} |"
        for key, item in ROLE_SETTINGS.items()
    ]
    return _table("| setting | default | roles of base | meaning |", rows)


TABLES = {"states": states, "reasons": reasons, "settings": settings, "roles": roles}


def rendered(text: str) -> str:
    """The page with its tables as the code has them now."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}{block[3]}", text)


def _setting(path: str, setting: Setting) -> str:
    return f"| `{path}` | {_default(setting.default)} | {setting.meaning} |"


def _default(value: object) -> str:
    """A default as one would write it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{spoken(value)}`"
    if isinstance(value, list):
        return ", ".join(f"`{host}:{port}`" for host, port in value)
    return f"`{value}`"


def _bases(key: str) -> str:
    return ", ".join(f"`{base}`" for base in Base if key in role_keys(base))


def _table(head: str, rows: list[str]) -> str:
    rule = "|" + " --- |" * (head.count("|") - 1)
    return "\n".join([head, rule, *rows]) + "\n"


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(rendered(page.read_text("utf-8")), "utf-8")
