"""The monitor by itself: questions with parameters are bounded in number and in time."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from healthagent import clock, config
from healthagent.monitor import Monitor
from healthagent.pin import Keeper, PinFile
from healthagent.question import tightened

MOST = 16


def monitor(directory: Path) -> tuple[Monitor, config.Config]:
    file = directory / "healthagent.yaml"
    file.write_text(
        f"mysql: {{user: agent, socket: {directory}/no.sock, datadir: {directory}}}\nprobe: {{interval: 100ms}}\n"
    )
    settings = config.load(file)
    return Monitor(settings, Keeper(PinFile(directory / "state"))), settings


def asked(one: Monitor) -> list[str]:
    return [key for key, verdict in one.board.current().verdicts.items() if key != verdict.role]


def ask(one: Monitor, settings: config.Config, lag_ms: int) -> str:
    reader = next(role for role in settings.policy.roles if role.name == "reader")
    key, stricter = tightened(reader, {"max_lag": f"{lag_ms}ms"})
    assert key in one.ask(key, stricter).verdicts
    return key


async def wait_until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for is read, not told
            await asyncio.sleep(0.01)


def test_only_so_many_questions_are_kept_and_the_one_asked_last_always(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    first = ask(one, settings, 1)
    for lag_ms in range(2, 200):
        last = ask(one, settings, lag_ms)
        assert ask(one, settings, 1) == first
        assert {first, last} <= set(asked(one))
        assert len(asked(one)) <= MOST


def test_a_question_costs_no_role_its_verdict(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    before = {role.name: one.board.current().verdicts[role.name] for role in settings.policy.roles}
    for lag_ms in range(1, 50):
        ask(one, settings, lag_ms)

    assert all(one.board.current().verdicts[name] is verdict for name, verdict in before.items())


def test_a_question_that_nobody_asks_any_more_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, settings = monitor(tmp_path)
    later, real = 0.0, clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + later)

    async def scene() -> None:
        nonlocal later
        running = asyncio.ensure_future(one.run())
        try:
            kept, forgotten = ask(one, settings, 1), ask(one, settings, 2)
            await wait_until(lambda: one.board.current().snapshot is not None)
            assert one.board.current().verdicts[kept].reasons[0].word == "down"
            later = 50.0
            ask(one, settings, 1)
            later = 70.0
            await wait_until(lambda: forgotten not in one.board.current().verdicts)
            assert asked(one) == [kept]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


def test_a_reload_forgets_all_questions(tmp_path: Path) -> None:
    one, settings = monitor(tmp_path)
    ask(one, settings, 1)
    one.reconfigure(settings)
    assert asked(one) == []

    assert ask(one, settings, 1) in asked(one)
