"""Who is inside, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fastapi.concurrency import run_in_threadpool

from gateway.doorway import Doorway, outside
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


def test_who_reads_a_file_leaves_its_place_to_others_and_comes_back() -> None:
    async def run() -> list[str]:
        doorway, told, read = Doorway(num_inside=1, max_wait_seconds=60), [], threading.Event()

        def read_slowly() -> None:
            with outside():
                told.append("reads")
                read.wait(20)
            told.append("is back")

        async def answer() -> None:
            async with doorway.enter():
                await run_in_threadpool(read_slowly)

        reading = asyncio.create_task(answer())
        while not told:
            await asyncio.sleep(0.01)
        async with doorway.enter():
            told.append("another is inside")
            read.set()
            await asyncio.sleep(0.05)
            told.append("and leaves")
        await reading
        async with doorway.enter():  # no place is lost
            return told

    assert asyncio.run(run()) == ["reads", "another is inside", "and leaves", "is back"]


def test_who_has_no_place_is_outside_already() -> None:
    with outside():
        pass
