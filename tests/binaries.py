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
