"""Trying again while the API is away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rolekeeper.client.errors import ApiError, is_transient
from rolekeeper.errors import RolekeeperError

FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 8.0

T = TypeVar("T")
OnRetry = Callable[[RolekeeperError, float], None]


def persist(action: Callable[[], T], seconds: float, on_retry: OnRetry | None = None) -> T:
    """Do `action`, again and again while it fails transiently, for at most `seconds` after its first failure.

    Waits between the tries: 0.25 s, then twice as long each time up to 8 s, and never less than the API asked for in
    `Retry-After`. `on_retry` is told the error and the wait.

    Raises:
        RolekeeperError: the last one, if it is not transient or time is up.
    """
    give_up_at: float | None = None
    for delay in _delays():
        try:
            return action()
        except RolekeeperError as error:
            pause = max(delay, (isinstance(error, ApiError) and error.retry_after) or 0.0)
            give_up_at = give_up_at or time.monotonic() + seconds
            if not is_transient(error) or time.monotonic() + pause > give_up_at:
                raise
            if on_retry is not None:
                on_retry(error, pause)
        time.sleep(pause)
    raise AssertionError("the delays never end")


def _delays() -> Iterator[float]:
    delay = FIRST_DELAY_SECONDS
    while True:
        yield delay
        delay = min(2 * delay, MAX_DELAY_SECONDS)
