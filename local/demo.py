"""The main job from beginning to end: start the stack, submit a character, follow its job, print the result, stop."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console

from local.failures import StackFailed
from local.plan import make_plan
from local.record import StateFolder
from local.signals import stoppable
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.client.commands import job_create, read_profile
from rolekeeper.client.decisions import is_withheld, withheld_lines
from rolekeeper.client.options import Training
from rolekeeper.client.progress import JobBars, JobLines
from rolekeeper.client.report_screen import report_screen
from rolekeeper.contracts.characters import CharacterCreate
from rolekeeper.contracts.jobs import TERMINAL, Job, Status
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.errors import InvalidInput, StageFailed, Unavailable
from rolekeeper.report.render import render_page

POLL_SECONDS = 0.5
# Smooth bars matter more here than the few bytes that a heartbeat costs.
SETTINGS = {"heartbeat_seconds": "1", "sweep_seconds": "2"}


@dataclass(frozen=True)
class DemoOptions:
    """What to train, and the folder for state and results."""

    character: Path
    dialogues: Path
    training: Training
    state: Path


@dataclass
class Memory:
    """The most memory that the stack's processes held together, in bytes; shared pages are counted once."""

    peak: int = 0
    _sampled_at: float = field(default=0.0, repr=False)

    def sample(self) -> None:
        """Look at all living children, at most every two seconds."""
        if time.monotonic() < self._sampled_at + 2.0:
            return
        self._sampled_at = time.monotonic()
        total = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        self.peak = max(self.peak, total)


def run_demo(options: DemoOptions) -> None:
    """Run the demo; its own stack, beside one that may be up, is gone afterwards, and the results stay.

    Raises:
        InvalidInput: the files or the options can't be used.
        StackFailed: the stack does not run.
        StageFailed: the job did not succeed.
    """
    started_at = time.monotonic()
    _check_input(options)
    stderr, memory = Console(stderr=True), Memory()
    say(stderr, "starting PostgreSQL, Redis and the five processes")
    with (
        stoppable(),
        _scratch(options.state / "demo", stderr) as state,
        Stack(make_plan(state, options.state / "cache", SETTINGS)) as stack,
        Client(stack.plan.url, stack.api_key) as client,
    ):
        say(stderr, f"ready after {time.monotonic() - started_at:.0f} s")

        def look_after() -> None:
            stack.revive()
            memory.sample()

        job = _submit(client, options, stderr)
        _follow(client, job.id, stderr, look_after)
        _deliver(client, job.id, options.state / "out")
    print(f"wall time {time.monotonic() - started_at:.0f} s, peak memory {memory.peak / 1e9:.1f} GB")


@contextlib.contextmanager
def _scratch(state: Path, stderr: Console) -> Iterator[Path]:
    """An empty folder that goes when the block ends; after an error it stays until the next run, for its logs."""
    if StateFolder(state).is_running:
        raise StackFailed(f"another demo runs in {state}; wait for it, or give --state")
    shutil.rmtree(state, ignore_errors=True)
    try:
        yield state
    except Exception:
        say(stderr, f"the logs are in {state / 'logs'}")
        raise
    except BaseException:
        shutil.rmtree(state, ignore_errors=True)
        raise
    shutil.rmtree(state, ignore_errors=True)


def say(console: Console, text: str) -> None:
    """A line about what is going on."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check_input(options: DemoOptions) -> None:
    """Find what is wrong with the files before the stack is started; the gateway checks every dialogue later."""
    read_profile(options.character)
    job_create("", options.training)
    if options.dialogues.stat().st_size == 0:
        raise InvalidInput(f"{options.dialogues} has no dialogues: one JSON object with `messages` a line is expected")


def _submit(client: Client, options: DemoOptions, stderr: Console) -> Job:
    profile = read_profile(options.character)
    uploaded = client.upload_dialogues(options.dialogues)
    character = client.create_character(CharacterCreate(**profile.model_dump(), dialogue_file=uploaded.id))
    job = client.create_job(job_create(character.id, options.training))
    say(stderr, f"{character.name}: {character.num_dialogues} dialogues, base model {job.base_model}, {job.id}")
    return job


def _follow(client: Client, job_id: str, stderr: Console, tick: Callable[[], None]) -> None:
    """Show the job until its end. `tick` is called often, so that the stack is looked after meanwhile."""
    with _shown(stderr) as show:
        while True:
            tick()
            # The gateway itself may be the part that is being started again.
            with contextlib.suppress(Unavailable):
                job = client.job(job_id)
                show(job)
                if job.status in TERMINAL:
                    break
            time.sleep(POLL_SECONDS)
    if job.status != Status.SUCCEEDED:
        reason = "it was cancelled" if job.error is None else f"{job.error.message} ({job.error.code})"
        raise StageFailed(f"{job.id} did not succeed: {reason}")


@contextlib.contextmanager
def _shown(stderr: Console) -> Iterator[Callable[[Job], None]]:
    if not stderr.is_terminal:
        yield JobLines(stderr)
        return
    with JobBars(stderr) as bars:
        yield bars


def _deliver(client: Client, job_id: str, out: Path) -> None:
    report = client.report(job_id)
    _release(client, job_id)
    adapter_path = client.download_adapter(job_id, out)
    report_path = out / f"{job_id}.report.json"
    report_path.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    report_path.with_suffix(".html").write_text(render_page(report), encoding="utf-8")
    Console(width=120).print(report_screen(report))
    _print_paths(report, adapter_path, report_path)


def _release(client: Client, job_id: str) -> None:
    """Let out what the gate withholds, and say why it did: who runs the demo is its approver."""
    job = client.job(job_id)
    if is_withheld(job):
        print("\n".join(withheld_lines(job)[:-1]))
        client.release(job_id, "released by the demo, to be looked at on this machine")
        print("released by the demo, to be looked at on this machine; a deployment leaves that to an approver")


def _print_paths(report: SafetyReport, adapter_path: Path, report_path: Path) -> None:
    sha256 = hashlib.sha256(adapter_path.read_bytes()).hexdigest()
    print(f"adapter {adapter_path} ({adapter_path.stat().st_size / 1e6:.1f} MB)")
    print(f"sha256  {sha256}{'' if sha256 == report.adapter_sha256 else ' which is not what the report is about'}")
    print(f"report  {report_path}")
    print(f"page    {report_path.with_suffix('.html')}")
