"""The scores of a job: what the scorer is asked, which samples are anchored, and the file that holds it all.

There may be 100,000 of them, so they go through files line by line; only flags are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.jobs import Job
from rolekeeper.contracts.scores import SampleScore, ScoreRequest
from rolekeeper.jobs.claims import Work
from rolekeeper.method.selection import select_subset


def score_request(work: Work, dialogues: Sequence[Dialogue]) -> ScoreRequest:
    """Return the request for some of a job's dialogues."""
    method, hyperparameters = work.job.method, work.job.hyperparameters
    return ScoreRequest(
        base_model=work.job.base_model,
        profile=work.profile,
        dialogues=tuple(dialogues),
        prompt_set=method.prompt_set,
        margin=method.margin,
        turns=method.turns,
        max_source_tokens=hyperparameters.max_source_tokens,
        max_response_tokens=hyperparameters.max_response_tokens,
    )


def choose_anchored(job: Job, harmful: Sequence[int], held_out: frozenset[int]) -> frozenset[int]:
    """Return the indexes of the samples that the job's method anchors. Only training samples are chosen, or count.

    `harmful` is 1 or 0 for each sample of the job.
    """
    training = [index for index in range(len(harmful)) if index not in held_out]
    flags = [bool(harmful[index]) for index in training]
    mask = select_subset(job.method.name, flags, job.hyperparameters.seed)
    return frozenset(index for index, is_anchored in zip(training, mask, strict=True) if is_anchored)


def publish_scores(store: Store, draft: IO[bytes], held_out: frozenset[int], selected: frozenset[int]) -> Artifact:
    """Copy the scores of `draft` into the store, each with what the job has decided about its sample."""
    draft.seek(0)
    with store.publish() as writer:
        for line in draft:
            score = SampleScore.model_validate_json(line)
            decided = {"held_out": score.index in held_out, "selected": score.index in selected}
            writer.write(to_line(score.model_copy(update=decided)))
    return writer.artifact


def to_line(score: SampleScore) -> bytes:
    """Return a score as one line of JSON. What is not there is left out."""
    return score.model_dump_json(exclude_none=True).encode() + b"\n"
