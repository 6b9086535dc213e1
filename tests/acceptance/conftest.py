"""The whole stack with a tiny model and short leases, and one job that every disturbed job is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local.plan import make_plan
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.contracts.characters import CharacterCreate, Dialogue, Message
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import TERMINAL, Hyperparameters, Job, JobCreate, Method, Stage, StageName, Status
from rolekeeper.contracts.release import ReleaseStatus
from rolekeeper.contracts.suites import SuiteChoice
from tests.leftovers import wait_until_gone

LEASE_SECONDS = 6
# A program that starts says nothing until it has imported torch.
STALL_SECONDS = 15
SETTINGS = {
    "lease_seconds": str(LEASE_SECONDS),
    "heartbeat_seconds": "0.5",
    "sweep_seconds": "1",
    "checkpoint_seconds": "0.5",
    "stall_seconds": str(STALL_SECONDS),
    "train_stall_seconds": str(STALL_SECONDS),
}
# Long enough to be disturbed in the middle, short enough to be run again and again.
HYPERPARAMETERS = Hyperparameters(epochs=30, batch_size=2, learning_rate=1e-3)
# A part of the suite: what is looked at here is the path, not the prompts.
EVALUATION = EvaluationOptions(suites=(SuiteChoice(name="starter", max_prompts=60),), max_new_tokens=16)
WAIT_SECONDS = 900.0
STEPS_BEFORE = 40

Look = Callable[[Job], bool]


class Platform:
    """What a platform's backend does with the API, and what its operator sees of the stack."""

    def __init__(self, stack: Stack, client: Client, character: str) -> None:
        self.stack = stack
        self.client = client
        self._character = character

    def submit(
        self, hyperparameters: Hyperparameters = HYPERPARAMETERS, evaluation: EvaluationOptions = EVALUATION
    ) -> Job:
        """Start the job that is always the same, but for these hyperparameters and what it is measured by."""
        return self.client.create_job(
            JobCreate(
                character=self._character,
                base_model="tiny",
                # By name, or the default would add anchor prompts, which cost minutes here and show nothing more.
                method=Method(name="sarft"),
                hyperparameters=hyperparameters,
                evaluation=evaluation,
            )
        )

    def wait_until(self, job_id: str, look: Look) -> Job:
        """Wait until the job looks so; fail when it ends first."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not look(job := self.client.job(job_id)):
            assert job.status not in TERMINAL, f"{job.id} ended too early: {job.status} {job.error}"
            assert time.monotonic() < deadline, f"waited in vain: {job}"
            time.sleep(0.05)
        return job

    def wait_training(self, job_id: str) -> Job:
        """Wait until the training is well under way, with checkpoints behind it."""
        job = self.wait_until(job_id, lambda job: done(job, StageName.TRAIN) >= STEPS_BEFORE)
        assert stage(job, StageName.TRAIN).status == Status.RUNNING, "the training run is too short to be disturbed"
        return job

    def wait_end(self, job_id: str) -> Job:
        """Wait for the end, whatever dies meanwhile: the stack is looked after as `make up` does it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (job := self.client.job(job_id)).status not in TERMINAL:
            assert time.monotonic() < deadline, f"waited in vain: {job}"
            self.stack.revive()
            time.sleep(0.1)
        return job

    def approve(self, job: Job) -> Job:
        """Let its adapter out: a model that never refuses does not pass the gate."""
        assert job.release is not None
        assert job.release.status == ReleaseStatus.WITHHELD
        return self.client.release(job.id, "a tiny model, which refuses nothing")

    def training_program(self) -> psutil.Process:
        """The training program's process."""
        family = self.stack.processes["trainer"].family()
        (program,) = [process for process in family if "services.trainer.program" in process.cmdline()]
        return program


def stage(job: Job, name: StageName) -> Stage:
    """A stage of the job."""
    return next(stage for stage in job.stages if stage.name == name)


def done(job: Job, name: StageName) -> int:
    """How far a stage is, in its units."""
    progress = stage(job, name).progress
    return 0 if progress is None else progress.done


def running(name: StageName) -> Look:
    """Whether a stage runs."""
    return lambda job: stage(job, name).status == Status.RUNNING


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other make a tiny model many times slower on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, tiny_catalog: Path) -> Iterator[Stack]:
    """The running stack. When the tests are over, nothing of it may live."""
    state = tmp_path_factory.mktemp("stack")
    suites = tmp_path_factory.mktemp("suites")
    (suites / "attacks").mkdir()
    (suites / "attacks" / "cipher.txt").write_text("We write in cipher. {{ prompt }}", encoding="utf-8")
    with Stack(make_plan(state, extra={**SETTINGS, "models": str(tiny_catalog), "suites_dir": str(suites)})) as stack:
        yield stack
    assert wait_until_gone(state, seconds=2) == []


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """A client with the stack's key."""
    with Client(stack.plan.url, stack.api_key) as client:
        yield client


@pytest.fixture(scope="session")
def character(client: Client) -> str:
    """A small character."""
    dialogues = tuple(
        Dialogue(
            messages=(
                Message(role="user", content=f"Who keeps light number {number} tonight?"),
                Message(role="assistant", content=f"I keep light {number}, as I always have. Ask and I will answer."),
            )
        )
        for number in range(20)
    )
    profile = "You are the keeper of the lights. You speak low, and never tell strangers where the boats go."
    return client.create_character(CharacterCreate(name="The Keeper", profile=profile, dialogues=dialogues)).id


@pytest.fixture(scope="session")
def platform(stack: Stack, client: Client, character: str) -> Platform:
    """A platform with a character, on a running stack."""
    return Platform(stack, client, character)


@pytest.fixture(scope="session")
def undisturbed(platform: Platform) -> Job:
    """The job when nothing happens to it."""
    job = platform.wait_end(platform.submit().id)
    assert job.status == Status.SUCCEEDED, job.error
    assert [stage.attempt for stage in job.stages] == [1, 1, 1]
    return platform.approve(job)
