"""Jobs, scores and reports that the test server answers with."""

from __future__ import annotations

from datetime import UTC, datetime

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import (
    AskedHyperparameters,
    Job,
    Method,
    Progress,
    Stage,
    StageName,
    Status,
)
from rolekeeper.contracts.scores import MarginBin, RankedSample, SampleScore, ScoreSummary

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_job(status: Status, stages: tuple[Status, Status, Status], progress: Progress | None = None) -> Job:
    """The job `job_1` with its three stages."""
    return Job(
        id="job_1",
        status=status,
        character="char_1",
        base_model="tiny",
        method=Method(),
        hyperparameters=AskedHyperparameters(),
        evaluation=EvaluationOptions(),
        stages=tuple(
            Stage(name=name, status=stage, attempt=1, progress=progress if stage == Status.RUNNING else None)
            for name, stage in zip(StageName, stages, strict=True)
        ),
        cancel_requested=False,
        created_at=NOW,
    )


def make_scores(num_samples: int) -> list[SampleScore]:
    """Scores of which every third sample is harmful."""
    return [
        SampleScore(
            index=index,
            s_role=0.5,
            s_unsafe=0.75 if index % 3 == 0 else 0.25,
            margin=0.25 if index % 3 == 0 else -0.25,
            harmful=index % 3 == 0,
            selected=index % 3 == 0,
            num_tokens=12,
            role_logprob=-20.0,
            unsafe_logprob=-18.0,
            plain_logprob=-26.0,
        )
        for index in range(num_samples)
    ]


def make_summary() -> ScoreSummary:
    """A summary of four samples."""
    return ScoreSummary(
        num_samples=4,
        num_harmful=2,
        num_selected=1,
        num_held_out=1,
        num_truncated=0,
        harmful_share=Estimate(value=0.5, low=0.15, high=0.85, num_samples=4),
        histogram=(
            MarginBin(low=None, high=0.0, num_samples=2),
            MarginBin(low=0.0, high=0.05, num_samples=0),
            MarginBin(low=0.05, high=None, num_samples=2),
        ),
        most_role_like=(RankedSample(index=17, margin=-0.25, s_role=0.5, s_unsafe=0.25),),
        most_harmful=(RankedSample(index=23, margin=0.25, s_role=0.5, s_unsafe=0.75),),
    )
