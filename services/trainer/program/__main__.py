"""The training program: `python -m services.trainer.program spec.json`, or `--serve` to be driven over a pipe."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, get_args

import torch

from rolekeeper.contracts.training import ExitCode
from rolekeeper.logs import configure_logging
from services.trainer.program.failures import Stopped, describe
from services.trainer.program.lifeline import die_with_parent
from services.trainer.program.processes import JOIN, launch
from services.trainer.program.run import Resident, make_deterministic, run_spec
from services.trainer.program.save import RESULT
from services.trainer.program.serve import protocol_stream, serve
from services.trainer.program.spec import read_spec
from services.trainer.program.stages import AskedStage
from services.trainer.program.stopping import stop_on_signal
from services.trainer.program.terminal import ProgressBar
from services.trainer.program.world import end_process, join_world, leave_world


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run one spec, or serve."""
    options = _parse(arguments)
    if options.serve:
        die_with_parent()
    if options.processes:
        threads = options.threads or max(1, torch.get_num_threads() // options.processes)
        arguments = [options.spec or "--serve", "--threads", str(threads), "--zero", options.zero]
        arguments += ["--matmul-precision", options.matmul_precision]
        return launch(options.processes, arguments)
    make_deterministic(options.threads or torch.get_num_threads())
    torch.set_float32_matmul_precision(options.matmul_precision)
    with protocol_stream() as output:
        return _serve(options, output) if options.serve else _run_alone(options, output)


def _run_alone(options: argparse.Namespace, output: IO[bytes]) -> ExitCode:
    configure_logging("trainer.program", "WARNING")
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell each other is not for who reads the terminal
    bar = ProgressBar(sys.stderr)
    try:
        spec = read_spec(Path(options.spec))
        resident = Resident(join_world() if options.join else None, options.zero)
        with stop_on_signal(sys.stderr.write, may_repeat=options.join) as wants_stop:
            run_spec(spec, resident, bar.show, wants_stop)
    except Stopped as stopped:
        if resident.world.leads:
            sys.stderr.write(f"\n{stopped.message}; the same command goes on from there\n")
        return ExitCode.STOPPED
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from the last checkpoint\n")
        return ExitCode.STOPPED
    except Exception as error:
        failure = describe(error)
        sys.stderr.write(f"\n{failure.message}\n")
        return failure.exit_code
    leave_world()
    if not resident.world.leads:
        return ExitCode.OK
    bar.close()
    output.write(f"{Path(spec.work_dir).absolute() / RESULT}\n".encode())
    return ExitCode.OK


def _serve(options: argparse.Namespace, output: IO[bytes]) -> ExitCode:
    configure_logging("trainer.program", "INFO")
    try:
        # Not sys.stdin: Python closes that one when it ends, which fails while a thread still reads from it.
        commands = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - the thread has it to the end
        exit_code = serve(commands, output, join_world() if options.join else None, options.zero)
    except (BrokenPipeError, KeyboardInterrupt):
        return ExitCode.INFRASTRUCTURE
    if exit_code is ExitCode.OK:
        leave_world()
    return exit_code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.trainer.program", description=__doc__)
    parser.add_argument("spec", nargs="?", help="JSON file of a TrainSpec")
    parser.add_argument("--serve", action="store_true", help="read commands from stdin, write messages to stdout")
    parser.add_argument("--threads", type=int, help="threads of torch; another number gives other adapter bytes")
    parser.add_argument("--processes", type=int, help="train with DeepSpeed in so many processes on this machine")
    parser.add_argument(JOIN, action="store_true", help="train with DeepSpeed, as one of the processes of a launcher")
    parser.add_argument(
        "--zero",
        choices=get_args(AskedStage),
        default="auto",
        help="stage of DeepSpeed's ZeRO: 3 spreads the weights too, for models whose weights are too large for one "
        "process, and trains all weights only; auto takes 3 where a process has not the memory for 2",
    )
    parser.add_argument(
        "--matmul-precision",
        choices=["highest", "medium"],
        default="highest",
        help="medium multiplies fp32 matrices in bf16: about twice as fast on a CPU that has bf16 instructions",
    )
    options = parser.parse_args(arguments)
    if options.zero != "auto" and not (options.processes or options.join):
        parser.error("--zero needs --processes or --join")
    if options.serve == bool(options.spec):
        parser.error("give either a spec file or --serve")
    return options


if __name__ == "__main__":
    end_process(main())
