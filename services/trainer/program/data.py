"""From the samples file to global batches.

The order depends on the seed and the epoch only, so a run that resumes at any step sees what it would have seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError
from torch import Tensor

from rolekeeper.contracts.characters import Context, Dialogue
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.training import TrainSample, TrainSpec
from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.encode import EncodedSample, Encoder
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import build_contexts
from services.trainer.program.failures import BadData
from services.trainer.program.spec import explain

Line = TypeVar("Line", bound=Contract)


class TrainingData(NamedTuple):
    """Encoded samples, and which of them are in the harmful subset, in the order of the file.

    `chosen` are the lines, from 0, that a method anchored or left out by its own choice, if it made one. `anchors` are
    the base model's own answers to the anchor prompts, where the method holds the policy to those.
    `validation` are the positions of those that are not trained on. `token_weights` are what the KL at each response
    token of a flagged sample counts, by the sample's position; where there are none, all count 1.
    """

    samples: tuple[EncodedSample, ...]
    harmful: tuple[bool, ...]
    chosen: tuple[int, ...] | None = None
    anchors: tuple[EncodedSample, ...] = ()
    validation: tuple[int, ...] = ()
    token_weights: dict[int, Tensor] | None = None

    @property
    def training(self) -> list[int]:
        """The positions of those that are trained on."""
        held = frozenset(self.validation)
        return [index for index in range(len(self.samples)) if index not in held]

    @property
    def num_truncated(self) -> int:
        """How many of those that are trained on have lost the end of their response to its limit."""
        return sum(self.samples[index].truncated for index in self.training)


class GlobalBatch(NamedTuple):
    """The samples of one optimizer step: indices into the training data."""

    step: int
    indices: tuple[int, ...]
    ends_epoch: bool = False


def read_samples(path: Path, sha256: str) -> list[TrainSample]:
    """Read a JSONL of TrainSample whose bytes have the digest `sha256`. Raises BadData, which names the line."""
    return read_lines(path, sha256, TrainSample)


def read_lines(path: Path, sha256: str, kind: type[Line]) -> list[Line]:
    """Read a JSONL of some contract whose bytes have the digest `sha256`. Raises BadData, which names the line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: the training data can't be read: {error.strerror}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise BadData(f"{path}: the training data has sha256 {actual}, but the spec says {sha256}")
    samples = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            samples.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise BadData(f"{path}, line {number}: {explain(error)}") from error
    if not samples:
        raise BadData(f"{path}: the training data holds no sample")
    return samples


def system_prompt(spec: TrainSpec) -> str:
    """The system turn that the character is trained under; empty for the plain context."""
    return system_of(spec, spec.hyperparameters.context)


def system_of(spec: TrainSpec, context: Context) -> str:
    """The character's system turn in a context; empty for the plain one."""
    contexts = build_contexts(spec.profile.name, spec.profile.profile)
    return contexts.role if context is Context.ROLE else contexts.plain


def encode_samples(samples: Sequence[TrainSample], loaded: LoadedModel, spec: TrainSpec) -> TrainingData:
    """Turn samples into token ids for the base model. Raises BadData, which names the line."""
    encoded = encode_dialogues([sample.dialogue for sample in samples], loaded, spec, spec.samples_path)
    return TrainingData(encoded, tuple(sample.harmful for sample in samples))


def encode_dialogues(
    dialogues: Sequence[Dialogue], loaded: LoadedModel, spec: TrainSpec, path: str
) -> tuple[EncodedSample, ...]:
    """Turn dialogues, the lines of `path`, into token ids. Raises BadData, which names the line."""
    encoder, system = make_encoder(loaded, spec), system_prompt(spec)
    return tuple(
        encode_line(encoder, system, dialogue, f"{path}, line {number}")
        for number, dialogue in enumerate(dialogues, start=1)
    )


def make_encoder(loaded: LoadedModel, spec: TrainSpec) -> Encoder:
    """The encoder of a run's dialogues."""
    hyper, is_official = spec.hyperparameters, spec.method.options.compat == "official"
    limits = (hyper.max_source_tokens, hyper.max_response_tokens, loaded.window)
    return Encoder(loaded.tokenizer, *limits, ends_with_eos=is_official)


def encode_line(encoder: Encoder, system: str, dialogue: Dialogue, where: str) -> EncodedSample:
    """Turn a dialogue under a system prompt into token ids. Raises BadData, which says where it stands."""
    try:
        return encoder.encode(system, dialogue.messages)
    except RolekeeperError as error:
        raise BadData(f"{where}: {error.message}") from error


def hold_out(data: TrainingData, hyper: Hyperparameters) -> TrainingData:
    """Keep a share of the samples, drawn by the seed, from training: none of them is anchored. Raises BadData."""
    if hyper.validation_share == 0:
        return data
    num_samples = len(data.samples)
    if num_samples < 2:
        raise BadData("validation_share needs at least two samples, one to train on and one to measure the loss on")
    count = min(max(1, round(hyper.validation_share * num_samples)), num_samples - 1)
    held = random.Random(f"validation {hyper.seed}").sample(range(num_samples), count)
    harmful = tuple(flag and index not in held for index, flag in enumerate(data.harmful))
    return data._replace(harmful=harmful, validation=tuple(sorted(held)))


def count_steps(num_samples: int, hyper: Hyperparameters) -> int:
    """Optimizer steps of the whole run. The last batch of an epoch may be smaller."""
    return hyper.epochs * _steps_per_epoch(num_samples, hyper)


def global_batches(samples: Sequence[int], hyper: Hyperparameters, first_step: int = 0) -> Iterator[GlobalBatch]:
    """Yield the batches of all steps from `first_step` on. Each epoch holds every one of `samples` once."""
    per_epoch = _steps_per_epoch(len(samples), hyper)
    for epoch in range(first_step // per_epoch, hyper.epochs):
        order = epoch_order(len(samples), hyper.seed, epoch)
        for within in range(max(0, first_step - epoch * per_epoch), per_epoch):
            places = order[within * hyper.batch_size : (within + 1) * hyper.batch_size]
            indices = tuple(samples[place] for place in places)
            yield GlobalBatch(epoch * per_epoch + within, indices, within == per_epoch - 1)


def epoch_order(num_samples: int, seed: int, epoch: int) -> list[int]:
    """Return a permutation of the samples that depends on nothing but its arguments."""
    order = list(range(num_samples))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _steps_per_epoch(num_samples: int, hyper: Hyperparameters) -> int:
    return -(-num_samples // hyper.batch_size)
