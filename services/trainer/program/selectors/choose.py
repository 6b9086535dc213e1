"""The samples that a method chooses by gradients: found before the first step, and kept with the name of the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.training import DataFile, TrainSpec
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.seal import least_safe
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.data import TrainingData, encode_dialogues, read_lines
from services.trainer.program.durable import publish_file, scratch_folder, write_json
from services.trainer.program.failures import BadSpec
from services.trainer.program.meter import Meter, Report
from services.trainer.program.selectors.bi_selection import Tick, bi_selection
from services.trainer.program.selectors.seal import SealSelector

SELECTION = "selection.json"


class ExtraData(NamedTuple):
    """The dialogues that a method needs besides those of the character."""

    safe: tuple[EncodedSample, ...]
    harmful: tuple[EncodedSample, ...]


def choose_samples(
    spec: TrainSpec, loaded: LoadedModel, data: TrainingData, run_digest: str, report: Report
) -> TrainingData:
    """Return the data as the method wants it: with other samples flagged, or without some, or as it is.

    Raises BadSpec if the spec names no file where the method needs one.
    """
    if not spec.method.selects_in_training:
        return data
    extra = ExtraData(_read(spec, loaded, "safe", spec.safe), _read(spec, loaded, "harmful", spec.harmful))
    path = Path(spec.work_dir) / SELECTION
    chosen = _kept(path, run_digest)
    if chosen is None:
        chosen = _choose(spec, loaded, data, extra, report)
        with scratch_folder(path.parent) as scratch:
            write_json(scratch / SELECTION, {"run_digest": run_digest, "chosen": chosen})
            publish_file(scratch / SELECTION, path)
    return without(data, chosen) if spec.method.name == "seal_filter" else anchored(data, chosen)


def anchored(data: TrainingData, chosen: Sequence[int]) -> TrainingData:
    """The same samples with the chosen ones flagged, and no others."""
    flagged = frozenset(chosen)
    return data._replace(harmful=tuple(i in flagged for i in range(len(data.samples))), chosen=tuple(chosen))


def without(data: TrainingData, chosen: Sequence[int]) -> TrainingData:
    """The samples but for the chosen ones, none of them flagged."""
    dropped = frozenset(chosen)
    kept = tuple(sample for index, sample in enumerate(data.samples) if index not in dropped)
    return TrainingData(kept, (False,) * len(kept), tuple(chosen))


def how_many(method: Method, data: TrainingData) -> int:
    """As many as are harmful for the role, so that methods compare; for the filter, what it does not keep."""
    if method.name == "seal_filter":
        return len(data.samples) - max(1, int(method.options.keep_share * len(data.samples)))
    return sum(data.harmful)


def _choose(spec: TrainSpec, loaded: LoadedModel, data: TrainingData, extra: ExtraData, report: Report) -> list[int]:
    count, hyper = how_many(spec.method, data), spec.hyperparameters
    epochs = 1 if spec.method.name == "bi_selection" else spec.method.options.selector_epochs
    tick = ticker(epochs * len(data.samples), report)
    with fresh_adapter(loaded.model, hyper) as policy:
        if spec.method.name == "bi_selection":
            return bi_selection(policy, data.samples, (extra.harmful, extra.safe), count, tick)
        selector = SealSelector(policy, data.samples, extra.safe, hyper)
        return least_safe(selector.run(epochs, spec.max_batch_tokens, tick), count)


def _read(spec: TrainSpec, loaded: LoadedModel, name: str, file: DataFile | None) -> tuple[EncodedSample, ...]:
    if f"{name}_file" not in spec.method.needed_files:
        return ()
    if file is None:
        raise BadSpec(f"{name}: {spec.method.name} needs a file of dialogues here, with path and sha256")
    return encode_dialogues(read_lines(Path(file.path), file.sha256, Dialogue), loaded, spec, file.path)


def _kept(path: Path, run_digest: str) -> list[int] | None:
    """What an earlier attempt at this very run chose."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return list(content["chosen"]) if content["run_digest"] == run_digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ticker(total: int, report: Report) -> Tick:
    """Return what is to be called after each of so many samples: it reports how many were looked at."""
    meter, done = Meter(total, 0, lambda progress: report(_of_selection(progress))), 0

    def tick() -> None:
        nonlocal done
        done += 1
        meter.update(done, {})

    return tick


def _of_selection(progress: Progress) -> Progress:
    return progress.model_copy(update={"unit": "samples looked at"})
