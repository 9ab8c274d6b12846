"""A client that writes all the time through a real HAProxy while the node it writes to goes away.

No acknowledged row may be lost; what fails, and for how long, is measured and shown at the end of the run. Galera
itself holds all writes back until it has given the lost node up (evs.suspect_timeout, 5 s): no balancer can be faster.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import HAProxy, Writer, wait_until
from tests.binaries import need
from tests.integration.conftest import Cluster
from tests.integration.expect import measured

EXAMPLE = Path(__file__).parents[2] / "haproxy-examples" / "read-write-split.cfg"
NODES = ("n1", "n2", "n3")
WRITER_FRONTEND = ("127.0.0.1", 3307)
WRITES_BEFORE, WRITES_AFTER = 50, 50
MOVED_SECONDS = 30


@pytest.fixture
def balancer(cluster: Cluster) -> Iterator[HAProxy]:
    """A new one for each test, so that its writer is the first server again."""
    need("haproxy")
    with HAProxy(EXAMPLE) as haproxy:
        haproxy.start()
        wait_until(
            lambda: all(haproxy.server("writer", name)["check_status"] == "L7OK" for name in NODES), 10, "checks"
        )
        yield haproxy


@pytest.mark.parametrize("fault", ["kill", "freeze", "stop"])
def test_writer_goes_away(cluster: Cluster, balancer: HAProxy, fault: str, request: pytest.FixtureRequest) -> None:
    active, survivor, _ = cluster.galera.nodes
    host, port = WRITER_FRONTEND
    client = 100 + request.session.items.index(request.node)
    with Writer(host, port, client=client, timeout=10) as writer:
        wait_until(lambda: len(writer.acknowledged) >= WRITES_BEFORE, 30, "writes flow")
        before = len(writer.acknowledged)
        {"kill": active.kill, "freeze": active.freeze, "stop": active.stop}[fault]()
        balancer.wait_status("writer", "n1", "DOWN", MOVED_SECONDS)
        moved = len(writer.acknowledged)
        wait_until(
            lambda: len(writer.acknowledged) >= max(moved, before) + WRITES_AFTER, MOVED_SECONDS, "writes flow again"
        )
    active.thaw()
    lost = writer.verify(survivor)
    measured(
        f"{fault} of the node that is written to: {len(writer.acknowledged)} writes acknowledged, "
        f"{len(writer.failed)} failed, {len(lost)} lost; longest gap {writer.longest_gap_ms:.0f} ms"
    )
    assert lost == []
    assert len(writer.failed) <= 5, writer.failed
