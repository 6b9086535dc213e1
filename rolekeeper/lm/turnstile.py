"""One device, several callers: they take turns, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

Check = Callable[[], None]
"""Raises if the caller has no use for its turn any more."""

_CHECK_SECONDS = 0.2


def go_on() -> None:
    """The check of a caller that always goes on."""


class Turnstile:
    """A lock that goes to whoever has waited longest. `threading.Lock` lets one that comes back at once go first."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._line: deque[object] = deque()  # the first has the turn

    @contextmanager
    def turn(self, check: Check = go_on) -> Iterator[None]:
        """Wait for a turn and have it until the block ends. `check` is called while waiting, and may end the wait."""
        self._enter(check)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def turns(self, check: Check = go_on) -> Iterator[Check]:
        """Yield a function that waits for the next turn, and first gives up the one before.

        A long piece of work that calls it between its steps lets everyone who waits have a step, too. The last turn
        ends with the block.
        """
        has_turn = False

        def take_next() -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                self._leave()
            self._enter(check)
            has_turn = True

        try:
            yield take_next
        finally:
            if has_turn:
                self._leave()

    def _enter(self, check: Check) -> None:
        check()
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                while self._line[0] is not place:
                    self._changed.wait(_CHECK_SECONDS)
                    check()
            except BaseException:
                self._line.remove(place)
                self._changed.notify_all()
                raise

    def _leave(self) -> None:
        with self._changed:
            self._line.popleft()
            self._changed.notify_all()
