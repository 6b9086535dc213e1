"""The scores of a job: what the scorer is asked, which samples are anchored, and the file that holds it all.

There may be 100,000 of them, so they go through files line by line; only flags and margins are held in memory.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.jobs import Job, Method
from rolekeeper.contracts.results import ScorePoint
from rolekeeper.contracts.scores import SampleScore, ScoreRequest
from rolekeeper.jobs.claims import Work
from rolekeeper.method.selection import select_share, select_subset

MAX_POINTS = 1000


class Scored(NamedTuple):
    """What the report needs of a job's scores."""

    num_samples: int
    num_harmful: int
    held_out: tuple[Dialogue, ...]
    points: tuple[ScorePoint, ...] = ()


def read_dialogues(store: Store, sha256: str) -> Iterator[Dialogue]:
    """The character's dialogues, one after the other."""
    return (Dialogue.model_validate_json(line) for line in store.lines(sha256))


def read_scored(store: Store, work: Work) -> Scored:
    """Count a job's scores and take its held-out dialogues."""
    dialogues = store.lines(work.dialogues_sha256)
    scores = store.lines(work.artifacts[ArtifactKind.SCORES].sha256)
    num_samples = num_harmful = 0
    held_out: list[Dialogue] = []
    drawn = Drawn(work.job.hyperparameters.seed)
    for dialogue, line in zip(dialogues, scores, strict=True):
        score = SampleScore.model_validate_json(line)
        num_samples += 1
        num_harmful += score.harmful
        drawn.offer(score)
        if score.held_out:
            held_out.append(Dialogue.model_validate_json(dialogue))
    return Scored(num_samples, num_harmful, tuple(held_out), drawn.points())


class Drawn:
    """Up to 1,000 of the scores that it is offered, each as likely as any other, drawn by the seed.

    Reservoir sampling, algorithm R of Vitter (1985).
    """

    def __init__(self, seed: int, size: int = MAX_POINTS) -> None:
        self._random = random.Random(f"points {seed}")
        self._size = size
        self._num_offered = 0
        self._kept: list[SampleScore] = []

    def offer(self, score: SampleScore) -> None:
        """Keep the score, perhaps, in place of another if there are enough."""
        self._num_offered += 1
        if len(self._kept) < self._size:
            self._kept.append(score)
        elif (place := self._random.randrange(self._num_offered)) < self._size:
            self._kept[place] = score

    def points(self) -> tuple[ScorePoint, ...]:
        """What was kept, in the order of the samples."""
        return tuple(
            ScorePoint(index=score.index, s_role=score.s_role, s_unsafe=score.s_unsafe, harmful=score.harmful)
            for score in sorted(self._kept, key=lambda score: score.index)
        )


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


class Drafted(NamedTuple):
    """What the job's choices need of its scores, in the order of the samples: flags, 1 or 0, and margins.

    `truncated` are those with a response that was cut, 1 or 0.
    """

    harmful: bytearray
    margins: array[float]
    truncated: bytearray


def choose_harmful(method: Method, drafted: Drafted) -> bytearray:
    """Return which samples are harmful, 1 or 0 for each: those that the scorer flags, or a share of them all."""
    if method.harmful_share is None:
        return drafted.harmful
    return bytearray(select_share(drafted.margins, method.harmful_share))


class Chosen(NamedTuple):
    """What a job has decided about its samples: `harmful` is 1 or 0 for each, the others are indexes."""

    harmful: bytearray
    held_out: frozenset[int]
    selected: frozenset[int]


def choose_anchored(job: Job, harmful: Sequence[int], held_out: frozenset[int]) -> frozenset[int]:
    """Return the indexes of the samples that the job's method anchors. Only training samples are chosen, or count.

    `harmful` is 1 or 0 for each sample of the job.
    """
    if job.method.options.anchors == "prompts":
        return frozenset()
    training = [index for index in range(len(harmful)) if index not in held_out]
    flags = [bool(harmful[index]) for index in training]
    mask = select_subset(job.method.name, flags, job.hyperparameters.seed)
    return frozenset(index for index, is_anchored in zip(training, mask, strict=True) if is_anchored)


def publish_scores(store: Store, draft: IO[bytes], chosen: Chosen) -> Artifact:
    """Copy the scores of `draft` into the store, each with what the job has decided about its sample."""
    draft.seek(0)
    with store.publish() as writer:
        for line in draft:
            score = SampleScore.model_validate_json(line)
            decided = {
                "harmful": bool(chosen.harmful[score.index]),
                "held_out": score.index in chosen.held_out,
                "selected": score.index in chosen.selected,
            }
            writer.write(to_line(score.model_copy(update=decided)))
    return writer.artifact


def to_line(score: SampleScore) -> bytes:
    """Return a score as one line of JSON. What is not there is left out."""
    return score.model_dump_json(exclude_none=True).encode() + b"\n"
