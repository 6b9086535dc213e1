"""`python -m benchmarks.residency`: how soon a character's training starts, in a resident program and in a cold one.

Every round starts the training program anew and trains two characters, one after the other, on the same base model:
the first finds a cold process, the second a warm one. Each is stopped after its first step. Both have the same number
of dialogues, but other ones, another profile and another seed. The base model's weights are in its cache on disk.

- start: from the arrival of the spec to the start of the first step. For the cold process the clock starts with the
  process, since a trainer without a resident program would have to start one.
- first_step: to the end of the first step.

`ratio` is cold over warm; `target_seconds` is for the warm start. All are medians of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO, NamedTuple

from benchmarks.timing import show
from rolekeeper.contracts.characters import Dialogue, RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand, StopCommand, TrainSample, TrainSpec

ROOT = Path(__file__).resolve().parent.parent
TARGET_SECONDS = 1.0
COMMAND = (sys.executable, "-m", "services.trainer.program", "--serve")


class Started(NamedTuple):
    """Seconds to the start of the first step, and to its end."""

    start: float
    first_step: float


class Pipes(NamedTuple):
    """Its input and its output."""

    stdin: IO[bytes]
    stdout: IO[bytes]


class Resident:
    """A training program that is driven over its pipe."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes

    def start_training(self, spec_path: Path, since: float | None = None) -> Started:
        """Train until the first step is done; the clock runs from `since`, or from now. Raises RuntimeError."""
        started_at = time.perf_counter() if since is None else since
        self._send(RunCommand(spec_path=str(spec_path)))
        self._wait_for_step(0)
        start = time.perf_counter() - started_at
        self._wait_for_step(1)
        first_step = time.perf_counter() - started_at
        self._send(StopCommand())
        while (message := self._receive()).type == "progress":
            pass
        if message.type != "stopped":
            raise RuntimeError(f"the run was not stopped, but {message.type}; it needs more steps")
        return Started(start, first_step)

    def _wait_for_step(self, done: int) -> None:
        while (
            (message := self._receive()).type != "progress" or message.progress is None or message.progress.done < done
        ):
            if message.type == "failed":
                raise RuntimeError(message.message)

    def _send(self, command: RunCommand | StopCommand) -> None:
        self._pipes.stdin.write(command.model_dump_json().encode() + b"\n")
        self._pipes.stdin.flush()

    def _receive(self) -> ProgramMessage:
        return ProgramMessage.model_validate_json(self._pipes.stdout.readline())


@contextmanager
def training_program(log: Path) -> Iterator[Resident]:
    """Start the program; end it by the end of its input. What it logs goes to `log`."""
    with log.open("ab") as errors:
        process = subprocess.Popen(COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the training program has no pipes")
        with process:
            yield Resident(Pipes(process.stdin, process.stdout))
    finally:
        process.kill()
    if process.returncode != ExitCode.OK:
        raise RuntimeError(f"the training program ended with status {process.returncode}")


def main() -> None:
    """Time cold and warm starts in turns."""
    options = parse_options()
    cold: list[Started] = []
    warm: list[Started] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.rounds + 1):
            specs = [write_spec(folder / f"{number}-{part}", options, part, folder / "cache") for part in (0, 1)]
            since = time.perf_counter()
            with training_program(folder / "log") as program:
                pair = (program.start_training(specs[0], since), program.start_training(specs[1]))
            if number > 0:  # the first round fills the cache
                cold.append(pair[0])
                warm.append(pair[1])
    for field, target in (("start", TARGET_SECONDS), ("first_step", None)):
        seconds = [median(getattr(started, field) for started in found) for found in (cold, warm)]
        figures = {"ratio": seconds[0] / seconds[1], "target": None, "bound": None, "target_seconds": target}
        figures |= {"warm_seconds": seconds[1], "cold_seconds": seconds[0], "num_dialogues": options.dialogues}
        show(options.json, "residency", field, figures)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--model", default="smollm2-135m", help="alias of a base model")
    parser.add_argument("--dialogues", type=int, default=64, help="of each character; at most half of the example's")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def write_spec(folder: Path, options: argparse.Namespace, part: int, cache: Path) -> Path:
    """Write spec and samples of the first or the second character, which share the example's dialogues."""
    folder.mkdir()
    lines = (ROOT / "examples" / "dialogues.jsonl").read_text("utf-8").splitlines()[part::2][: options.dialogues]
    samples = [
        TrainSample(dialogue=Dialogue.model_validate_json(line), harmful=index % 2 == 0)
        for index, line in enumerate(lines)
    ]
    content = "".join(sample.model_dump_json() + "\n" for sample in samples).encode()
    (folder / "samples.jsonl").write_bytes(content)
    profile = json.loads((ROOT / "examples" / "character.json").read_text("utf-8"))
    spec = TrainSpec(
        base_model=options.model,
        profile=RoleProfile(name=f"{profile['name']} {part}", profile=profile["profile"]),
        samples_path=str(folder / "samples.jsonl"),
        samples_sha256=hashlib.sha256(content).hexdigest(),
        work_dir=str(folder / "work"),
        hyperparameters=Hyperparameters(seed=part),
        cache_dir=str(cache),
    )
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json(), "utf-8")
    return path


if __name__ == "__main__":
    main()
