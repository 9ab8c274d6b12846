"""Makes what is installed beside the program: `python -m tools.manual DIRECTORY` writes healthagent.1,
healthagent.yaml.5 and `healthagent`, the completion for bash.

Commands and options are those of the command line, settings those of the schema: nothing is written down twice.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from healthagent import __version__
from healthagent.checking import USAGE_TEXT
from healthagent.cli import EPILOG, command_line
from healthagent.places import CONFIG_FILE, CONTROL_SOCKET
from healthagent.policy import Base
from healthagent.schema import ROLE_SETTINGS, SECTIONS, TOP_LEVEL, Setting
from tools.settings import bases_of, default_of

__all__ = ["Command", "commands", "completion", "page_of_commands", "page_of_settings"]

COMMON = ("--config", "--socket")  # they may stand before the command, too
DOCS = Path(__file__).parents[1] / "docs"
ROLES = (*Base, "replica")
# `    --max-lag 5s    the data may be that old`: an option, or an argument, as the help of `check` lists it
LISTED = re.compile(r"^  ((?:--)?\S+(?: \S+)?) {2,}(\S.*)$", re.MULTILINE)
EXIT_STATUS = re.compile(r"^exit status: (.*)\Z", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """`words` as they are typed; `options` and `arguments` as (what is typed, meaning), and those that must be there;
    `ends`: its exit status, where it has one of its own.
    """

    words: tuple[str, ...]
    meaning: str
    options: tuple[tuple[str, str], ...]
    arguments: tuple[tuple[str, str], ...]
    required: frozenset[str] = frozenset()
    ends: str = ""

    @property
    def name(self) -> str:
        return " ".join(self.words)


def commands() -> list[Command]:
    """Every command that can be typed; those that only hold others (`config`) are not among them."""
    return list(_below(command_line(), ()))


def _below(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[Command]:
    for group in parser._actions:
        if not isinstance(group, argparse._SubParsersAction):
            continue
        for choice in group._choices_actions:
            below: argparse.ArgumentParser = group.choices[choice.dest]
            found = list(_below(below, (*words, choice.dest)))
            yield from found or [_command(below, (*words, choice.dest), choice.help or "")]


def _command(parser: argparse.ArgumentParser, words: tuple[str, ...], meaning: str) -> Command:
    if words == ("check",):  # the one that argparse does not know: it has to start faster
        return _check(meaning)
    actions = [action for action in parser._actions if action.dest != "help"]
    options = [(_typed(action), _help(action)) for action in actions if action.option_strings]
    arguments = [(str(action.metavar), _help(action)) for action in actions if not action.option_strings]
    required = [
        _typed(action) if action.option_strings else str(action.metavar) for action in actions if action.required
    ]
    return Command(words, meaning, tuple(options), tuple(arguments), frozenset(required))


def _check(meaning: str) -> Command:
    listed = [(match[1], match[2]) for match in LISTED.finditer(USAGE_TEXT)]
    ends = EXIT_STATUS.search(USAGE_TEXT)
    return Command(
        ("check",),
        meaning.partition(": see")[0],
        tuple(item for item in listed if item[0].startswith("-")),
        tuple(item for item in listed if not item[0].startswith("-")),
        frozenset({"ROLE"}),
        ends[1].strip().replace("\n", ". ") if ends else "",
    )


def _typed(action: argparse.Action) -> str:
    name = action.option_strings[-1]
    return name if action.nargs == 0 else f"{name} {action.metavar}"


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


# --- manual pages; the macros are those of man(7)


def page_of_commands() -> str:
    """healthagent(1)"""
    parser = command_line()
    common = [
        (_typed(action), _help(action)) for action in parser._actions if action.option_strings and action.dest != "help"
    ]
    ends = EXIT_STATUS.search(EPILOG)
    examples = EPILOG.partition("examples:\n")[2].partition("\n\n")[0]
    return _page(
        "healthagent",
        1,
        "tells load balancers whether a MariaDB node may take traffic",
        _section("SYNOPSIS", ".B healthagent", _roff("[--config FILE] COMMAND ...")),
        _section("DESCRIPTION", _roff(parser.description or "")),
        _section("COMMANDS", *map(_of_command, commands())),
        _section("OPTIONS", *[_item(typed, meaning) for typed, meaning in common]),
        _section("EXIT STATUS", _roff(" ".join(ends[1].split()) if ends else "")),
        _section("FILES", _item(CONFIG_FILE, "the configuration"), _item(CONTROL_SOCKET, "answers commands")),
        _section("EXAMPLES", _verbatim(examples)),
        _section("SEE ALSO", r".BR healthagent.yaml (5)", _roff("/usr/share/doc/healthagent")),
    )


def page_of_settings() -> str:
    """healthagent.yaml(5)"""
    text = (DOCS / "configuration.md").read_text("utf-8")
    notes = re.findall(r"^- ((?:Durations|SIGHUP).*?)(?=^- |^$)", text, re.MULTILINE | re.DOTALL)
    settings = [
        f".SS {name}\n" + "".join(_of_setting(key, item) for key, item in keys.items())
        for name, keys in SECTIONS.items()
    ]
    roles = [
        _item(key, f"{item.meaning} ({_default(item)}base: {bases_of(key)})") for key, item in ROLE_SETTINGS.items()
    ]
    return _page(
        "healthagent.yaml",
        5,
        "configuration of healthagent",
        _section("SYNOPSIS", f".B {_roff(CONFIG_FILE)}"),
        _section(
            "DESCRIPTION",
            *[f"{_roff(' '.join(note.split()))}\n.PP" for note in notes],
            _roff("`healthagent config check` says everything that is wrong, `healthagent config show` what holds."),
        ),
        _section("SETTINGS", *settings, ".SS (top level)\n" + "".join(_of_setting(*it) for it in TOP_LEVEL.items())),
        _section(
            "ROLES",
            _roff(
                "Below `roles`, by the name of a role. Built in: "
                + ", ".join(f"`{base}`" for base in Base)
                + ". Others say what they are like: `base: reader`."
            ),
            _item("base", "the role that an own one is like"),
            *roles,
        ),
        _section("EXAMPLES", _verbatim(text.split("```yaml\n")[1].split("```")[0])),
        _section("SEE ALSO", r".BR healthagent (1)", _roff("/usr/share/doc/healthagent")),
    )


def _of_setting(key: str, setting: Setting) -> str:
    default = _default(setting).removesuffix("; ")
    return _item(key, f"{setting.meaning} ({default})" if default else setting.meaning)


def _default(setting: Setting) -> str:
    default = default_of(setting)
    return "" if default == "-" else f"default: {default}; "


def _of_command(command: Command) -> str:
    for_all = [action for action in command_line()._actions if action.option_strings]  # they are explained once
    shared = [(_typed(action), _help(action)) for action in for_all]
    options = [item for item in command.options if item not in shared]
    typed = [it if it in command.required else f"[{it}]" for it, _ in (*options, *command.arguments)]
    head = " ".join([command.name, *typed])
    listed = "".join(_item(*item) for item in (*command.arguments, *options))
    ends = f".PP\n{_roff('Exit status: ' + ' '.join(command.ends.split()))}\n" if command.ends else ""
    below = f".RS\n{listed}{ends}.RE\n" if listed or ends else ""
    return _item(head, command.meaning) + below


def _page(name: str, section: int, meaning: str, *parts: str) -> str:
    """The time is that of the package's changelog: the same sources make the same page."""
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    title = f'.TH {name.upper()} {section} {day} "healthagent {__version__}" "healthagent"\n'
    return title + _section("NAME", f"{_roff(name)} \\- {_roff(meaning)}") + "".join(parts)


