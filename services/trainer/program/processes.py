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
    """Run the program with these arguments in so many processes; give the exit code of the first that failed.

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
        # One that was killed has no code of ours.
        return ExitCode(first.exitcode) if first.exitcode in list(ExitCode) else ExitCode.INFRASTRUCTURE
    return ExitCode.OK
