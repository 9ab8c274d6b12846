"""/metrics over real sockets: formats, refusals, and every answer counted once, whichever way it took."""

import asyncio
import gzip
import re
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import uvloop
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from healthagent.agentcheck import AgentCheck
from healthagent.board import Board
from healthagent.metrics import Metrics
from healthagent.reception import Reception
from healthagent.web import Web
from tests.build import POLICY, ROLES, Agent, galera, galera_rows, healthy
from tests.component.fake_mariadb import FakeMariaDB, serving
from tests.component.test_monitor import monitor, wait_until
from tests.component.test_web import Client, Reply, never_asked, nothing_held, received

LISTENER = "0.0.0.0:9200"
OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
Counts = dict[tuple[str, str, str], float]


class House:
    """An agent's HTTP listener, control socket and agent-check ports, and what they count."""

    def __init__(self, agent: Agent) -> None:
        self.board = Board(agent.publication, POLICY.max_age_seconds, lambda: agent.now)
        self.metrics = Metrics(self.board)
        self.web = Web(self.board, ROLES, dict, never_asked, nothing_held, self.metrics)
        self.check = AgentCheck(self.board, ROLES, self.metrics.tally, admin_words=False)

    @property
    def counts(self) -> Counts:
        """By listener, role and code, as Prometheus reads them."""
        families = {family.name: family for family in text_string_to_metric_families(self.metrics.text().decode())}
        found = families["healthagent_checks"].samples if "healthagent_checks" in families else []
        return {(it.labels["listener"], it.labels["role"], it.labels["code"]): it.value for it in found}


def visit(
    work: Callable[[House, Client], Awaitable[None]], agent: Agent | None = None, *, control: bool = False
) -> None:
    house = House(agent or healthy(galera(read_only=1)))

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with asyncio.timeout(25), received(house.web, listener, control=control, name=LISTENER):
                await work(house, Client(listener.getsockname()[1]))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# --- what is answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", [False, True])
def test_both_formats_by_accept(control: bool) -> None:
    async def work(house: House, client: Client) -> None:
        text = await client.get("/metrics")
        assert (text.code, text.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert text.headers["cache-control"] == "no-store"
        assert {family.name for family in text_string_to_metric_families(text.text)} >= {"healthagent_up"}
        other = await client.get("/metrics", OPENMETRICS)
        assert other.code == 200
        assert other.headers["content-type"].startswith("application/openmetrics-text; version=")
        families = openmetrics.text_string_to_metric_families(other.text)  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {"process_open_fds"}

    visit(work, control=control)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_have_no_body(method: str) -> None:
    async def work(house: House, client: Client) -> None:
        get, reply = await client.get("/metrics", OPENMETRICS), await client.get("/metrics", OPENMETRICS, method=method)
        assert (reply.code, reply.body) == (200, b"")
        assert reply.headers["content-type"] == get.headers["content-type"]

    visit(work)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/metrics?x=1", "unknown parameter 'x'; /metrics takes none, the Accept header says the format"),
        ("/metrics?format=json", "unknown parameter 'format'; /metrics takes none"),
        ("/metrics?name[]=up", "unknown parameter 'name[]'; /metrics takes none"),
        ("/metrics?x", "unknown parameter 'x'"),
        ("/metrics/", "unknown path '/metrics/'"),
    ],
)
def test_whatever_else_is_asked_for_is_refused(target: str, says: str) -> None:
    async def work(house: House, client: Client) -> None:
        reply = await client.get(target)
        assert reply.code == 400
        assert says in reply.text

    visit(work)


def test_an_empty_query_is_none() -> None:
    """As at the paths of roles."""

    async def work(house: House, client: Client) -> None:
        assert (await client.get("/metrics?")).code == (await client.get("/any?")).code == 200

    visit(work)


def test_a_post_is_405() -> None:
    async def work(house: House, client: Client) -> None:
        assert (await client.get("/metrics", method="POST")).code == 405

    visit(work)


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=x", "text/plain;version=9;escaping=\x01", "\xff"]
)
def test_no_header_makes_an_error_of_ours(accept: str) -> None:
    async def work(house: House, client: Client) -> None:
        assert (await client.get("/metrics", f"Accept: {accept}")).code in (200, 400)

    visit(work)


def test_compression_is_left_alone() -> None:
    """Nobody is made to compress 30 kB between two checks."""

    async def work(house: House, client: Client) -> None:
        reply = await client.get("/metrics", "Accept-Encoding: gzip")
        assert "content-encoding" not in reply.headers
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(reply.body)

    visit(work)


def test_a_connection_that_stays_is_scraped_again_and_again() -> None:
    async def work(house: House, client: Client) -> None:
        raw = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /any HTTP/1.1\r\nConnection: close\r\n\r\n"
        answers = (await client.raw(raw)).count(b"HTTP/1.1 200 OK\r\n")
        assert answers == 4

    visit(work)


# --- what is counted ------------------------------------------------------------------------------------------------


