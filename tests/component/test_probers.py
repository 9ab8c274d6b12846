"""Every other balancer's health check before a real agent: healthy exactly when the verdict is up."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from healthagent.board import Board
from healthagent.web import Web
from tests.build import GALERA_ROWS, POLICY, ROLES, Agent, galera, healthy, with_role
from tests.component.fake_mariadb import FakeMariaDB, serving
from tests.component.probers import PREFACE, PROBERS, Prober, Seen, Target
from tests.component.test_service import free_port
from tests.component.test_web import never_asked, nothing_held

NLB = next(prober for prober in PROBERS if prober.name == "AWS NLB")
ALL = (*PROBERS, replace(NLB, name="AWS NLB with PROXY v2", preface=PREFACE))
DRAINED = with_role("writer", drain=True)
GCP_WEIGHT = "x-load-balancing-endpoint-weight"


class Running:
    """A real agent process, and the stand-in for the MariaDB that it asks."""

    def __init__(self, database: FakeMariaDB, port: int, process: asyncio.subprocess.Process, config: Path) -> None:
        self.database, self.port, self.process, self.config = database, port, process, config

    async def check(self, prober: Prober, path: str) -> Seen:
        return await asyncio.to_thread(prober.check, "127.0.0.1", self.port, path)

    def reload(self, more: str) -> None:
        self.config.write_text(self.config.read_text() + more)
        self.process.send_signal(signal.SIGHUP)

    async def next_sample(self) -> None:
        """Returns when the server has been asked everything twice: what it says now is known."""
        told = self.database.asked.count("SHOW ALL SLAVES STATUS")
        async with asyncio.timeout(15):
            while self.database.asked.count("SHOW ALL SLAVES STATUS") < told + 3:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.02)

    async def until(self, true: Callable[[Seen], bool], path: str, prober: Prober = PROBERS[0]) -> None:
        async with asyncio.timeout(15):
            while not true(await self.check(prober, path)):  # noqa: ASYNC110 - what it waits for is read, not told
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    directory: Path, probe: str = "interval: 100ms", rows: Mapping[str, object] = GALERA_ROWS
) -> AsyncIterator[Running]:
    database, port = FakeMariaDB(rows), free_port()
    async with serving(database) as database_port:
        config = directory / "healthagent.yaml"
        config.write_text(
            f"mysql: {{user: agent, host: 127.0.0.1, port: {database_port}}}\n"
            f"probe: {{{probe}, client_port: off}}\n"
            f'http: {{listen: ["127.0.0.1:{port}"]}}\nagent_check: {{listen: {{}}}}\n'
            f"control: {{socket: {directory}/control}}\nstate_dir: {directory}\nweights: {{warm_up: 0s}}\n"
        )
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "healthagent", "serve", "--config", str(config), stdout=log, stderr=log
            )
        try:
            agent = Running(database, port, process, config)
            await agent.until(lambda seen: seen.healthy, "/writer")
            yield agent
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def run(work: Callable[[Running], Coroutine[Any, Any, None]], directory: Path) -> None:
    async def main() -> None:
        async with running(directory) as agent:
            await work(agent)

    asyncio.run(main())
    log = (directory / "log").read_text()
    assert "Traceback" not in log
    assert " WARNING " not in log, log


def test_all_of_them_before_a_real_agent(tmp_path: Path) -> None:
    """up, down for writes alone, down for all, up again; and what they read of it."""

    async def work(agent: Running) -> None:
        async def see(writer: bool, reader: bool) -> dict[str, tuple[Seen, Seen]]:
            found = {p.name: (await agent.check(p, "/writer"), await agent.check(p, "/reader")) for p in ALL}
            assert {name: (w.healthy, r.healthy) for name, (w, r) in found.items()} == dict.fromkeys(
                found, (writer, reader)
            )
            return found

        for writer, _ in (await see(True, True)).values():
            assert writer.body == "OK writer weight=100 state=synced\n"
            assert len(writer.body) < 1024
            assert writer.headers[GCP_WEIGHT] == "100"
        agent.database.rows["read_only"] = 1
        await agent.until(lambda seen: not seen.healthy, "/writer")
        for writer, _ in (await see(False, True)).values():
            assert (writer.why, writer.headers[GCP_WEIGHT]) == ("503", "0")
        agent.database.rows["wsrep_cluster_status"] = "non-Primary"
        await agent.until(lambda seen: not seen.healthy, "/reader")
        for _, reader in (await see(False, False)).values():
            assert reader.body == "FAIL reader weight=0 state=non_primary reasons=non_primary\n"
        agent.database.rows |= {"wsrep_cluster_status": "Primary", "read_only": 0}
        await agent.until(lambda seen: seen.healthy, "/writer")
        await see(True, True)
        agent.reload("roles: {writer: {drain: true}}\n")
        await agent.until(lambda seen: not seen.healthy, "/writer")
        for writer, _ in (await see(False, True)).values():
            assert writer.body == "FAIL writer weight=0 state=synced reasons=draining\n"

    run(work, tmp_path)


def test_what_is_not_a_role_is_never_healthy(tmp_path: Path) -> None:
    """A path that was mistyped, a parameter that is unknown; and no answer that leads anywhere else."""

    async def work(agent: Running) -> None:
        for prober in ALL:
            for path in ("/wirter", "/writer/", "/writer?x=1", "//writer", "/writer?max_lag=5s"):
                seen = await agent.check(prober, path)
                assert (prober.name, path, seen.healthy, seen.why) == (prober.name, path, False, "400")
                assert "location" not in seen.headers

    run(work, tmp_path)


def test_an_agent_that_is_gone_is_a_reset_or_refused(tmp_path: Path) -> None:
    async def work(agent: Running) -> None:
        agent.process.kill()
        await agent.process.wait()
        for prober in ALL:
            seen = await agent.check(prober, "/writer")
            assert (seen.healthy, seen.why) == (False, "ConnectionRefusedError")

    run(work, tmp_path)


def test_an_agent_that_is_frozen_runs_into_their_timeout(tmp_path: Path) -> None:
    async def work(agent: Running) -> None:
        os.kill(agent.process.pid, signal.SIGSTOP)
        try:
            impatient = [replace(prober, timeout=0.2) for prober in ALL]
            seen = await asyncio.gather(*(agent.check(prober, "/writer") for prober in impatient))
        finally:
            os.kill(agent.process.pid, signal.SIGCONT)
        assert {one.why for one in seen} == {"timeout"}

    run(work, tmp_path)


def test_a_target_changes_after_as_many_checks_as_they_say(tmp_path: Path) -> None:
    async def work(agent: Running) -> None:
        targets = {prober.name: (prober, Target(prober, healthy=False)) for prober in ALL}

        async def checks(prober: Prober, target: Target, until: bool) -> int:
            for count in range(1, 10):
                if target.take(await agent.check(prober, "/writer")) is until:
                    return count
            raise AssertionError(f"{prober.name}: never {until}")

        for prober, target in targets.values():
            assert await checks(prober, target, True) == prober.rises
        agent.database.rows["wsrep_reject_queries"] = "ALL"
        await agent.until(lambda seen: not seen.healthy, "/writer")
        for prober, target in targets.values():
            assert await checks(prober, target, False) == prober.falls

    run(work, tmp_path)


# --- draining -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "up"),
    [
        (healthy(galera()), True),
        (healthy(galera(read_only=1)), False),
        (healthy(galera(), DRAINED), False),
        (healthy(galera(read_only=1), DRAINED), False),
    ],
    ids=["up", "down", "draining", "draining, and down"],
)
def test_draining_takes_a_target_out(agent: Agent, up: bool) -> None:
    publication = agent.publication

    async def main() -> None:
        now = publication.snapshot.ended_at if publication.snapshot is not None else 0.0
        board = Board(publication, POLICY.max_age_seconds, lambda: now)
        served = Web(board, ROLES, dict, never_asked, nothing_held)
        runner = web.ServerRunner(served.server(False), handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            for prober in ALL:
                seen = await asyncio.to_thread(prober.check, "127.0.0.1", runner.addresses[0][1], "/writer")
                assert seen.healthy is up, prober.name
                assert (seen.headers[GCP_WEIGHT] == "0") is not seen.healthy
        finally:
            await runner.cleanup()

    asyncio.run(main())
