from __future__ import annotations

import pytest

from rolekeeper.contracts.jobs import Progress
from services.trainer.program import meter
from services.trainer.program.meter import Meter


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meter, "time", clock)
    return clock


def test_reports_at_most_five_a_second_and_the_last_one_always(clock: Clock) -> None:
    reports: list[Progress] = []
    progress = Meter(30, 0, reports.append)
    for done in range(1, 31):
        clock.now += 0.05
        progress.update(done, {"loss": 1.0 / done})
    assert reports[-1] == Progress(done=30, total=30, unit="steps", eta_seconds=0.0, metrics={"loss": 1.0 / 30})
    assert reports[0] == Progress(done=0, total=30, unit="steps")
    assert 7 <= len(reports) <= 10


def test_the_time_left_counts_the_steps_of_this_run_only(clock: Clock) -> None:
    reports: list[Progress] = []
    progress = Meter(30, 20, reports.append)
    assert reports == [Progress(done=20, total=30, unit="steps")]
    clock.now += 4.0
    progress.update(22, {})
    assert reports[-1].eta_seconds == 16.0
