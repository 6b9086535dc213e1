"""Tables for people. Rates and shares are shown as they are in the report: between 0 and 1."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.jobs import Job, Stage
from rolekeeper.contracts.release import AuditEntry
from rolekeeper.contracts.scores import RankedSample, SampleScore, ScoreSummary

ESTIMATE = "{0.value:.3f} [{0.low:.3f}, {0.high:.3f}]"


def jobs_table(jobs: Iterable[Job]) -> Table:
    """One row a job. Fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("job", "status", "base model", "method", "harmful", "created"):
        table.add_column(column, no_wrap=column in ("job", "harmful", "created"), overflow="fold")
    for job in jobs:
        share = "" if job.harmful_share is None else f"{job.harmful_share:.3f}"
        status = " ".join(part for part in (job.status, stage_summary(job)) if part)
        table.add_row(job.id, status, job.base_model, job.method.name, share, f"{job.created_at:%d %b %H:%M}")
    return table


def scores_table(scores: Iterable[SampleScore]) -> Table:
    """One row a sample."""
    table = Table()
    for column in ("sample", "s_role", "s_unsafe", "margin", "harmful", "tokens"):
        table.add_column(column, justify="right")
    for score in scores:
        harmful = Text("harmful", style="red") if score.harmful else Text("")
        table.add_row(*_sample_cells(score), harmful, str(score.num_tokens))
    return table


def summary_tables(summary: ScoreSummary) -> Group:
    """The harmful share, the histogram of the margins, and the samples at both ends."""
    share = f"harmful share {_estimate(summary.harmful_share)}: {summary.num_harmful} of {summary.num_samples} samples"
    counts = f"{summary.num_selected} anchored, {summary.num_held_out} held out, {summary.num_truncated} cut"
    histogram = Table(title="margins: s_unsafe - s_role, nats per token")
    for column in ("above", "up to", "samples"):
        histogram.add_column(column, justify="right")
    for bin_ in summary.histogram:
        histogram.add_row(_edge(bin_.low), _edge(bin_.high), str(bin_.num_samples))
    ends = (("most role-like", summary.most_role_like), ("most harmful", summary.most_harmful))
    return Group(share, counts, histogram, *(_ranked_table(title, samples) for title, samples in ends))


def stage_summary(job: Job) -> str:
    """The stage that a job is in, and how far that is: `train 40/66 steps`."""
    current = next((stage for stage in job.stages if stage.status in ("running", "queued")), None)
    return "" if current is None else f"{current.name} {stage_progress(current)}".strip()


def stage_progress(stage: Stage) -> str:
    """How far a stage is: `40/66 steps`."""
    progress = stage.progress
    return "" if progress is None else f"{progress.done}/{progress.total} {progress.unit}"


def _ranked_table(title: str, samples: Iterable[RankedSample]) -> Table:
    table = Table(title=title)
    for column in ("sample", "s_role", "s_unsafe", "margin"):
        table.add_column(column, justify="right")
    for sample in samples:
        table.add_row(*_sample_cells(sample))
    return table


def _sample_cells(sample: SampleScore | RankedSample) -> tuple[str, ...]:
    return (str(sample.index), f"{sample.s_role:+.4f}", f"{sample.s_unsafe:+.4f}", f"{sample.margin:+.4f}")


def _edge(edge: float | None) -> str:
    return "" if edge is None else f"{edge:g}"


def _estimate(estimate: Estimate) -> str:
    return ESTIMATE.format(estimate)


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    """One row a decision."""
    table = Table()
    for column in ("when", "action", "key", "job", "adapter", "note"):
        table.add_column(column, no_wrap=column in ("when", "job"))
    for entry in entries:
        table.add_row(
            f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
            entry.action,
            entry.key_id or "",
            entry.job or "",
            (entry.adapter_sha256 or "")[:12],
            entry.note or "",
        )
    return table
