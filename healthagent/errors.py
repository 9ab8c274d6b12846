"""The errors that this program shows to people."""

from dataclasses import dataclass


class HealthagentError(Exception):
    """Something a person must be told, in one line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration: dotted path, line (None: not in the file), what would be right."""

    path: str
    line: int | None
    says: str


class ConfigError(HealthagentError):
    """All the problems of one configuration; `lines()` is how they are shown, one each."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def lines(self) -> list[str]:
        return [_line(self.source, problem) for problem in self.problems]

    def __str__(self) -> str:
        return "; ".join(self.lines())


def _line(source: str, problem: Problem) -> str:
    place = source if problem.line is None else f"{source}:{problem.line}"
    return f"{place}: {problem.path}: {problem.says}" if problem.path else f"{place}: {problem.says}"


class AskedWrongError(HealthagentError):
    """What a command was asked for cannot be done; the text says what could."""


class StartError(HealthagentError):
    """The daemon cannot start: an address in use, a socket that cannot be made."""


class UnreachableError(HealthagentError):
    """No agent answers a command that asks for one."""
