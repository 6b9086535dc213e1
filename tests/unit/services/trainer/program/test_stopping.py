from __future__ import annotations

import os
import signal

import pytest

from rolekeeper.contracts.jobs import Progress
from services.trainer.program.failures import Stopped
from services.trainer.program.stopping import SIGNALS, stop_on_signal, stoppable


@pytest.mark.parametrize("sign", SIGNALS)
def test_the_first_signal_asks_and_the_second_interrupts(sign: signal.Signals) -> None:
    said: list[str] = []
    before = signal.getsignal(sign)
    with pytest.raises(KeyboardInterrupt), stop_on_signal(said.append) as wants_stop:
        assert not wants_stop()
        os.kill(os.getpid(), sign)
        assert wants_stop()
        assert ["once more to stop at once" in word for word in said] == [True]
        os.kill(os.getpid(), sign)
    assert signal.getsignal(sign) == before


def test_work_without_a_checkpoint_stops_at_its_next_report() -> None:
    reports: list[Progress] = []
    asked: list[bool] = []
    report = stoppable(reports.append, lambda: bool(asked))
    report(Progress(done=1, total=9, unit="samples"))
    asked.append(True)
    with pytest.raises(Stopped, match="stopped after 2 samples, which begins anew"):
        report(Progress(done=2, total=9, unit="samples"))
    assert [progress.done for progress in reports] == [1, 2]
