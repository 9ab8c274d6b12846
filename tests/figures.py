"""What the tests have measured, for people."""

FIGURES: list[str] = []


def measured(text: str) -> None:
    """One line, shown at the end of the run."""
    FIGURES.append(text)
