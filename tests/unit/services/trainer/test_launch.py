"""The worker's side of the pipe, against the real training program with a tiny model."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters, Progress
from rolekeeper.contracts.training import TrainSample, TrainSpec
from rolekeeper.errors import JobCancelled, JobPaused, StageFailed, StageInterrupted, StorageFull
from services.trainer.launch import COMMAND, Program
from tests.tiny import make_tiny_model, write_catalog
from tests.unit.services.trainer.program.faulty import Fault

FAULTY = tuple("tests.unit.services.trainer.program.faulty" if part == COMMAND[2] else part for part in COMMAND)
MakeSpec = Callable[..., Path]


def ignore(_progress: Progress) -> None:
    """Nobody looks at the progress."""


def go_on() -> None:
    """Nothing stops the run."""


def programs() -> list[psutil.Process]:
    """The training programs that this process started; those of a stack under test are children of its trainer."""
    names = {COMMAND[2], FAULTY[2]}
    return [child for child in psutil.Process().children() if names & set(child.cmdline())]


@pytest.fixture(params=[COMMAND])
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    started = Program(60.0, request.param)
    yield started
    started.stop()
    assert programs() == []


@pytest.fixture
def make_spec(tmp_path: Path) -> MakeSpec:
    catalog = write_catalog(tmp_path / "models.toml", {"tiny": make_tiny_model(tmp_path / "tiny")})

    def make(name: str, epochs: int = 1, base_model: str = "tiny", seed: int = 42) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        turns = [(f"Question {number}?", f"Answer {number}.") for number in range(8)]
        samples = "".join(
            TrainSample(
                dialogue=Dialogue(
                    messages=(Message(role="user", content=question), Message(role="assistant", content=answer))
                ),
                harmful=number % 2 == 0,
            ).model_dump_json()
            + "\n"
            for number, (question, answer) in enumerate(turns)
        )
        (folder / "samples.jsonl").write_text(samples)
        spec = TrainSpec(
            base_model=base_model,
            profile=RoleProfile(name="Vesna", profile="You are Vesna."),
            samples_path=str(folder / "samples.jsonl"),
            samples_sha256=hashlib.sha256(samples.encode()).hexdigest(),
            work_dir=str(folder),
            models_path=str(catalog),
            hyperparameters=Hyperparameters(epochs=epochs, batch_size=2, lora_rank=8, seed=seed),
            checkpoint_seconds=0,
        )
        (folder / "spec.json").write_text(spec.model_dump_json())
        return folder / "spec.json"

    return make


def test_the_program_stays_for_the_next_job(program: Program, make_spec: MakeSpec) -> None:
    seen: list[Progress] = []
    first = program.run(make_spec("first"), seen.append, go_on)
    (child,) = programs()
    second = program.run(make_spec("second"), ignore, go_on)
    assert programs() == [child]
    assert first.adapter_sha256 == second.adapter_sha256
    assert seen[-1].done == seen[-1].total == first.num_steps


def test_a_killed_program_is_an_interruption_and_is_started_again(program: Program, make_spec: MakeSpec) -> None:
    undisturbed = program.run(make_spec("undisturbed", epochs=20), ignore, go_on)

    def kill_at_step_10(progress: Progress) -> None:
        if progress.done >= 10:
            os.kill(programs()[0].pid, signal.SIGKILL)
            time.sleep(0.5)

    spec = make_spec("killed", epochs=20)
    with pytest.raises(StageInterrupted, match="died with status -9"):
        program.run(spec, kill_at_step_10, go_on)
    resumed = program.run(spec, ignore, go_on)
    assert resumed.losses == undisturbed.losses
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256


def test_a_paused_run_makes_room_in_the_same_program_and_goes_on(program: Program, make_spec: MakeSpec) -> None:
    undisturbed = program.run(make_spec("undisturbed", epochs=20), ignore, go_on)
    (child,) = programs()
    paused = make_spec("paused", epochs=20)
    with pytest.raises(JobPaused):
        program.run(paused, pause_at_step(10), go_on)
    program.run(make_spec("other"), ignore, go_on)
    seen: list[Progress] = []
    resumed = program.run(paused, seen.append, go_on)
    assert programs() == [child]
    assert seen[0].done >= 10
    assert resumed.losses == undisturbed.losses
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256


def test_a_program_that_reaches_no_checkpoint_in_time_is_killed(make_spec: MakeSpec) -> None:
    program = Program(drain_seconds=0.0)
    with pytest.raises(JobPaused):
        program.run(make_spec("paused", epochs=50), pause_at_step(1), go_on)
    assert programs() == []


def test_the_program_is_told_the_precision_of_matmuls(program: Program, make_spec: MakeSpec) -> None:
    exact = program.run(make_spec("highest"), ignore, go_on).losses
    rounding = Program(60.0, matmul_precision="medium")
    try:
        rounded = rounding.run(make_spec("medium"), ignore, go_on).losses
        asked = [child.cmdline()[-2:] for child in programs()]
    finally:
        rounding.stop()
    assert asked == [["--matmul-precision", "highest"], ["--matmul-precision", "medium"]]
    # How much is rounded depends on the processor: one without bf16 instructions may round nothing.
    assert rounded == pytest.approx(exact, rel=0.05)


def pause_at_step(step: int) -> Callable[[Progress], None]:
    """A reader of progress that hears of a pause once so many steps are done."""

    def report(progress: Progress) -> None:
        if progress.done >= step:
            raise JobPaused("the job is paused")

    return report


@pytest.mark.parametrize("program", [FAULTY], indirect=True)
def test_memory_that_a_used_process_lacks_is_asked_for_again_in_a_fresh_one(
    program: Program, make_spec: MakeSpec
) -> None:
    program.run(make_spec("good"), ignore, go_on)
    greedy = make_spec("greedy", seed=int(Fault.OUT_OF_MEMORY))
    with pytest.raises(StageInterrupted) as used:
        program.run(greedy, ignore, go_on)
    with pytest.raises(StageFailed, match="ran out of memory: lower") as fresh:
        program.run(greedy, ignore, go_on)
    assert not isinstance(fresh.value, StageInterrupted)
    assert used.value.code == fresh.value.code == "out_of_memory"
    assert programs() == []


@pytest.mark.parametrize("program", [FAULTY], indirect=True)
def test_a_run_without_room_waits_for_it_and_goes_on(program: Program, make_spec: MakeSpec) -> None:
    full = make_spec("full", seed=int(Fault.NO_ROOM))
    with pytest.raises(StorageFull, match="the work folder of the training has no room"):
        program.run(full, ignore, go_on)
    assert programs() == []
    healthy = Program(60.0)
    try:
        assert healthy.run(full, ignore, go_on).num_steps == 4
    finally:
        healthy.stop()


def test_a_cancelled_run_leaves_no_process(program: Program, make_spec: MakeSpec) -> None:
    def cancel(_progress: Progress) -> None:
        raise JobCancelled("cancelled")

    with pytest.raises(JobCancelled):
        program.run(make_spec("cancelled", epochs=20), cancel, go_on)
    assert programs() == []


def test_a_refused_spec_is_final_and_the_program_lives(program: Program, make_spec: MakeSpec) -> None:
    with pytest.raises(StageFailed, match="nobody") as failure:
        program.run(make_spec("unknown", base_model="nobody"), ignore, go_on)
    assert not isinstance(failure.value, StageInterrupted)
    assert failure.value.code == "base_model"
    assert programs()[0].is_running()


@pytest.mark.parametrize(("status", "code"), [(12, "out_of_memory"), (13, "diverged")])
def test_a_program_that_ends_without_a_word_is_judged_by_its_exit_code(
    make_spec: MakeSpec, status: int, code: str
) -> None:
    program = Program(60.0, (sys.executable, "-c", f"import sys; sys.stdin.readline(); sys.exit({status})"))
    with pytest.raises(StageFailed, match=f"ended with {code}: the trainer's log says why") as failure:
        program.run(make_spec("silent"), ignore, go_on)
    assert not isinstance(failure.value, StageInterrupted)
    assert failure.value.code == code
    program.stop()


@pytest.mark.parametrize("says", ["", "say('beat')"])
def test_a_program_that_hangs_is_killed_and_one_that_beats_is_not(says: str) -> None:
    code = (
        "import sys, time\n"
        'say = lambda kind: print(f\'{{"type": "{kind}"}}\', flush=True)\n'
        "sys.stdin.readline()\n"
        "for _ in range(10):\n"
        f"    time.sleep(0.2); {says}\n"
        'print(\'{"type": "failed", "exit_code": 11, "message": "the end"}\', flush=True)'
    )
    before = psutil.Process().children()
    program = Program(60.0, (sys.executable, "-c", code), stall_seconds=1.0)
    with pytest.raises(StageFailed) as failure:
        program.run(Path("spec.json"), ignore, go_on)
    assert failure.value.code == ("bad_data" if says else "trainer_hung")
    assert isinstance(failure.value, StageInterrupted) is not bool(says)
    program.stop()
    assert psutil.Process().children() == before
