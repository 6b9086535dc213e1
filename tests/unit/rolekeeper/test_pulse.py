from __future__ import annotations

import time

from rolekeeper.pulse import beat, num_beats, steady


def test_a_beat_is_counted_whatever_a_hook_is_called_with() -> None:
    before = num_beats()
    beat()
    beat("module", (1,), None)
    assert num_beats() == before + 2


def test_work_that_says_nothing_beats_steadily_until_it_ends() -> None:
    before = num_beats()
    with steady(max_seconds=60, interval_seconds=0.01):
        while num_beats() < before + 3:
            time.sleep(0.01)
    after = num_beats()
    time.sleep(0.05)
    assert num_beats() == after


def test_but_not_for_longer_than_it_may_take() -> None:
    before = num_beats()
    with steady(max_seconds=0.03, interval_seconds=0.01):
        time.sleep(0.2)
        assert num_beats() <= before + 3
