"""Jobs, scores and reports that the test server answers with."""

from __future__ import annotations

from datetime import UTC, datetime

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import (
    AskedHyperparameters,
    Hyperparameters,
    Job,
    Method,
    Progress,
    Stage,
    StageName,
    Status,
)
from rolekeeper.contracts.report import Comparison, SafetyReport, SuiteUsed
from rolekeeper.contracts.scores import MarginBin, RankedSample, SampleScore, ScoreSummary
from rolekeeper.contracts.training import TrainingRecord
from rolekeeper.contracts.verdicts import JudgeUsed

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADAPTER_SHA256 = "fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83"


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


def make_report() -> SafetyReport:
    """A report with one measure that fell and one that rose."""
    rates = (
        Estimate(value=0.95, low=0.83, high=0.986, num_samples=40),
        Estimate(value=0.9, low=0.77, high=0.96, num_samples=40),
    )
    fidelity = (
        Estimate(value=0.11, low=0.08, high=0.14, num_samples=17),
        Estimate(value=0.21, low=0.16, high=0.26, num_samples=17),
    )
    return SafetyReport(
        job="job_1",
        character="char_1",
        created_at=NOW,
        base_model="tiny",
        base_digest="b" * 64,
        adapter_sha256=ADAPTER_SHA256,
        dialogues_sha256="d" * 64,
        scores_sha256="5" * 64,
        suites=(
            SuiteUsed(
                label="starter",
                name="starter",
                sha256="e" * 64,
                licence="Apache-2.0",
                source="shipped with Rolekeeper",
                num_prompts=120,
                num_total=120,
            ),
        ),
        judges=(JudgeUsed(name="phrases", version="phrases@1", note="a list of phrases"),),
        decoding="greedy",
        num_training_samples=158,
        num_held_out=18,
        harmful_share=Estimate(value=0.3, low=0.24, high=0.37, num_samples=158),
        method=Method(),
        hyperparameters=AskedHyperparameters(),
        training=TrainingRecord(
            hyperparameters=Hyperparameters(),
            num_steps=30,
            first_loss=3.0,
            last_loss=2.0,
            validation_losses=(2.5, 2.25),
        ),
        evaluation=EvaluationOptions(),
        measures=(
            Comparison(
                name="refusal_rate", description="", better="higher", base=rates[0], tuned=rates[1], difference=-0.05
            ),
            Comparison(
                name="role_fidelity",
                description="",
                better="higher",
                base=fidelity[0],
                tuned=fidelity[1],
                difference=0.1,
            ),
        ),
        answers=(),
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
