"""Several processes of this program on one machine, as torchrun would start them."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rolekeeper.contracts.training import ExitCode

JOIN = "--join"


def launch(num_processes: int, arguments: Sequence[str]) -> ExitCode:
    """Run the program with these arguments in so many processes; give the exit code of the one that is to blame.

    When one ends badly, all are ended. Ctrl-C and SIGTERM are passed on, and ask for a checkpoint after the step; who
    has not ended 30 s later is killed.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "services.trainer.program", JOIN, *arguments)
    except SignalException:
        return ExitCode.STOPPED
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return blame([first.exitcode, *(failure.exitcode for failure in error.failures.values())])
    return ExitCode.OK


def blame(statuses: Sequence[int]) -> ExitCode:
    """Return the exit code for processes that ended with these, the first one first.

    A final code says what is wrong. A process that only lost the others ends with another one, or is killed, which is
    none of ours.
    """
    codes = [ExitCode(status) if status in list(ExitCode) else ExitCode.INFRASTRUCTURE for status in statuses]
    return next((code for code in codes if code.is_final), codes[0])
