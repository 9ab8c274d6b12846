"""The servers' own root: programs of another Debian, the rest of the lab as it is.

`LAB_ROOT=DIR lab/enter COMMAND` takes mariadbd, its installer, its state transfer scripts and Galera from the tree in
DIR (tools/install trixie makes one); processes, network and LAB_DIR are the same as without.
"""

import os
from pathlib import Path

__all__ = ["in_tree", "of_tree", "trixie"]


def in_tree(*argv: str | Path) -> list[str]:
    """The command line that runs `argv` with the tree as its root; `argv` itself where there is none.

    nsenter becomes the command, so the process that is started is the server's own.
    """
    namespace = os.environ.get("LAB_TREE")
    enter = ["nsenter", f"--mount={namespace}", "--"] if namespace else []
    return [*enter, *map(str, argv)]


def trixie() -> Path:
    """Where `tools/install trixie` puts its tree, whether it is there or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
    return Path(os.environ.get("HEALTHAGENT_TRIXIE") or f"{cache}/healthagent/trixie")


def of_tree(tree: Path, program: str) -> list[str | Path]:
    """The command that runs a program of the tree with the libraries it was built with, and all else as here."""
    loader = next(tree.glob("lib*/ld-linux-*.so.*"))
    # systemd keeps its own one in a directory below
    places = (*tree.glob("usr/lib/*-linux-gnu"), *tree.glob("usr/lib/*-linux-gnu/systemd"))
    libraries = ":".join(str(path) for path in sorted(places))
    return [loader, "--library-path", libraries, tree / program]
