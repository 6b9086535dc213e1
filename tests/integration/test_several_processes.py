"""The training program in two processes under DeepSpeed ZeRO-2, held against one process."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from local.processes import ROOT
from rolekeeper.contracts.training import ExitCode, TrainResult, TrainSpec
from tests.unit.services.trainer.program.processes import COMMAND, PATIENCE_SECONDS
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec, write_spec

TWO = (*COMMAND, "--processes", "2")


def train(spec: TrainSpec, command: tuple[str, ...] = TWO) -> TrainResult:
    ended = subprocess.run(
        [*command, str(write_spec(spec, Path(spec.work_dir).with_suffix(".json")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert ended.stdout == f"{Path(spec.work_dir) / 'result.json'}\n"
    return TrainResult.model_validate_json((Path(spec.work_dir) / "result.json").read_bytes())


def beside(spec: TrainSpec, name: str) -> TrainSpec:
    return spec.model_copy(update={"work_dir": str(Path(spec.work_dir).with_name(name))})


@pytest.fixture(scope="module", params=["lora", "full"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainSpec:
    """9 steps of up to 4 samples, the last of each epoch with 2, some of them with a group for one process only."""
    changes = {"training": request.param, "epochs": 3, "learning_rate": 1e-2 if request.param == "lora" else 1e-3}
    folder = tmp_path_factory.mktemp(request.param)
    return make_spec(folder, hyperparameters=HYPERPARAMETERS.model_copy(update=changes), max_batch_tokens=100)


@pytest.fixture(scope="module")
def two(spec: TrainSpec) -> TrainResult:
    """What two processes make when nothing happens to them."""
    return train(beside(spec, "two"))


def test_two_processes_have_the_losses_of_one(spec: TrainSpec, two: TrainResult) -> None:
    one = train(beside(spec, "one"), COMMAND)
    assert two.losses == pytest.approx(one.losses, rel=0, abs=1e-5)
    assert two.num_steps == 9
    assert two.last_loss < two.first_loss


def test_when_one_is_killed_all_end_and_the_next_start_goes_on(spec: TrainSpec, two: TrainResult) -> None:
    disturbed = beside(spec, "disturbed")
    path = write_spec(disturbed, Path(disturbed.work_dir).with_suffix(".json"))
    launcher = psutil.Popen([*TWO, str(path)], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while not any(Path(disturbed.work_dir).glob("ckpt-[2-9]")):
            assert launcher.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.002)
        workers = [child for child in launcher.children() if "--join" in child.cmdline()]
        (victim,) = [worker for worker in workers if worker.environ()["RANK"] == "1"]
        victim.send_signal(signal.SIGKILL)
        assert launcher.wait(PATIENCE_SECONDS) == ExitCode.INFRASTRUCTURE
        assert not psutil.wait_procs(workers, timeout=10)[1]
    finally:
        for process in (*launcher.children(recursive=True), launcher) if launcher.is_running() else ():
            process.kill()
    assert not (Path(disturbed.work_dir) / "result.json").exists()
    resumed = train(disturbed)
    assert resumed.losses == two.losses
    assert resumed.adapter_sha256 == two.adapter_sha256


def test_a_failure_has_its_exit_code(tmp_path: Path) -> None:
    broken = make_spec(tmp_path).model_copy(update={"samples_sha256": "00"})
    path = write_spec(broken, Path(broken.work_dir).with_suffix(".json"))
    ended = subprocess.run([*TWO, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == ExitCode.BAD_DATA
    assert "the spec says 00" in ended.stderr
    assert ended.stdout == ""
