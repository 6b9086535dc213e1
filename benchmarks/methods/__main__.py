"""`python -m benchmarks.methods`: train one character by every method, on the CPU, and say what came of it.

Each way is a run of the training program's own code with the same dialogues, hyperparameters and seed. Safe answers are
the base model's own to twenty of the anchor prompts; harmful ones are the first words of compliance.

What a line says: how many samples were trained on and how many of them anchored; loss of the first and the last step;
CE and KL of the last step, KL of the anchor prompts where they are in it (of what is anchored where that has a limit);
seconds of the whole run, selection included; sha256 of the adapter. ce_after and kl_after are measured when the
training is over, for all ways on the same: CE of all samples and mean KL of those that RDS flags, in nats per token.

Names with a plus are `sarft` with options, a number after kl_limit= is the limit. `--steps` prints what each step told,
five in a second at most. Refusals are not measured here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.methods.outcome import measure_outcome
from benchmarks.methods.ways import all_ways, parse_ways, ways_parser
from benchmarks.methods.workload import Character, Files, make_files, read_character, write_lines
from benchmarks.timing import show
from rolekeeper.contracts.jobs import Hyperparameters, Method, Progress
from rolekeeper.contracts.training import TrainSample, TrainSpec
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel
from rolekeeper.logs import configure_logging
from rolekeeper.method.selection import select_subset
from services.trainer.program.run import Resident, make_deterministic, run_spec


class Ran(NamedTuple):
    """What is said of a run, and what each of its steps told, by its number from 1."""

    figures: dict[str, Any]
    steps: dict[int, dict[str, Any]]


def main() -> None:
    """Train by all ways, or by those that were named."""
    options = _parse()
    configure_logging("benchmarks.methods", "WARNING")
    make_deterministic(options.threads or torch.get_num_threads())
    ways = all_ways(options.kl_limit)
    hyper = Hyperparameters(epochs=options.epochs, batch_size=options.batch_size)
    resident = Resident()
    loaded = resident.load(find_entry(load_catalog(None), options.base_model), None)
    with tempfile.TemporaryDirectory() as folder:
        character = read_character(options.character, options.samples, loaded, hyper)
        files = make_files(Path(folder), loaded, hyper)
        for name in options.ways or ways:
            spec = make_spec(Path(folder) / name, options.base_model, ways[name], hyper, character)
            spec = spec.model_copy(update=needed_files(ways[name], files))
            figures, steps = figures_of(spec, resident, loaded, character.harmful)
            for step, metrics in steps.items() if options.steps else ():
                show(options.json, "methods", f"{name}, step {step}", metrics)
            show(options.json, "methods", name, figures)


def make_spec(folder: Path, base_model: str, method: Method, hyper: Hyperparameters, character: Character) -> TrainSpec:
    """Write the samples with the flags that the method gives them, and return the spec of its run."""
    folder.mkdir()
    flags = select_subset(method.name, character.harmful, hyper.seed)
    flags = character.harmful if method.selects_in_training else flags
    pairs = zip(character.dialogues, flags, strict=True)
    samples = write_lines(
        folder / "samples.jsonl", [TrainSample(dialogue=dialogue, harmful=flag) for dialogue, flag in pairs]
    )
    return TrainSpec(
        base_model=base_model,
        profile=character.profile,
        samples_path=samples.path,
        samples_sha256=samples.sha256,
        work_dir=str(folder),
        method=method,
        hyperparameters=hyper,
        checkpoint_seconds=3600,
    )


def needed_files(method: Method, files: Files) -> dict[str, Any]:
    """The files that a method needs, by field of the spec."""
    return {
        option.removesuffix("_file"): getattr(files, option.removesuffix("_file")) for option in method.needed_files
    }


def figures_of(spec: TrainSpec, resident: Resident, loaded: LoadedModel, harmful: Sequence[bool]) -> Ran:
    """Run a spec, and measure what came of it. `harmful` are RDS's flags, whatever the method took."""
    steps: dict[int, dict[str, Any]] = {}

    def note(progress: Progress) -> None:
        if progress.unit == "steps" and progress.metrics:
            steps[progress.done] = dict(progress.metrics)

    started_at = time.perf_counter()
    result = run_spec(spec, resident, note)
    seconds, metrics = time.perf_counter() - started_at, steps[result.num_steps]
    outcome = measure_outcome(spec, result, loaded, harmful)
    figures = {
        "seconds": seconds,
        "num_steps": result.num_steps,
        "num_samples": result.num_samples,
        "num_selected": result.num_selected,
        "first_loss": result.first_loss,
        "last_loss": result.last_loss,
        "ce": metrics["ce"],
        "kl": metrics["kl"],
        "anchor_kl": metrics.get("anchor_kl"),
        "ce_after": outcome.ce,
        "kl_after": outcome.kl,
        "adapter_sha256": result.adapter_sha256,
        "num_threads": torch.get_num_threads(),
    }
    return Ran(figures, steps)


def _parse() -> argparse.Namespace:
    parser = ways_parser(__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--kl-limit", type=float, action="append", help="limits in nats per token; again for more")
    parser.add_argument("--steps", action="store_true", help="print a line for each step, too")
    parser.add_argument("--threads", type=int, help="another number gives other adapter bytes")
    return parse_ways(parser)


if __name__ == "__main__":
    main()
