"""A YAML file -> plain settings with their lines, and every problem of form that it has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from healthagent.errors import ConfigError, Problem
from healthagent.kinds import shown
from healthagent.places import CONFIG_FILE
from healthagent.schema import SECTIONS, TOP_LEVEL, Setting

__all__ = ["DEFAULT_PATH", "Document", "control_socket", "default_path", "read", "retold"]

DEFAULT_PATH = Path(CONFIG_FILE)


@dataclass(slots=True)
class Document:
    """`settings` has every key, defaults filled in, but `roles` as written: name -> key -> value."""

    settings: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def given(self, path: str) -> bool:
        return path in self.lines

    def wrong(self, path: str, says: str) -> None:
        """A problem with the setting `path`, at its line or at that of what holds it."""
        line = next((self.lines[p] for p in (path, path.rpartition(".")[0]) if p in self.lines), None)
        self.problems.append(Problem(path, line, says))


def read(path: Path | None) -> Document:
    """The document in `path`, or an empty one. ConfigError for what cannot be read as YAML at all."""
    return _document(_compose(path) if path is not None else None)


def retold(settings: Mapping[str, Any], source: str) -> Document:
    """The document that says what config.shown() has told of another one; `source` is where that stands."""
    return _document(_parsed(yaml.safe_dump(dict(settings)), source))


def _document(root: yaml.Node | None) -> Document:
    document = Document()
    top = _mapping(root, "", document)
    for name, settings in SECTIONS.items():
        node = top.pop(name, None)
        given = _mapping(node, name, document) if node is not None else {}
        document.settings[name] = {key: _take(given, name, key, item, document) for key, item in settings.items()}
        _unknown(given, name, tuple(settings), document)
    for key, setting in TOP_LEVEL.items():
        document.settings[key] = _take(top, "", key, setting, document)
    roles = top.pop("roles", None)
    named = _mapping(roles, "roles", document) if roles is not None else {}
    document.settings["roles"] = {
        name: {
            key: _value(value, f"roles.{name}.{key}", document)
            for key, value in _mapping(node, f"roles.{name}", document).items()
        }
        for name, node in named.items()
    }
    _unknown(top, "", (*SECTIONS, *TOP_LEVEL, "roles"), document)
    return document


def default_path() -> Path | None:
    """The file that is meant where none is named; None for the built-in defaults."""
    try:
        return DEFAULT_PATH if DEFAULT_PATH.exists() else None
    except PermissionError:  # it is there and not for us: reading it will say so
        return DEFAULT_PATH


def control_socket(path: Path | None) -> Path:
    """The socket of the daemon that runs with this file. ConfigError for what is wrong with that setting.

    Nothing else counts: whoever asks the daemon need not be able to read its password, and a daemon goes on with what
    it has while its file is being edited.
    """
    document = read(path)
    wrong = tuple(problem for problem in document.problems if problem.path in ("", "control", "control.socket"))
    if wrong:
        raise ConfigError(str(path), wrong)
    return Path(document.settings["control"]["socket"])


def _compose(path: Path) -> yaml.Node | None:
    source = str(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(source, (Problem("", None, f"cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, (Problem("", None, f"is not UTF-8 text (byte {error.start})"),)) from error
    return _parsed(text, source)


def _parsed(text: str, source: str) -> yaml.Node | None:
    if not text.strip():
        # a truncated write looks like this; silently falling back to defaults would change every answer
        raise ConfigError(source, (Problem("", 1, "is empty; write {} (or a comment) to run with the defaults"),))
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        says = f"is not valid YAML: {error.problem or error.context}"
        if mark is not None and "\\t" in str(error.problem):
            says += " (YAML is indented with spaces, never tabs)"
        raise ConfigError(source, (Problem("", mark.line + 1 if mark else None, says),)) from error
    except yaml.reader.ReaderError as error:  # a character that YAML does not allow
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(source, (Problem("", line, f"is not valid YAML: {error.reason}"),)) from error
    except yaml.YAMLError as error:
        raise ConfigError(source, (Problem("", None, f"is not valid YAML: {error}"),)) from error
    except RecursionError as error:
        raise ConfigError(source, (Problem("", None, "is nested too deeply"),)) from error


def _mapping(node: yaml.Node | None, path: str, document: Document) -> dict[str, yaml.Node]:
    """Key -> node of a mapping; everything that is none, and every key written twice, is a problem."""
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
        return {}
    if path:
        document.lines.setdefault(path, node.start_mark.line + 1)
    if not isinstance(node, yaml.MappingNode):
        says = f"must be a mapping (key: value), not {_describe(node)}"
        document.problems.append(Problem(path, node.start_mark.line + 1, says))
        return {}
    found: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else _describe(key_node)
        dotted = f"{path}.{key}" if path else key
        if key in found:
            document.problems.append(Problem(dotted, key_node.start_mark.line + 1, "is written twice"))
        document.lines[dotted] = key_node.start_mark.line + 1
        found[key] = value
    return found


def _take(given: dict[str, yaml.Node], section: str, key: str, setting: Setting, document: Document) -> Any:
    node = given.pop(key, None)
    path = f"{section}.{key}" if section else key
    value = None
    if node is not None:  # what stands where a secret should, its keys too, is not spoken of
        value = _construct(node) if setting.secret else _value(node, path, document)
    if value is None:
        document.lines.pop(path, None)  # `key:` without a value is the default
        return setting.default
    try:
        return setting.kind(value)
    except ValueError as error:
        document.wrong(path, str(error) if setting.secret else f"{shown(value)}: {error}")
        return setting.default


def _unknown(left: dict[str, yaml.Node], section: str, known: tuple[str, ...], document: Document) -> None:
    for key in left:
        path = f"{section}.{key}" if section else key
        document.wrong(path, f"unknown key; known here: {', '.join(known)}")


def _value(node: yaml.Node, path: str, document: Document) -> Any:
    """The node's plain value, the keys of a mapping with their lines; no deeper, since an alias may hold itself."""
    if not isinstance(node, yaml.MappingNode):
        return _construct(node)
    return {key: _construct(value) for key, value in _mapping(node, path, document).items()}


def _construct(node: yaml.Node) -> Any:
    """The node's plain value; what YAML cannot build (a bad date, a mapping as a key) stays the text that it is."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return node.value if isinstance(node, yaml.ScalarNode) else _describe(node)
    finally:
        loader.dispose()


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.CollectionNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    return f"the value {node.value!r}"
