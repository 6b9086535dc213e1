"""The train stage, top to bottom: dialogues and scores in, adapter out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.methods import FileOption
from rolekeeper.contracts.scores import SampleScore
from rolekeeper.contracts.training import DataFile, TrainSample, TrainSpec
from rolekeeper.errors import StageInterrupted
from rolekeeper.jobs.claims import Outcome, Work
from rolekeeper.jobs.holding import Holding
from rolekeeper.lm.catalog import load_catalog
from services.trainer.auto import choose_numbers, told
from services.trainer.launch import Program
from services.trainer.settings import Settings


def train(holding: Holding, store: Store, settings: Settings, program: Program) -> None:
    """Train the adapter. Attempts of one job share a folder, so that a later one resumes from the checkpoints."""
    folder = settings.work_dir / holding.work.job.id
    folder.mkdir(parents=True, exist_ok=True)
    result = program.run(write_spec(folder, holding.work, store, settings), holding.report, holding.check)
    artifact = store.put_file(Path(result.adapter_path))
    if artifact.sha256 != result.adapter_sha256:
        raise StageInterrupted("the adapter changed while it was stored", code="storage_corrupt")
    message = (
        f"trained {result.num_steps} steps on {result.num_samples} samples, {result.num_selected} of them anchored, "
        f"loss {result.first_loss:.3f} to {result.last_loss:.3f}"
        f"{told(holding.work.job.hyperparameters, result.hyperparameters)}"
    )
    holding.succeed(Outcome(ArtifactKind.ADAPTER, artifact, message))
    shutil.rmtree(folder, ignore_errors=True)


def write_spec(folder: Path, work: Work, store: Store, settings: Settings) -> Path:
    """Write the samples and the spec of this job; gives the spec's path."""
    samples_path = folder / "samples.jsonl"
    entry = load_catalog(settings.models).get(work.job.base_model)
    num_weights = entry.num_weights if entry else None
    samples_sha256 = write_whole(
        samples_path, (sample.model_dump_json().encode() + b"\n" for sample in training_samples(work, store))
    )
    spec = TrainSpec(
        base_model=work.job.base_model,
        profile=work.profile,
        samples_path=str(samples_path),
        samples_sha256=samples_sha256,
        work_dir=str(folder),
        safe=method_file(work, store, "safe_file"),
        harmful=method_file(work, store, "harmful_file"),
        method=work.job.method,
        hyperparameters=choose_numbers(work.job.hyperparameters, count_lines(samples_path), num_weights),
        models_path=None if settings.models is None else str(settings.models),
        cache_dir=None if settings.cache_dir is None else str(settings.cache_dir),
        checkpoint_seconds=settings.checkpoint_seconds,
        max_batch_tokens=settings.max_batch_tokens,
        request_id=work.request_id,
    )
    spec_path = folder / "spec.json"
    write_whole(spec_path, [spec.model_dump_json(indent=1).encode()])
    return spec_path


def training_samples(work: Work, store: Store) -> Iterator[TrainSample]:
    """All dialogues but the held-out ones, each with its flag: whether it is anchored to the base model.

    Of a dialogue of which all responses are learned, one for each.
    """
    dialogues = store.lines(work.dialogues_sha256)
    scores = store.lines(work.artifacts[ArtifactKind.SCORES].sha256)
    # What chooses in training needs to know how many are harmful, and nothing is selected yet.
    chosen_later = work.job.method.selects_in_training
    for line, score_line in zip(dialogues, scores, strict=True):
        score = SampleScore.model_validate_json(score_line)
        if not score.held_out:
            flag = score.harmful if chosen_later else score.selected
            dialogue = Dialogue.model_validate_json(line)
            for messages in dialogue.up_to_responses(work.job.hyperparameters.learned_turns):
                yield TrainSample(dialogue=Dialogue(messages=messages), harmful=flag)


def method_file(work: Work, store: Store, option: FileOption) -> DataFile | None:
    """The dialogues that an option of the method names, where the store has them; none if it names none."""
    sha256 = work.files.get(option)
    return None if sha256 is None else DataFile(path=str(store.path(sha256).absolute()), sha256=sha256)


def count_lines(path: Path) -> int:
    """Lines of a file."""
    with path.open("rb") as file:
        return sum(1 for _line in file)


def write_whole(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file so that a reader sees all of it or none. Returns the sha256 of its bytes."""
    draft, digest = path.with_suffix(".draft"), hashlib.sha256()
    with draft.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
    draft.replace(path)
    return digest.hexdigest()
