"""The progress bar of a run from a shell."""

from __future__ import annotations

from typing import IO

from rolekeeper.contracts.jobs import Progress

_WIDTH = 30


class ProgressBar:
    """One line that is written over and over, on a terminal only."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def show(self, progress: Progress) -> None:
        """Draw the bar anew."""
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{draw(progress)}")
            self._stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            self._stream.write("\n")


def draw(progress: Progress) -> str:
    """Return the bar as one line: how much, how far, how long still, and the loss."""
    filled = _WIDTH * progress.done // progress.total
    parts = [f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {progress.done}/{progress.total} {progress.unit}"]
    if progress.eta_seconds is not None:
        minutes, seconds = divmod(round(progress.eta_seconds), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if "loss" in progress.metrics:
        parts.append(f"loss {progress.metrics['loss']:.4f}")
    return "  ".join(parts)
