from __future__ import annotations

import io

from rolekeeper.contracts.jobs import Progress
from services.trainer.program.terminal import ProgressBar, draw


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_tells_how_far_how_long_and_the_loss() -> None:
    progress = Progress(done=3, total=10, unit="steps", eta_seconds=75.4, metrics={"loss": 2.5})
    assert draw(progress) == f"[{'#' * 9}{'.' * 21}] 3/10 steps  1:15 left  loss 2.5000"
    assert draw(Progress(done=0, total=10, unit="steps")) == f"[{'.' * 30}] 0/10 steps"


def test_it_is_drawn_on_a_terminal_only() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        bar = ProgressBar(stream)
        bar.show(Progress(done=1, total=2, unit="steps"))
        bar.close()
    assert "1/2 steps" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")
    assert pipe.getvalue() == ""
