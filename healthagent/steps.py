"""What `setup` tells of each step, and how many of them failed or are left to do."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Mark", "Steps"]


class Mark(StrEnum):
    """What became of a step."""

    THERE = "is there"
    WOULD = "would do"
    DONE = "done"
    FAILED = "failed:"
    NOTE = "note"


@dataclass(slots=True)
class Steps:
    """Tells each step at once: the next one may take its time."""

    apply: bool
    failed: int = 0
    left: int = 0

    def tell(self, name: str, mark: Mark, says: str) -> None:
        self.failed += mark is Mark.FAILED
        self.left += mark is Mark.WOULD
        print(f"{name:9} {mark:8}  {says}", flush=True)
