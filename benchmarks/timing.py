"""Ways to do the same work, timed in turns in one process, and the line that a benchmark prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rolekeeper.errors import RolekeeperError

Run = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Seconds of both, the median of all rounds. `ratio` is how many times as fast as the peer ours is."""

    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        """The peer's time over ours."""
        return self.peer / self.ours


def time_in_turns(ours: Run, peer: Run, rounds: int = 3, warm_up: bool = True) -> Timed:
    """Run ours and the peer A B A B, so that both see the same machine."""
    return Timed(*median_seconds((ours, peer), rounds, warm_up))


def median_seconds(runs: Sequence[Run], rounds: int = 3, warm_up: bool = True) -> list[float]:
    """Run all in turns, A B C A B C, so that all see the same machine; seconds of each, the median of all rounds."""
    if warm_up:
        for run in runs:
            run()
    seconds = [[_seconds(run) for run in runs] for _ in range(rounds)]
    return [median(column) for column in zip(*seconds, strict=True)]


def show(as_json: bool, benchmark: str, case: str, figures: dict[str, Any]) -> None:
    """Print one case: a JSON object, or a line for people."""
    if as_json:
        print(json.dumps({"benchmark": benchmark, "case": case, **figures}), flush=True)
        return
    words = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )
    print(f"{benchmark}: {case:<24} {'  '.join(words)}", flush=True)


def exit_code(run: Run) -> int:
    """Run a benchmark; what it can't do is said on stderr. Returns the exit code."""
    try:
        run()
    except RolekeeperError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def _seconds(run: Run) -> float:
    started_at = time.perf_counter()
    run()
    return time.perf_counter() - started_at
