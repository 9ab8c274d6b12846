"""How the tests with real servers are shared out."""

from itertools import chain
from pathlib import Path

from tools import side_by_side
from tools.side_by_side import SECONDS, SHARES, seconds, shared_out

FILES = sorted(path.stem for path in (Path(side_by_side.ROOT) / side_by_side.TESTS).glob("test_*.py"))


def test_every_file_is_in_one_share() -> None:
    shares = shared_out(FILES, SHARES)

    assert sorted(chain.from_iterable(shares)) == FILES
    assert all(share == sorted(share) for share in shares)


def test_the_shares_take_about_the_same_time() -> None:
    times = [sum(map(seconds, share)) for share in shared_out(FILES, SHARES)]

    assert max(times) - min(times) <= max(map(seconds, FILES))


def test_what_is_known_of_the_files_is_of_files_that_there_are() -> None:
    assert {f"test_{name}" for name in SECONDS} <= set(FILES)
    assert seconds("tests/integration/test_new.py") > 0
