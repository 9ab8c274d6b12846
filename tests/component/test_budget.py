"""How long an agent takes at most, as `config haproxy` reckons it: a real agent before a server that falls silent at
the worst moment.
"""

import asyncio
import time
from pathlib import Path

import pytest

from healthagent.budget import Agent
from healthagent.kinds import spoken
from tests.build import GALERA_ROWS
from tests.component.probers import PROBERS
from tests.component.test_probers import Running, running

RARE = Agent(interval_seconds=0.5, timeout_seconds=0.2)
EAGER = Agent(interval_seconds=0.1, timeout_seconds=0.3)
BUSY_SECONDS = 1.0


def settings(probe: Agent) -> str:
    return f"interval: {spoken(probe.interval_seconds)}, timeout: {spoken(probe.timeout_seconds)}"


async def seconds_until_down(agent: Running, path: str) -> float:
    began = time.monotonic()
    await agent.until(lambda seen: not seen.healthy, path)
    return time.monotonic() - began


async def asked(agent: Running, statement: str) -> None:
    """Returns when the server has just been asked that once more."""
    told = len(agent.database.asked)
    async with asyncio.timeout(10):
        while not any(one.startswith(statement) for one in agent.database.asked[told:]):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("probe", "within_a_probe"), [(RARE, False), (EAGER, True)], ids=["after a probe", "within a probe"]
)
def test_a_server_that_hangs(within_a_probe: bool, probe: Agent, tmp_path: Path) -> None:
    """Through TCP to a process that /proc shows running: nothing proves what two timeouts must."""

    async def main() -> None:
        async with running(tmp_path, settings(probe)) as agent:
            if within_a_probe:  # it has its facts, and waits for the rest
                agent.database.be_silent_on("SHOW ALL SLAVES")
                await asked(agent, "SELECT @@")
            else:
                await asked(agent, "SHOW ALL SLAVES")
            agent.database.frozen = True
            took = await seconds_until_down(agent, "/writer")
            assert 2 * probe.timeout_seconds - 0.1 < took < probe.hung + BUSY_SECONDS

    asyncio.run(main())


def test_a_server_that_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(RARE)) as agent:
            await asked(agent, "SHOW ALL SLAVES")
            agent.database.rows = GALERA_ROWS | {"wsrep_reject_queries": "ALL"}
            assert await seconds_until_down(agent, "/writer") < RARE.prompt + BUSY_SECONDS
            assert (await agent.check(PROBERS[0], "/writer")).why == "503"

    asyncio.run(main())
