"""The training program as a process of its own: alone, driven over a pipe, killed at bad moments, and its adapter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from local.processes import ROOT
from rolekeeper.contracts.characters import Dialogue, RoleProfile
from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import (
    ExitCode,
    TrainResult,
    TrainSample,
    TrainSpec,
)
from services.trainer.program.run import Resident, run_spec
from tests.unit.services.trainer.program.processes import COMMAND, PATIENCE_SECONDS, alone, driven
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    make_samples,
    make_spec,
    write_lines,
    write_samples,
    write_spec,
)

# The program, killed by itself the moment it would bring a certain file or folder to disk.
DYING = """
import os, signal, sys
from services.trainer.program import durable
from services.trainer.program.__main__ import main

left, sync = int(sys.argv[1]), durable.sync

def dying_sync(path):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)

durable.sync = dying_sync
sys.exit(main([sys.argv[2], "--threads", "1"]))
"""

PLAIN_PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = torch.arange(40).unsqueeze(0)
with torch.no_grad():
    before = base(ids).logits
    after = PeftModel.from_pretrained(base, sys.argv[2])(ids).logits
assert after.isfinite().all()
assert not [name for name in sys.modules if name.split(".")[0] in ("rolekeeper", "services")]
print(float((after - before).abs().max()))
"""


def result_of(spec: TrainSpec) -> TrainResult:
    return TrainResult.model_validate_json((Path(spec.work_dir) / "result.json").read_bytes())


def in_folder(spec: TrainSpec, work_dir: Path, **changes: Any) -> TrainSpec:
    return spec.model_copy(update={"work_dir": str(work_dir), **changes})


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TrainSpec:
    """A run of 30 steps that saves a checkpoint after each."""
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 10})
    return make_spec(tmp_path_factory.mktemp("tiny"), hyperparameters=hyper, max_batch_tokens=200)


