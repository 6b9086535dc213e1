"""A training run that is stopped at any step, hard or softly, goes on to the bytes of an undisturbed one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from local.processes import ROOT
from rolekeeper.contracts.training import ExitCode, RunCommand, StopCommand, TrainResult, TrainSpec
from tests.unit.services.trainer.program.processes import driven
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec, write_spec

STEPS = 9
# Hard after every step; softly after the first, one in the middle and the last.
KILLS = [(signal.SIGKILL, step) for step in range(1, STEPS + 1)]
WORDS = [(signal.SIGTERM, 1), (signal.SIGTERM, 5), (signal.SIGTERM, STEPS), (signal.SIGINT, 4)]


class Disturbed(NamedTuple):
    """How the disturbed run ended and what was on disk then, and what the run made that went on from there."""

    statuses: list[int]
    spec: TrainSpec


class Runs(NamedTuple):
    """An undisturbed run, disturbed ones by signal and step, and what all of them wrote to stderr."""

    undisturbed: Disturbed
    disturbed: dict[tuple[int, int], Disturbed]
    stderr: str


def result_of(spec: TrainSpec) -> TrainResult:
    return TrainResult.model_validate_json((Path(spec.work_dir) / "result.json").read_bytes())


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TrainSpec:
    """A run of nine steps."""
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 3})
    return make_spec(tmp_path_factory.mktemp("tiny"), hyperparameters=hyper, max_batch_tokens=200)


@pytest.fixture(scope="module")
def runs(spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One run without a disturbance, and one for each signal and step, which then goes on."""
    folder = tmp_path_factory.mktemp("runs")
    cases: list[tuple[int, int]] = [(0, 0), *KILLS, *WORDS]
    specs, plan = [], []
    for sign, step in cases:
        # A signal that asks for a checkpoint gets one, although none would be due for an hour.
        seconds = 0.0 if sign == signal.SIGKILL else 3600.0
        name = f"{sign}-{step}"
        case = spec.model_copy(update={"work_dir": str(folder / name), "checkpoint_seconds": seconds})
        path = str(write_spec(case, folder / f"{name}.json"))
        specs.append(case)
        plan.append([[path, sign or None, step], [path, None, 0]])
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    command = [sys.executable, "-m", "tests.unit.services.trainer.program.disturbed", str(folder / "plan.json")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    statuses = json.loads(ended.stdout.splitlines()[-1])
    found = [Disturbed(*pair) for pair in zip(statuses, specs, strict=True)]
    return Runs(found[0], dict(zip(cases[1:], found[1:], strict=True)), ended.stderr)


@pytest.mark.parametrize("step", range(1, STEPS + 1), ids=lambda step: f"{step}_of_{STEPS}")
def test_killed_after_step(runs: Runs, step: int) -> None:
    killed = runs.disturbed[signal.SIGKILL, step]
    assert killed.statuses == [-signal.SIGKILL, ExitCode.OK]
    assert_same(killed, runs.undisturbed)


@pytest.mark.parametrize(("sign", "step"), WORDS)
def test_told_to_stop_after_step(runs: Runs, sign: signal.Signals, step: int) -> None:
    told = runs.disturbed[sign, step]
    assert told.statuses == [ExitCode.STOPPED, ExitCode.OK]
    assert_same(told, runs.undisturbed)
    assert f"stopped after step {step}, with a checkpoint; the same command goes on from there" in runs.stderr


def assert_same(disturbed: Disturbed, undisturbed: Disturbed) -> None:
    result, expected = result_of(disturbed.spec), result_of(undisturbed.spec)
    assert result.num_steps == STEPS
    assert result.losses == expected.losses
    assert result.adapter_sha256 == expected.adapter_sha256


def test_a_stopped_run_makes_room_for_another_and_goes_on_later(spec: TrainSpec, tmp_path: Path) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 30})
    long = spec.model_copy(update={"hyperparameters": hyper, "checkpoint_seconds": 3600.0})
    undisturbed, stopped = (
        write_spec(long.model_copy(update={"work_dir": str(tmp_path / name)}), tmp_path / f"{name}.json")
        for name in ("undisturbed", "stopped")
    )
    other = write_spec(spec.model_copy(update={"work_dir": str(tmp_path / "other")}), tmp_path / "other.json")
    with driven(tmp_path / "stderr") as program:
        program.send(StopCommand().model_dump_json())  # there is nothing to stop, so it means nothing
        _, whole = program.run(undisturbed)
        assert whole.result is not None
        program.send(RunCommand(spec_path=str(stopped)).model_dump_json())
        while (message := program.receive()).progress is not None and message.progress.done == 0:
            pass
        program.send(StopCommand().model_dump_json())
        _, end = program.answer()
        _, between = program.run(other)
        reports, resumed = program.run(stopped)
    assert (end.type, end.exit_code) == ("stopped", ExitCode.STOPPED)
    assert between.type == "done"
    assert reports[0].done > 1, "it began anew"
    assert resumed.result is not None
    assert resumed.result.losses == whole.result.losses
    assert resumed.result.adapter_sha256 == whole.result.adapter_sha256
    assert (tmp_path / "stderr").read_text().count('"event": "base model loaded"') == 1
