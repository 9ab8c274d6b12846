"""The doorbell: any datagram is one ring, a flood is a bounded number of them, and a port in use is told."""

import asyncio
import socket

import pytest

from healthagent import doorbell
from healthagent.doorbell import Doorbell
from healthagent.errors import StartError

Place = tuple[str, int]


@pytest.fixture(params=["127.0.0.1", "::1"])
def place(request: pytest.FixtureRequest) -> Place:
    host = str(request.param)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as free:
        try:
            free.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        return host, int(free.getsockname()[1])


def send(place: Place, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_DGRAM) as client:
        for datagram in datagrams:
            client.sendto(datagram, place)


class Rings:
    def __init__(self) -> None:
        self.count = 0
        self.heard = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.heard.set()


def opened(place: Place, rings: Rings) -> Doorbell:
    bell = Doorbell(rings)
    bell.adopt(place, bell.prepare(place))
    return bell


@pytest.mark.parametrize(
    "word", [b"", b"\n", b"--status Synced --uuid 1", b"\xff" * 1000], ids=["", "line", "words", "long"]
)
def test_whatever_comes_is_a_ring(place: Place, word: bytes) -> None:
    async def scene() -> None:
        rings = Rings()
        bell = opened(place, rings)
        for count in (1, 2):
            rings.heard.clear()
            send(place, word)
            await asyncio.wait_for(rings.heard.wait(), 5)
            assert rings.count == count
        bell.close()

    asyncio.run(scene())


def test_a_flood_is_a_bounded_number_of_rings(place: Place) -> None:
    async def scene() -> None:
        rings = Rings()
        bell = opened(place, rings)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 0.5:
            await asyncio.to_thread(send, place, *[b"x"] * 500)
        took = loop.time() - began
        assert 2 <= rings.count <= took / doorbell.PAUSE_SECONDS + 1
        bell.close()

    asyncio.run(scene())


def test_it_can_move_and_be_taken_away(place: Place) -> None:
    async def scene() -> None:
        rings = Rings()
        bell = opened(place, rings)
        assert bell.prepare(place) is None, "it is open already"
        bell.adopt(place, None)
        bell.adopt(None, None)
        again = bell.prepare(place)
        assert again is not None, "and free now"
        bell.adopt(place, again)
        send(place, b"x")
        await asyncio.wait_for(rings.heard.wait(), 5)
        bell.close()

    asyncio.run(scene())


def test_closed_during_the_pause(place: Place) -> None:
    async def scene() -> None:
        rings, wrong = Rings(), list[dict[str, object]]()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        bell = opened(place, rings)
        send(place, b"x")
        await asyncio.wait_for(rings.heard.wait(), 5)
        bell.close()
        over = asyncio.Event()
        loop.call_later(2 * doorbell.PAUSE_SECONDS, over.set)  # behind the timer of the pause
        await over.wait()
        assert wrong == []

    asyncio.run(scene())


def test_a_port_in_use_is_told(place: Place) -> None:
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind(place)
        with pytest.raises(StartError, match=r"probe\.notify: cannot listen on .* \(UDP\): Address already in use"):
            Doorbell(lambda: None).prepare(place)
