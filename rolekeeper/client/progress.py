"""Following a job on stderr: bars on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rolekeeper.client.client import Client
from rolekeeper.client.tables import stage_progress
from rolekeeper.contracts.jobs import TERMINAL, Job, Stage, StageName, Status
from rolekeeper.errors import RolekeeperError

OnUpdate = Callable[[Job], None]

POLL_SECONDS = 1.0
NOT_BEGUN = (Status.PENDING, Status.QUEUED, Status.PAUSED)


class JobBars:
    """One bar for each stage of a job. Call it with every state of the job that is seen."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[StageName, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, job: Job) -> None:
        """Show this state of the job."""
        for stage in _as_shown(job):
            if stage.name not in self._tasks:
                self._tasks[stage.name] = self._bars.add_task(stage.name, start=False, total=None, detail="")
            self._show(self._tasks[stage.name], stage)

    def _show(self, task: TaskID, stage: Stage) -> None:
        if stage.status not in NOT_BEGUN:
            self._bars.start_task(task)
        done, total = (stage.progress.done, stage.progress.total) if stage.progress else (0, None)
        if stage.status == Status.SUCCEEDED:
            done = total = total or 1
        self._bars.update(task, completed=done, total=total, detail=stage_detail(stage))
        if stage.status in TERMINAL:
            self._bars.stop_task(task)


class JobLines:
    """One line on stderr for each stage that changes its status."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[StageName, Status] = {}

    def __call__(self, job: Job) -> None:
        """Print what changed since the last state."""
        for stage in _as_shown(job):
            if stage.status not in (self._seen.get(stage.name), Status.PENDING):
                self._console.print(f"{stage.name} {stage_detail(stage)}", highlight=False, markup=False)
            self._seen[stage.name] = stage.status


def _as_shown(job: Job) -> list[Stage]:
    """The stages; the one that waits in a paused job is shown as paused."""
    if job.status != Status.PAUSED:
        return list(job.stages)
    return [
        stage.model_copy(update={"status": Status.PAUSED}) if stage.status == Status.QUEUED else stage
        for stage in job.stages
    ]


def stage_detail(stage: Stage) -> str:
    """A stage in a few words: `running, 40/66 steps, loss 2.10, 35 s left`."""
    words = [str(stage.status), stage_progress(stage)]
    if stage.progress is not None and stage.status == Status.RUNNING:
        words += [f"{name} {value:.3g}" for name, value in stage.progress.metrics.items()]
        eta = stage.progress.eta_seconds
        words.append("" if eta is None else f"{eta:.0f} s left")
    return ", ".join(word for word in words if word)


def follow(client: Client, job_id: str, console: Console, on_update: OnUpdate | None = None) -> Job:
    """Follow the job to its end and show it on `console`, which writes to stderr.

    With `on_update`, which gets every state that is seen, nothing is written to a stderr that is not a terminal.
    """
    with contextlib.ExitStack() as stack:
        watchers: list[OnUpdate] = []
        if console.is_terminal:
            watchers.append(stack.enter_context(JobBars(console)))
        elif on_update is None:
            watchers.append(JobLines(console))
        if on_update is not None:
            watchers.append(on_update)

        def tell(job: Job) -> None:
            for watcher in watchers:
                watcher(job)

        return client.wait(job_id, tell, POLL_SECONDS)


def tell_retry(console: Console, error: RolekeeperError, seconds: float) -> None:
    """Say that the API is away and when it is tried again."""
    if console.is_terminal:
        console.print(
            f"{error.message}; trying again in {seconds:.0f} s", highlight=False, markup=False, style="yellow"
        )
