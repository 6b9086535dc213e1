from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from rolekeeper.lm.turnstile import Turnstile


def in_threads(*works: Callable[[], None]) -> None:
    """Start the works one after the other, so that they queue in this order, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_turns_go_to_whoever_has_waited_longest() -> None:
    turnstile = Turnstile()
    seen: list[int] = []

    def visitor(number: int) -> Callable[[], None]:
        def visit() -> None:
            with turnstile.turn():
                seen.append(number)

        return visit

    with turnstile.turn():
        threads = [threading.Thread(target=visitor(number)) for number in range(5)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        assert seen == []
    for thread in threads:
        thread.join(10)
    assert seen == [0, 1, 2, 3, 4]


def test_long_work_shares_its_steps_with_short_work() -> None:
    turnstile = Turnstile()
    seen: list[str] = []

    def work(name: str, steps: int) -> Callable[[], None]:
        def run() -> None:
            with turnstile.turns() as take_next:
                for _ in range(steps):
                    take_next()
                    seen.append(name)
                    time.sleep(0.02)

        return run

    in_threads(work("long", 20), work("short", 3))
    first, last = seen.index("short"), len(seen) - 1 - seen[::-1].index("short")
    # Once the short one has come, they alternate.
    assert seen[first : last + 1] == ["short", "long", "short", "long", "short"]


def test_one_at_a_time() -> None:
    turnstile = Turnstile()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        with turnstile.turns() as take_next:
            for _ in range(100):
                take_next()
                inside += 1
                most = max(most, inside)
                inside -= 1

    in_threads(*[work] * 8)
    assert most == 1


def test_who_gives_up_waiting_leaves_the_line() -> None:
    turnstile = Turnstile()
    gone = threading.Event()
    outcomes: list[str] = []

    def check() -> None:
        if gone.is_set():
            raise InterruptedError

    def impatient() -> None:
        try:
            with turnstile.turn(check):
                outcomes.append("had a turn")
        except InterruptedError:
            outcomes.append("left")

    def patient() -> None:
        with turnstile.turn():
            outcomes.append("had a turn")

    threads = [threading.Thread(target=impatient), threading.Thread(target=patient)]
    with turnstile.turn():
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        gone.set()
        threads[0].join(5)
        assert outcomes == ["left"]
    threads[1].join(5)
    assert outcomes == ["left", "had a turn"]


def test_an_error_gives_the_turn_back() -> None:
    turnstile = Turnstile()
    with pytest.raises(ZeroDivisionError), turnstile.turns() as take_next:
        take_next()
        raise ZeroDivisionError
    with turnstile.turn():
        pass
