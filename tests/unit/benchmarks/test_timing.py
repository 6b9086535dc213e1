from __future__ import annotations

from benchmarks.timing import median_seconds, time_in_turns


def test_runs_take_turns() -> None:
    calls: list[str] = []
    seconds = median_seconds([lambda: calls.append("a"), lambda: calls.append("b")], rounds=2, warm_up=True)
    assert calls == ["a", "b"] * 3
    assert len(seconds) == 2


def test_no_warm_up() -> None:
    calls: list[str] = []
    timed = time_in_turns(lambda: calls.append("ours"), lambda: calls.append("peer"), rounds=1, warm_up=False)
    assert calls == ["ours", "peer"]
    assert timed.ours > 0
