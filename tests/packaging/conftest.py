"""The package that `make deb` makes, in machines that have booted; they run under `lab/enter`."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import lab_dir
from lab.booted import SUITES, booted
from tests.binaries import need
from tests.packaging.building import build
from tests.packaging.node import Node

OLDER, NEWER = "0.0.1", "99.0.0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside `lab/enter` nothing here can run: skipped on a laptop, an error in CI."""
    if "LAB_DIR" in os.environ:
        return
    here = [item for item in items if "/packaging/" in str(item.path)]
    if here and os.environ.get("CI") == "true":
        raise pytest.UsageError("the tests of packages run under lab/enter: use `make test-packages`")
    for item in here:
        item.add_marker(pytest.mark.skip(reason="needs lab/enter: use `make test-packages`"))


def need_tree(suite: str) -> None:
    """As tests.binaries.need, for a tree of `tools/install booted`."""
    if booted(suite).is_dir():
        return
    says = f"no tree of {suite}: tools/install booted"
    if os.environ.get("CI") == "true":
        pytest.fail(says)
    pytest.skip(says)


@pytest.fixture(scope="session")
def deb() -> Callable[[str], Path]:
    """Builds the package with that version, once for all workers."""
    need("dpkg-buildpackage", "dh", "dh_python3")

    def built(version: str) -> Path:
        out = lab_dir() / "deb"
        out.mkdir(exist_ok=True)
        with (out / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = out / f"healthagent_{version}-1_all.deb"
            if not file.exists():
                build("deb", out, version=version)
            return file

    return built


@pytest.fixture(scope="module", params=SUITES)
def running_node(request: pytest.FixtureRequest, deb: Callable[[str], Path]) -> Iterator[Node]:
    """A database node with the package, the older one of two, and its account."""
    need_tree(request.param)
    with Node(request.param) as node:
        node.start()
        node.install(deb(OLDER))
        node.grant()
        yield node


@pytest.fixture
def node(running_node: Node) -> Node:
    """Well, whatever the last test did."""
    running_node.heal()
    return running_node
