"""Whatever befalls a run in the resident program, the next one makes the bytes that it makes in a cold process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand, StopCommand, TrainResult, TrainSpec
from tests.unit.services.trainer.program.faulty import Fault
from tests.unit.services.trainer.program.processes import Driven, driven
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec, write_spec


class Trainer(NamedTuple):
    """A resident program, the spec that it runs again and again, and what that made when the process was new."""

    program: Driven
    spec: TrainSpec
    folder: Path
    cold: TrainResult
    stderr: Path

    def run(self, name: str, **hyperparameters: Any) -> ProgramMessage:
        """Run the spec in a folder of its own, with other hyperparameters if need be."""
        return self.program.run(self.write(name, self.spec.hyperparameters.model_copy(update=hyperparameters)))[1]

    def write(self, name: str, hyper: Hyperparameters) -> Path:
        """Write the spec."""
        work_dir = str(self.folder / name)
        spec = self.spec.model_copy(update={"work_dir": work_dir, "hyperparameters": hyper})
        return write_spec(spec, self.folder / f"{name}.json")

    def num_loads(self) -> int:
        """How often the base model was loaded."""
        return self.stderr.read_text("utf-8").count('"event": "base model loaded"')


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    folder = tmp_path_factory.mktemp("residency")
    spec = make_spec(folder / "tiny", max_batch_tokens=200)
    stderr = folder / "stderr"
    with driven(stderr, "tests.unit.services.trainer.program.faulty") as program:
        _, cold = program.run(write_spec(spec, folder / "cold.json"))
        assert cold.result is not None
        yield Trainer(program, spec, folder, cold.result, stderr)


def assert_as_cold(trainer: Trainer, name: str) -> None:
    after = trainer.run(f"after_{name}").result
    assert after is not None
    assert after.losses == trainer.cold.losses
    assert after.adapter_sha256 == trainer.cold.adapter_sha256


@pytest.mark.parametrize(
    ("fault", "exit_code", "num_loads"),
    [
        (Fault.CRASH, ExitCode.INFRASTRUCTURE, 1),
        (Fault.OUT_OF_MEMORY, ExitCode.OUT_OF_MEMORY, 1),
        (Fault.DIVERGENCE, ExitCode.DIVERGED, 0),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else None,
)
def test_nothing_is_left_of_a_run_that_failed(
    trainer: Trainer, fault: Fault, exit_code: ExitCode, num_loads: int
) -> None:
    before = trainer.num_loads()
    failure = trainer.run(fault.name, seed=int(fault))
    assert (failure.type, failure.exit_code) == ("failed", exit_code)
    assert_as_cold(trainer, fault.name)
    assert trainer.num_loads() - before == num_loads


def test_nothing_is_left_of_a_run_that_was_set_aside(trainer: Trainer) -> None:
    path = trainer.write("set_aside", HYPERPARAMETERS.model_copy(update={"epochs": 50, "seed": 8}))
    trainer.program.send(RunCommand(spec_path=str(path)).model_dump_json())
    trainer.program.receive()
    trainer.program.send(StopCommand().model_dump_json())
    assert trainer.program.answer()[1].type == "stopped"
    assert_as_cold(trainer, "set_aside")


def test_nothing_is_left_of_another_character(trainer: Trainer) -> None:
    other = trainer.run("other", seed=8, lora_rank=16, learning_rate=0.1).result
    assert other is not None
    assert other.adapter_sha256 != trainer.cold.adapter_sha256
    assert_as_cold(trainer, "other")
