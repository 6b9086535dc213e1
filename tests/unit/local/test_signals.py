"""The first signal stops; the next ones do not stop the stopping."""

from __future__ import annotations

import os
import signal

import pytest

from local.signals import deferred, stoppable, unstoppable


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


def test_a_signal_waits_for_the_end_of_what_must_not_be_left_half_done() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), stoppable():
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            done = True
        pytest.fail("the signal is lost")
    assert done


def test_without_a_signal_nothing_happens_at_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred():
        pass
    assert signal.getsignal(signal.SIGTERM) == before
