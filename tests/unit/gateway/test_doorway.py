"""Who is inside, who waits, and who is turned away."""

from __future__ import annotations

import asyncio

import pytest

from gateway.doorway import Doorway
from rolekeeper.errors import Unavailable


def test_the_first_are_inside_and_the_next_follow_in_their_order() -> None:
    async def run() -> list[int]:
        doorway, order, leave = Doorway(num_inside=2, max_wait_seconds=60), [], asyncio.Event()

        async def pass_through(number: int) -> None:
            async with doorway.enter():
                order.append(number)
                await leave.wait()

        tasks = [asyncio.create_task(pass_through(number)) for number in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert order == [0, 1]
        leave.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_who_waits_too_long_is_turned_away_and_takes_no_place() -> None:
    async def run() -> None:
        doorway = Doorway(num_inside=1, max_wait_seconds=0.01)
        async with doorway.enter():
            with pytest.raises(Unavailable, match="more requests come in") as refused:
                await doorway.enter().__aenter__()
            assert refused.value.code == "overloaded"
        async with doorway.enter():
            pass

    asyncio.run(run())


def test_a_place_is_given_back_whatever_happens_inside() -> None:
    async def run() -> None:
        doorway = Doorway(num_inside=1, max_wait_seconds=0.01)
        for _ in range(3):
            with pytest.raises(ValueError, match="inside"):
                async with doorway.enter():
                    raise ValueError("inside")

    asyncio.run(run())