@pytest.fixture(scope="module")
def undisturbed(spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """What the run makes when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = alone(write_spec(in_folder(spec, folder / "work"), folder / "spec.json"))
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert ended.stdout == f"{folder / 'work' / 'result.json'}\n"
    result = result_of(in_folder(spec, folder / "work"))
    assert sorted(path.name for path in (folder / "work").iterdir()) == [Path(result.adapter_path).name, "result.json"]
    return result


def assert_same(spec: TrainSpec, expected: TrainResult) -> None:
    result = result_of(spec)
    assert result.losses == expected.losses
    assert result.adapter_sha256 == expected.adapter_sha256
    names = sorted(path.name for path in Path(spec.work_dir).iterdir())
    assert names == [f"adapter-{expected.adapter_sha256}.tar", "result.json"]


def newest_step(work_dir: Path) -> int:
    return max((int(path.name[5:]) for path in work_dir.glob("ckpt-*")), default=0)


def kill_after_step(spec: TrainSpec, spec_path: Path, step: int) -> None:
    """Start the program and end it by SIGKILL as soon as it has a checkpoint of `step` or later."""
    work_dir = Path(spec.work_dir)
    process = subprocess.Popen([*COMMAND, str(spec_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while newest_step(work_dir) < step:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (work_dir / "result.json").exists()


def test_a_run_killed_twice_ends_as_if_nothing_had_happened(
    spec: TrainSpec, undisturbed: TrainResult, tmp_path: Path
) -> None:
    disturbed = in_folder(spec, tmp_path / "work", request_id="another")
    spec_path = write_spec(disturbed, tmp_path / "spec.json")
    kill_after_step(disturbed, spec_path, 4)
    first = newest_step(tmp_path / "work")
    kill_after_step(disturbed, spec_path, first + 5)
    assert newest_step(tmp_path / "work") > first
    ended = alone(spec_path)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert_same(disturbed, undisturbed)


def test_a_flipped_bit_costs_one_checkpoint(spec: TrainSpec, undisturbed: TrainResult, tmp_path: Path) -> None:
    disturbed = in_folder(spec, tmp_path / "work")
    spec_path = write_spec(disturbed, tmp_path / "spec.json")
    kill_after_step(disturbed, spec_path, 6)
    newest = tmp_path / "work" / f"ckpt-{newest_step(tmp_path / 'work')}" / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 4
    newest.write_bytes(content)
    ended = alone(spec_path)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert "checkpoint left out" in ended.stderr
    assert_same(disturbed, undisturbed)


def test_a_kill_in_the_middle_of_a_write_spoils_nothing(
    spec: TrainSpec, undisturbed: TrainResult, tmp_path: Path
) -> None:
    """A checkpoint is brought to disk by 5 calls: three files, their folder, and after the rename the folder above."""
    disturbed = in_folder(spec, tmp_path / "work")
    spec_path = write_spec(disturbed, tmp_path / "spec.json")
    reached = []
    # Before a rename, after one, and after the 27 steps that are left: before the tar has its name, and the result its.
    for calls in (9, 10, 5 * 27 + 1, 3):
        killed = subprocess.run(
            [sys.executable, "-c", DYING, str(calls), str(spec_path)], cwd=ROOT, capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        reached.append(newest_step(tmp_path / "work"))
        assert not (tmp_path / "work" / "result.json").exists()
    assert reached == [1, 3, 30, 30]
    ended = alone(spec_path)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert_same(disturbed, undisturbed)


def test_warm_and_cold_make_the_same_bytes(spec: TrainSpec, undisturbed: TrainResult, tmp_path: Path) -> None:
    other_samples = make_samples(5)
    write_samples(tmp_path / "other.jsonl", other_samples)
    other = spec.model_copy(
        update={
            "work_dir": str(tmp_path / "other"),
            "samples_path": str(tmp_path / "other.jsonl"),
            "samples_sha256": write_samples(tmp_path / "other.jsonl", other_samples),
        }
    )
    warm = in_folder(spec, tmp_path / "warm")
    with driven(tmp_path / "stderr") as program:
        _, first = program.run(write_spec(other, tmp_path / "other.json"))
        reports, second = program.run(write_spec(warm, tmp_path / "warm.json"))
        silence, again = program.run(write_spec(warm, tmp_path / "warm.json"))
    assert first.type == second.type == again.type == "done"
    assert first.result is not None
    assert first.result.adapter_sha256 != undisturbed.adapter_sha256
    assert second.result == undisturbed.model_copy(
        update={"adapter_path": str(tmp_path / "warm" / Path(undisturbed.adapter_path).name)}
    )
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (30, 30, "steps")
    assert (silence, again.result) == ([], second.result)
    assert (tmp_path / "stderr").read_text().count('"event": "base model loaded"') == 1


def test_a_failed_run_says_why_and_the_next_one_runs(spec: TrainSpec, tmp_path: Path) -> None:
    bad_lines = [make_samples(1)[0].model_dump_json(), '{"dialogue": 1}']
    bad_data = in_folder(
        spec,
        tmp_path / "data",
        samples_path=str(tmp_path / "bad.jsonl"),
        samples_sha256=write_lines(tmp_path / "bad.jsonl", bad_lines),
    )
    unknown = in_folder(spec, tmp_path / "unknown", base_model="nobody")
    no_effect = in_folder(
        spec,
        tmp_path / "no_effect",
        hyperparameters=HYPERPARAMETERS.model_copy(update={"learning_rate": 1e-30, "epochs": 1}),
    )
    (tmp_path / "spec.json").write_text("{}")
    failures = []
    with driven(tmp_path / "stderr") as program:
        program.send("not a command")
        failures.append(program.answer()[1])
        failures.append(program.run(tmp_path / "spec.json")[1])
        for index, broken in enumerate((bad_data, unknown, no_effect)):
            failures.append(program.run(write_spec(broken, tmp_path / f"{index}.json"))[1])
            assert list(Path(broken.work_dir).glob("*tmp*")) == []
            assert list(Path(broken.work_dir).glob("adapter*")) == []
        _, message = program.run(write_spec(in_folder(spec, tmp_path / "good"), tmp_path / "good.json"))
    assert message.type == "done"
    assert [(failure.type, failure.exit_code) for failure in failures] == [
        ("failed", ExitCode.BAD_SPEC),
        ("failed", ExitCode.BAD_SPEC),
        ("failed", ExitCode.BAD_DATA),
        ("failed", ExitCode.BASE_MODEL),
        ("failed", ExitCode.BAD_SPEC),
    ]
    complaints = ("not a command", "profile: Field required", "line 2: dialogue", "'nobody'", "raise learning_rate")
    for failure, complaint in zip(failures, complaints, strict=True):
        assert complaint in (failure.message or "")


def test_alone_it_ends_with_the_exit_code_of_the_failure(spec: TrainSpec, tmp_path: Path) -> None:
    broken = in_folder(spec, tmp_path / "work", samples_sha256="00")
    ended = alone(write_spec(broken, tmp_path / "spec.json"))
    assert ended.returncode == ExitCode.BAD_DATA
    assert ended.stdout == ""
    assert "the spec says 00" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list((tmp_path / "work").iterdir()) == []


def test_plain_peft_loads_the_adapter(spec: TrainSpec, undisturbed: TrainResult, tmp_path: Path) -> None:
    with tarfile.open(undisturbed.adapter_path) as tar:
        tar.extractall(tmp_path, filter="data")
    model = Path(spec.models_path or "").parent / "model"
    ended = subprocess.run(
        [sys.executable, "-c", PLAIN_PEFT, str(model), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.splitlines()[-1]) > 0


@pytest.mark.real_model
@PEFT_ASKS_BY_AN_OLD_NAME
def test_the_real_model_learns_a_character(tmp_path: Path) -> None:
    character = json.loads((ROOT / "examples" / "character.json").read_text("utf-8"))
    lines = (ROOT / "examples" / "dialogues.jsonl").read_text("utf-8").splitlines()[:8]
    samples = [
        TrainSample(dialogue=Dialogue.model_validate_json(line), harmful=index % 2 == 0)
        for index, line in enumerate(lines)
    ]
    spec = make_spec(
        tmp_path,
        samples,
        base_model="smollm2-135m",
        profile=RoleProfile(name=character["name"], profile=character["profile"]),
        hyperparameters=HYPERPARAMETERS.model_copy(update={"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}),
        models_path=None,
    )
    reports: list[Progress] = []
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on a busy machine of two cores wait for each other
    try:
        result = run_spec(spec, Resident(), reports.append)
    finally:
        torch.set_num_threads(num_threads)
    assert result.num_steps == len(result.losses) == 2
    assert result.last_loss < result.first_loss
    assert reports[-1].metrics["kl"] > 0
    with tarfile.open(result.adapter_path) as tar:
        tar.extractall(tmp_path / "adapter", filter="data")
    manifest = json.loads((tmp_path / "adapter" / "MANIFEST.json").read_text("utf-8"))
    assert manifest["base_model"]["public_id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert manifest["effect"]["max_difference"] > 0
