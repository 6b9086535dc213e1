"""Score and train one arm of one character, as the product does it. What was done before is found again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.methods.workload import write_lines
from benchmarks.reproduce.cells import digest_of
from benchmarks.reproduce.characters import Cast
from benchmarks.reproduce.plan import Arm, Ready
from benchmarks.reproduce.selection import pick_share
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.scores import ScoreRequest
from rolekeeper.contracts.training import TrainResult, TrainSample, TrainSpec
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.method.selection import select_share, select_subset
from services.scorer.engine import make_engine
from services.scorer.scoring import score_dialogues
from services.trainer.auto import choose_numbers
from services.trainer.launch import MatmulPrecision
from services.trainer.program.run import Resident, run_spec

CACHE_MIB = 256
MAX_BATCH_TOKENS = 2048
CHECKPOINT_SECONDS = 60.0


class Made(NamedTuple):
    """Where things are made: the base model, the folder of what is kept, and what all of it depends on."""

    base_model: str
    models_path: Path | None
    state: Path
    dependencies: tuple[str, ...]
    matmul_precision: MatmulPrecision = "highest"


class Scores(NamedTuple):
    """Margins of the training dialogues and the flags that the method's threshold gives them."""

    margins: list[float]
    harmful: list[bool]
    seconds: float


class Trained(NamedTuple):
    """An adapter, which samples it was anchored on, and the CPU seconds that its making took."""

    result: TrainResult
    method: Method
    flagged_share: float
    anchored_share: float
    seconds: dict[str, float]


def train_arm(arm: Arm, ready: Ready, cast: Cast, models: ResidentModels, made: Made) -> Trained:
    """Score the dialogues, choose, and train. The adapter stays in the folder of what is kept."""
    if ready.method.needed_files:
        raise InvalidInput(f"method {ready.method.name} needs files of dialogues, and the study has none; leave it out")
    scores = score(ready, cast, models, made)
    anchored = choose(arm, ready.method, scores, ready.hyperparameters.seed)
    started_at = time.process_time()
    spec = _spec(arm, ready, cast, anchored, made)
    resident = Resident()
    with _matmuls(made.matmul_precision):
        result = run_spec(spec, resident, lambda _progress: None)
    resident.forget()
    seconds = {"score": round(scores.seconds, 1), "train": round(time.process_time() - started_at, 1)}
    return Trained(result, ready.method, _share(scores.harmful), _share(anchored), seconds)


@contextmanager
def _matmuls(precision: MatmulPrecision) -> Iterator[None]:
    """Train as a trainer of this setting does; scores and answers are computed as before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose(arm: Arm, method: Method, scores: Scores, seed: int) -> list[bool]:
    """Which training samples are anchored: the arm's share of them, or those that the product's method takes."""
    if method.options.anchors == "prompts":
        return [False] * len(scores.harmful)
    if arm.share is not None:
        return pick_share(scores.margins, arm.share, arm.pick, seed)
    harmful = scores.harmful
    if method.harmful_share is not None:
        harmful = select_share(scores.margins, method.harmful_share)
    return select_subset(method.name, harmful, seed)


def score(ready: Ready, cast: Cast, models: ResidentModels, made: Made) -> Scores:
    """Margins and flags of the training dialogues, from the scorer's own code; the same are computed once."""
    hyper, method = ready.hyperparameters, ready.method
    request = ScoreRequest(
        base_model=made.base_model,
        profile=cast.profile,
        dialogues=cast.training,
        prompt_set=method.prompt_set,
        margin=method.margin,
        turns=method.turns,
        max_source_tokens=hyper.max_source_tokens,
        max_response_tokens=hyper.max_response_tokens,
    )
    path = made.state / "scores" / f"{digest_of([request.model_dump(mode='json'), made.dependencies])}.json"
    if path.is_file():
        return Scores(**json.loads(path.read_text("utf-8")))
    started_at = time.process_time()
    with models.use(made.base_model) as loaded:
        found = score_dialogues(loaded, request, make_engine(CACHE_MIB, MAX_BATCH_TOKENS))
    seconds = time.process_time() - started_at
    scores = Scores([each.margin for each in found], [each.harmful for each in found], seconds)
    write_whole(path, scores._asdict())
    return scores


def write_whole(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees all of it or none."""
    write_text_whole(path, json.dumps(content, ensure_ascii=False, indent=1))


def write_text_whole(path: Path, text: str) -> None:
    """Write a text so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two children may write the same scores at once.
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _spec(arm: Arm, ready: Ready, cast: Cast, anchored: Sequence[bool], made: Made) -> TrainSpec:
    entry = find_entry(load_catalog(made.models_path), made.base_model)
    hyper = choose_numbers(ready.hyperparameters, len(cast.training), entry.num_weights)
    settings = [cast.digest, arm.model_dump(mode="json"), ready.method.model_dump(mode="json"), hyper.model_dump()]
    folder = made.state / "work" / digest_of([settings, list(anchored), made.dependencies, made.matmul_precision])
    folder.mkdir(parents=True, exist_ok=True)
    pairs = zip(cast.training, anchored, strict=True)
    samples = write_lines(
        folder / "samples.jsonl", [TrainSample(dialogue=dialogue, harmful=flag) for dialogue, flag in pairs]
    )
    return TrainSpec(
        base_model=made.base_model,
        profile=cast.profile,
        samples_path=samples.path,
        samples_sha256=samples.sha256,
        work_dir=str(folder),
        method=ready.method,
        hyperparameters=hyper,
        models_path=None if made.models_path is None else str(made.models_path),
        cache_dir=str(made.state / "weights"),
        checkpoint_seconds=CHECKPOINT_SECONDS,
        max_batch_tokens=MAX_BATCH_TOKENS,
    )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
