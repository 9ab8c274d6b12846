"""What all tests share."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.figures import FIGURES

# Machines that run tests are slow now and then: no deadline for one example, and not too many of them.
settings.register_profile("here", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
# For a run whose point is another one: other versions of the libraries.
settings.register_profile("few", settings.get_profile("here"), max_examples=5)
settings.load_profile("here")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it has measured."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = FIGURES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    FIGURES.extend(getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """What was measured: in a section of its own, or in the file for whoever puts several runs together."""
    together = os.environ.get("HEALTHAGENT_FIGURES")
    if together:
        Path(together).write_text("".join(f"{figure}\n" for figure in FIGURES))
        return
    if FIGURES:
        terminalreporter.section("measured")
    for figure in FIGURES:
        terminalreporter.write_line(figure)
