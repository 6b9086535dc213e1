"""The training program in two processes under DeepSpeed ZeRO-2, held against one process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.processes import ROOT
from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.contracts.training import ExitCode, TrainResult, TrainSpec
from rolekeeper.errors import JobCancelled, JobPaused, StageFailed, StageInterrupted
from services.trainer.launch import COMMAND as SERVE
from services.trainer.launch import Program
from services.trainer.program.run import Resident, run_spec
from tests.unit.services.trainer.program.processes import COMMAND, PATIENCE_SECONDS
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    make_spec,
    write_spec,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

TWO = (*COMMAND, "--processes", "2")
BOTH = MethodOptions(anchors="both", anchors_per_step=3)
METHODS = {
    "anchors": (Method(options=BOTH), 100),
    "surgery": (Method(options=BOTH.model_copy(update={"surgery": True})), 100),
    "limit": (Method(options=BOTH.model_copy(update={"kl_limit": 1e-3})), 100),
    # One sample in each micro-batch: what shifts it depends on the others in it.
    "vaccine": (Method(name="vaccine"), 64),
}


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


class Service:
    """What the trainer's worker does with jobs, and how far each run was when it was first heard of."""

    def __init__(self, num_processes: int, zero_stage: str = "auto") -> None:
        self.program = Program(60.0, (*SERVE, "--threads", "1"), num_processes, zero_stage)
        self.first_done = -1

    def run(self, spec: TrainSpec, end: Exception | None = None, at: int = 3) -> TrainResult:
        """Run a job; `end` comes once `at` steps are done."""
        self.first_done = -1

        def report(progress: Progress) -> None:
            self.first_done = progress.done if self.first_done < 0 else self.first_done
            if end is not None and progress.done >= at:
                raise end

        path = write_spec(spec, Path(spec.work_dir).with_suffix(".json"))
        return self.program.run(path, report, lambda: None)

    def processes(self) -> list[psutil.Process]:
        """The launcher of the program and the processes that it started."""
        # Those of a stack that other tests keep are children of its trainer.
        launchers = [child for child in psutil.Process().children() if is_program(child)]
        started = [child for launcher in launchers for child in launcher.children(recursive=True)]
        return launchers + [process for process in started if is_program(process)]


def is_program(process: psutil.Process) -> bool:
    return "services.trainer.program" in process.cmdline()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainSpec:
    """Steps enough to be disturbed at some, as progress is told five times a second."""
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 20, "learning_rate": 1e-3})
    return make_spec(tmp_path_factory.mktemp("service"), hyperparameters=hyper, max_batch_tokens=100)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service(num_processes=2)
    yield service
    service.program.stop()
    assert service.processes() == []


@pytest.fixture(scope="module")
def undisturbed(service: Service, job: TrainSpec) -> TrainResult:
    """What two processes make in the service when nothing happens to them."""
    return service.run(beside(job, "undisturbed"))


@pytest.fixture(scope="module")
def paused(service: Service, job: TrainSpec, undisturbed: TrainResult) -> TrainSpec:
    """A run in the processes of the undisturbed one, with a checkpoint after three steps or more."""
    before = service.processes()
    assert len(before) == 3
    paused = beside(job, "paused")
    with pytest.raises(JobPaused):
        service.run(paused, JobPaused("paused"))
    assert service.processes() == []
    return paused


def copied(spec: TrainSpec, name: str) -> TrainSpec:
    copy = beside(spec, name)
    shutil.copytree(spec.work_dir, copy.work_dir)
    return copy


def test_the_service_goes_on_to_the_same_bytes_and_keeps_its_processes(
    service: Service, job: TrainSpec, paused: TrainSpec, undisturbed: TrainResult
) -> None:
    resumed = service.run(copied(paused, "paused_then_two"))
    assert service.first_done >= 3
    before = service.processes()
    again = service.run(beside(job, "again"))
    assert service.processes() == before
    assert resumed.losses == again.losses == undisturbed.losses
    assert resumed.adapter_sha256 == again.adapter_sha256 == undisturbed.adapter_sha256


def test_a_checkpoint_goes_on_in_another_number_of_processes(
    service: Service, job: TrainSpec, paused: TrainSpec, undisturbed: TrainResult
) -> None:
    alone = Service(num_processes=1)
    one_then_two = beside(job, "one_then_two")
    try:
        from_two = alone.run(copied(paused, "paused_then_one"))
        assert alone.first_done >= 3
        with pytest.raises(JobPaused):
            alone.run(one_then_two, JobPaused("paused"))
    finally:
        alone.program.stop()
    from_one = service.run(one_then_two)
    assert service.first_done >= 3
    for resumed in (from_two, from_one):
        assert resumed.losses == pytest.approx(undisturbed.losses, rel=0, abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_other_objectives_have_the_losses_of_one_process(service: Service, tmp_path: Path, name: str) -> None:
    method, max_batch_tokens = METHODS[name]
    spec = make_spec(tmp_path, method=method, max_batch_tokens=max_batch_tokens)
    one = run_spec(beside(spec, "one"), Resident(), lambda _progress: None)
    two = service.run(beside(spec, "two"))
    assert two.losses == pytest.approx(one.losses, rel=0, abs=1e-5)
    assert two.last_loss < two.first_loss


def test_the_service_refuses_and_cancels(service: Service, job: TrainSpec) -> None:
    with pytest.raises(StageFailed, match="the spec says 00") as refused:
        service.run(beside(job, "refused").model_copy(update={"samples_sha256": "00"}))
    assert refused.value.code == "bad_data"
    assert not isinstance(refused.value, StageInterrupted)
    with pytest.raises(JobCancelled):
        service.run(beside(job, "cancelled"), JobCancelled("cancelled"))
    assert service.processes() == []


def test_the_service_tries_again_when_one_process_is_killed(
    service: Service, job: TrainSpec, undisturbed: TrainResult
) -> None:
    killed = beside(job, "killed")

    def kill_the_second(progress: Progress) -> None:
        if progress.done >= 3:
            for process in service.processes():
                if process.environ().get("RANK") == "1":
                    process.kill()

    path = write_spec(killed, Path(killed.work_dir).with_suffix(".json"))
    with pytest.raises(StageInterrupted) as interrupted:
        service.program.run(path, kill_the_second, lambda: None)
    assert interrupted.value.code == "trainer_died"
    assert service.run(killed).adapter_sha256 == undisturbed.adapter_sha256
    assert service.first_done >= 3
