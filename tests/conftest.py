"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

from tests.figures import FIGURES

# Machines that run tests are slow now and then: no deadline for one example, and not too many of them.
settings.register_profile("here", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("measured")
    for figure in FIGURES:
        terminalreporter.write_line(figure)
