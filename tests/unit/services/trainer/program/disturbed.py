"""The training program, disturbed at a given step: `python -m tests.unit.services.trainer.program.disturbed PLAN`.

PLAN is JSON: a list of lists of disturbances, [spec, signal or null, step]. Each is one run of the program in a process
of its own, which sends itself the signal at the end of that step. They are forked from one process that has imported
everything, so that many of them take little time. Their exit statuses are printed as JSON, in the shape of the plan.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from services.trainer.program.__main__ import main
from services.trainer.program.checkpoint import Checkpoints


def run(spec_path: str, sign: int | None, step: int) -> int:
    """Run the program in a child; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        if sign is not None:
            _signal_after(sign, step)
        os._exit(main([spec_path, "--threads", "1"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _signal_after(sign: int, step: int) -> None:
    real_offer = Checkpoints.offer

    def offer(self: Checkpoints, losses: Sequence[float], state: Callable[[], Mapping[str, Tensor]]) -> None:
        if len(losses) == step and sign != signal.SIGKILL:
            os.kill(os.getpid(), sign)
        real_offer(self, losses, state)
        if len(losses) == step:
            os.kill(os.getpid(), sign)

    patched: Any = Checkpoints
    patched.offer = offer


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    statuses = [[run(*disturbance) for disturbance in case] for case in plan]
    sys.stdout.write(f"{json.dumps(statuses)}\n")
