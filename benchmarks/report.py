"""What a benchmark found, as tables for people: medians, and how far the single rounds lie apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

__all__ = ["Section", "markdown", "percentile", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the report. `method` says in a few sentences what was done; cells are text, ready to print."""

    title: str
    method: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; of one value that value."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """`0.93 (0.88-0.97)`: the median, and the least and the greatest."""
    return f"{form.format(median(values))} ({form.format(min(values))}-{form.format(max(values))})"


def markdown(sections: Sequence[Section]) -> str:
    """The sections one below the other."""
    return "\n".join(_section(section) for section in sections)


def _section(section: Section) -> str:
    lines = [f"## {section.title}", "", section.method, "", _row(section.columns), _row("---" for _ in section.columns)]
    return "\n".join([*lines, *map(_row, section.rows), ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
