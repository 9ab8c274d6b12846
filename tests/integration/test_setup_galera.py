"""`healthagent setup` on a Galera cluster: the account is made once, on a healthy member."""

from lab import wait_until
from tests.integration.by_setup import accounts, marks, setup, steps
from tests.integration.conftest import Cluster


def test_one_member_makes_it_for_the_whole_cluster(cluster: Cluster) -> None:
    one, other, third = cluster.galera.nodes
    one.execute("SET GLOBAL wsrep_desync = ON")
    try:
        status, lines = setup(one, "--apply")
        assert (status, marks(lines)) == (1, {"account": "failed:", "grant": "failed:"})
        assert "the node is " in steps(lines, "account")[0][2]
        assert accounts(one) == 0
    finally:
        one.execute("SET GLOBAL wsrep_desync = OFF")
        cluster.heal()

    status, lines = setup(other, "--apply")
    assert (status, marks(lines)) == (0, {"account": "done", "grant": "done", "login": "is there"})
    wait_until(lambda: accounts(third), 10, "the third member has it too", logs=[third.log])
    status, lines = setup(third, "--apply")
    assert (status, set(marks(lines).values())) == (0, {"is there"})