def test_every_way_of_asking_is_counted_as_the_role_that_is_meant() -> None:
    async def work(house: House, client: Client) -> None:
        for target in (
            "/any",
            "/",
            "/health",
            "/any?format=json",
            "/any?format=xml",
            "/writer",
            "/master",
            "/nonsense",
        ):
            await client.get(target)
        await client.get("/any", "Accept: application/json", method="HEAD")
        await client.raw(b"GET /any HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n")  # not known in advance
        await client.raw(b"DELETE /any HTTP/1.1\r\n\r\n")
        await client.raw(b"\x16\x03\x01\r\n\r\n")
        for target in ("/state", "/liveness", "/metrics", "/why?role=writer", "/why?role=x"):
            await client.get(target)
        assert house.counts == {
            (LISTENER, "any", "200"): 6,
            (LISTENER, "any", "400"): 1,
            (LISTENER, "writer", "503"): 2,
            (LISTENER, "", "400"): 3,
            (LISTENER, "", "405"): 1,
            (LISTENER, "", "200"): 4,
        }

    visit(work)


@pytest.mark.parametrize("checks", [1, 2, 50])
def test_a_check_that_is_ready_is_counted_each_time(checks: int) -> None:
    async def work(house: House, client: Client) -> None:
        for _ in range(checks):
            assert (await client.get("/any")).code == 200
        kept = b"GET /any HTTP/1.1\r\nHost: x\r\n\r\n" * checks + b"GET /any HTTP/1.0\r\n\r\n"
        assert (await client.raw(kept)).count(b" 200 OK\r\n") == checks + 1
        assert house.counts == {(LISTENER, "any", "200"): 2 * checks + 1}

    visit(work)


def test_checks_outlive_a_new_verdict_a_second_and_a_reload() -> None:
    agent = healthy()

    async def work(house: House, client: Client) -> None:
        await client.get("/writer")
        house.board.publish(agent.sees(galera(read_only=1)).publication, POLICY.max_age_seconds)
        await client.get("/writer")
        second = int(time.time())
        async with asyncio.timeout(3):
            while int(time.time()) == second:  # noqa: ASYNC110 - the bytes have the second in them
                await asyncio.sleep(0.05)
        await client.get("/writer")
        house.web.adopt(ROLES, drain_code=404)
        await client.get("/writer")
        assert house.counts == {(LISTENER, "writer", "200"): 1, (LISTENER, "writer", "503"): 3}

    visit(work, agent)


def test_the_control_socket_is_a_listener_of_its_own() -> None:
    async def work(house: House, client: Client) -> None:
        await client.get("/any")
        await client.get("/metrics")
        assert house.counts == {("control", "any", "200"): 1, ("control", "", "200"): 1}

    visit(work, control=True)


def test_what_clients_say_never_becomes_a_label() -> None:
    async def work(house: House, client: Client) -> None:
        for number in range(30):
            await client.get(f"/secret{number}?a=secret", f"X-Secret: secret{number}", "Host: secret")
        assert "secret" not in house.metrics.text().decode()
        assert house.counts == {(LISTENER, "", "400"): 30}

    visit(work)


def test_agent_check_counts_what_it_says() -> None:
    house = House(healthy(galera(read_only=1)))

    async def says(port: int, sent: bytes = b"") -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()

    async def main() -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [listener.getsockname()[1] for listener in listeners]
        receptions = [
            Reception(listener, partial(house.check.welcome, role, name), batch=32)
            for listener, role, name in zip(listeners, ("writer", "reader", None), ("w", "r", "n"), strict=True)
        ]
        for reception in receptions:
            reception.open()
        try:
            for port in (ports[0], ports[0], ports[1]):
                await says(port)
            for word in (b"reader\n", b"writer\r\n", b"secret\n", b"x" * 500):
                await says(ports[2], word)
            assert await says(ports[2]) == b"down #unknown\n", "after a while without a word"
        finally:
            for reception in receptions:
                reception.close()
            house.check.close()

    asyncio.run(main())
    assert house.counts == {
        ("w", "writer", "down"): 2,
        ("r", "reader", "up"): 1,
        ("n", "reader", "up"): 1,
        ("n", "writer", "down"): 1,
        ("n", "", "down"): 3,
    }


# --- what it costs the server ---------------------------------------------------------------------------------------


def test_a_scrape_asks_the_server_nothing(tmp_path: Path) -> None:
    """Not at once, and not by making the agent look sooner: without its loop nothing is asked."""

    async def main() -> None:
        server = FakeMariaDB(galera_rows())
        async with serving(server, None) as port:
            one, _ = monitor(tmp_path, where=f"host: 127.0.0.1, port: {port}")
            metrics = Metrics(one.board)
            metrics.adopt(mysqld_names=True)
            web = Web(one.board, ROLES, dict, one.ask, nothing_held, metrics)
            running = asyncio.ensure_future(one.run())
            try:
                await wait_until(lambda: one.board.current().snapshot is not None)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            asked, connections = len(server.asked), server.greeted
            with socket.create_server(("127.0.0.1", 0)) as listener:
                async with received(web, listener, control=False):
                    client = Client(listener.getsockname()[1])
                    replies: list[Reply] = [await client.get("/metrics") for _ in range(20)]
            assert all(re.search(r"^mysql_global_status_wsrep_local_state 4\.0$", it.text, re.M) for it in replies)
            assert not one._woken
            assert (len(server.asked), server.greeted) == (asked, connections)

    asyncio.run(main())
