"""Writes the tables of docs/ that are taken from the code: `python -m tools.docs`. A test holds them up to date."""

import re
from pathlib import Path

from healthagent.events import KIND_TEXT
from healthagent.families import FAMILIES, Family
from healthagent.mysqld_names import MYSQLD_FAMILIES
from healthagent.policy import Base
from healthagent.reasons import GATE_TEXT, REASON_TEXT, STATE_TEXT, Gate, Reason, State
from healthagent.schema import ROLE_SETTINGS, SECTIONS, TOP_LEVEL, Setting
from healthagent.table import ASYNC, CONNECTION, GALERA
from tools.settings import bases_of as _bases
from tools.settings import default_of as _default

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
    rows = [f"| `{key}` | {_default(item)} | {_bases(key)} | {item.meaning} |" for key, item in ROLE_SETTINGS.items()]
    return _table("| setting | default | roles of base | meaning |", rows)


def gates() -> str:
    rows = [
        f"| `{gate}` | {text.asks} | {text.falls} | {text.setting or '-'} | {_askers(gate)} |"
        for gate, text in GATE_TEXT.items()
    ]
    return _table("| gate | asks | falls | setting | asked for |", rows)


def metrics() -> str:
    return _table("| metric | type | labels | meaning |", [_family(family) for family in FAMILIES])


def mysqld_names() -> str:
    return _table("| metric | type | labels | meaning |", [_family(family) for family in MYSQLD_FAMILIES])


def events() -> str:
    rows = [
        f"| `{kind}` | {text.levels} | {text.means} | {_words(text.fields)} | `{text.message_id}` |"
        for kind, text in KIND_TEXT.items()
    ]
    return _table("| event | level | means | fields | MESSAGE_ID |", rows)


TABLES = {"events": events, "gates": gates, "states": states, "reasons": reasons, "settings": settings, "roles": roles}
TABLES |= {"metrics": metrics, "mysqld_names": mysqld_names}


def rendered(text: str) -> str:
    """The page with its tables as the code has them now."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}{block[3]}", text)


def _family(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    return f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "-"


def _setting(path: str, setting: Setting) -> str:
    return f"| `{path}` | {_default(setting)} | {setting.meaning} |"


def _askers(gate: Gate) -> str:
    """The roles that ask the gate, on a Galera node and elsewhere, in as few words as possible."""
    if gate in {question.gate for question in CONNECTION}:
        return "all"
    member = [base for base in Base if gate in {question.gate for question in GALERA[base]}]
    plain = [base for base in Base if gate in {question.gate for question in ASYNC[base]}]
    if member == plain:
        return _roles(member)
    said = [(_roles(member), "Galera")] if member else []
    said += [(_roles(plain), "not Galera")] if plain else []
    return "; ".join(f"{roles} ({where})" for roles, where in said)


def _roles(bases: list[Base]) -> str:
    if set(bases) == set(Base):
        return "all"
    return "all but stale-ok" if set(bases) == set(Base) - {Base.STALE_OK} else ", ".join(bases)


def _table(head: str, rows: list[str]) -> str:
    rule = "|" + " --- |" * (head.count("|") - 1)
    return "\n".join([head, rule, *rows]) + "\n"


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(rendered(page.read_text("utf-8")), "utf-8")
