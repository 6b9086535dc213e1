"""The first signal stops; the next ones do not stop the stopping."""

from __future__ import annotations

import os
import signal

import pytest

from local.signals import stoppable, unstoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_and_the_second_is_ignored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    cleaned = False
    with pytest.raises(KeyboardInterrupt, match=number.name), stoppable():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            cleaned = True
    assert cleaned
    assert signal.getsignal(number) == before


def test_cleaning_up_is_not_interrupted() -> None:
    with stoppable(), unstoppable():
        os.kill(os.getpid(), signal.SIGTERM)
