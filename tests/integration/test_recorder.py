"""The recorder on real servers: what it reads there today is judged as what it has recorded."""

from contextlib import ExitStack, closing

import pytest

from tests.binaries import need
from tests.recorded.replay import replay
from tests.recorded.test_recorded import EXPECTED
from tests.recorder import galera, replication
from tests.recorder.galera import Cluster
from tests.recorder.replication import Replicating

GALERA = ("synced", "desync", "read_only", "isolate", "kill9")
ASYNC = ("sql_error", "not_replicating", "standalone")


def test_galera() -> None:
    need("mariadbd", "rsync", "ip")
    with closing(Cluster()) as stage:
        for name in GALERA:
            with stage.scene() as scene, ExitStack() as after:
                galera.CONDITIONS[name](stage, scene, after)
            told = replay(scene.samples)
            assert (told.state, told.up) == (EXPECTED[name].state, EXPECTED[name].up), name


@pytest.mark.parametrize("name", ASYNC)
def test_replication(name: str) -> None:
    need("mariadbd")
    with closing(Replicating()) as stage:
        with stage.scene() as scene, ExitStack() as after:
            replication.CONDITIONS[name](stage, scene, after)
        told = replay(scene.samples)
        assert (told.state, told.up) == (EXPECTED[name].state, EXPECTED[name].up)
