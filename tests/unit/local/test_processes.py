"""Commands of the stack that run to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.processes import run_to_end
from local.signals import stoppable


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = psutil.Process().children()
    yield
    assert [child for child in psutil.Process().children() if child not in before] == []


def run(code: str, text: str = "", seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return run_to_end([sys.executable, "-c", code], None, Path("/"), text, seconds)


def test_what_it_read_and_wrote() -> None:
    done = run("import sys; print(sys.stdin.read().upper()); print('no', file=sys.stderr); sys.exit(3)", "word")
    assert (done.returncode, done.stdout, done.stderr) == (3, "WORD\n", "no\n")


def test_one_that_takes_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("import time; time.sleep(600)", seconds=0.2)


def test_a_signal_just_as_it_starts_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes after the process was made and before its pid is known to anybody."""

    class Interrupted(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), stoppable():
        run("import time; time.sleep(600)")
