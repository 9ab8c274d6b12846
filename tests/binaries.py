"""Programs that a test needs: without them it skips on a laptop and fails in CI."""

import os
import shutil

import pytest

SBIN = "/usr/sbin:/sbin"


def need(*names: str) -> None:
    """Skips the test that calls it, or fails it where CI=true, unless every program is installed."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    missing = [name for name in names if shutil.which(name, path=path) is None]
    if not missing:
        return
    says = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(says)
    pytest.skip(says)


def need_own_root() -> None:
    """Skips the test that calls it where servers have a root of their own (LAB_ROOT): a filesystem that is mounted
    here is not theirs.
    """
    if "LAB_TREE" in os.environ:
        pytest.skip("mounts a filesystem for its server, whose root is another one here")