def _section(name: str, *parts: str) -> str:
    return f".SH {name}\n" + "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _item(typed: str, meaning: str) -> str:
    return f".TP\n.B {_roff(typed)}\n{_roff(meaning)}\n"


def _verbatim(text: str) -> str:
    lines = (_roff(line) for line in text.rstrip("\n").split("\n"))
    return "\n".join([".PP", ".nf", *lines, ".fi", ""])


def _roff(text: str) -> str:
    """One paragraph of plain text, `code` in bold. A line must not begin like a request, nor end in half a word."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    marked = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", plain)
    return f"\\&{marked}" if marked.startswith((".", "\\(aq")) else marked


# --- bash

COMPLETION = """\
# Completion of healthagent for bash. Made from its command line, see tools/manual.py.

# The built-in roles, and those of the configuration where we may read it.
_healthagent_roles() {
    echo "@ROLES@"
    healthagent config show 2>/dev/null | sed -n '/^roles:/,/^[a-z]/s/^  \\([a-z][a-z0-9_-]*\\):.*/\\1/p'
}

_healthagent() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} typed="" word value=""
    local words="" files=""
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $value ]]; then
            value=""
            continue
        fi
        case "$typed $word" in
            @VALUED@) value=1 ;;
            *" -"*) ;;
            *) typed+="${typed:+ }$word" ;;
        esac
    done
    if [[ -n $value ]]; then
        case $previous in
            --config | --socket) files=1 ;;
        esac
    else
        case $typed in
@CASES@
        esac
    fi
    mapfile -t COMPREPLY < <(compgen ${files:+-f} -W "$words" -- "$current")
    [[ -z $files ]] || compopt -o filenames 2>/dev/null || :
}
complete -F _healthagent healthagent
"""


def completion() -> str:
    """For bash, without the functions of bash-completion: they are not everywhere."""
    known = commands()
    groups: dict[tuple[str, ...], list[str]] = {(): ["--config", "--help", "--version"]}
    for command in known:
        for length in range(len(command.words)):
            words = groups.setdefault(command.words[:length], ["--help"])
            if command.words[length] not in words:
                words.append(command.words[length])
    cases = [_case(" ".join(words), choices) for words, choices in groups.items()]
    for command in known:
        options = [option.partition(" ")[0] for option, _ in command.options] + ["--help"]
        cases.append(_case(command.name, options, *(argument for argument, _ in command.arguments)))
        if command.arguments:
            cases.append(f'            "{command.name} "*) words="{" ".join(options)}" ;;')
    valued = {
        f'*" {name}"' if name in COMMON else f'"{command.name}"*" {name}"'
        for command in known
        for name, value in (option.split(" ", 1) for option, _ in command.options if " " in option)
        if value
    }
    return (
        COMPLETION.replace("@ROLES@", " ".join(ROLES))
        .replace("@VALUED@", " | ".join(sorted(valued)))
        .replace("@CASES@", "\n".join(cases))
    )


def _case(typed: str, words: list[str], *arguments: str) -> str:
    more = " $(_healthagent_roles)" if "ROLE" in arguments else ""
    files = "; files=1" if "FILE" in arguments else ""
    return f'            "{typed}") words="{" ".join(words)}{more}"{files} ;;'


def main(directory: Path) -> None:
    (directory / "healthagent.1").write_text(page_of_commands(), "utf-8")
    (directory / "healthagent.yaml.5").write_text(page_of_settings(), "utf-8")
    (directory / "healthagent").write_text(completion(), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
