"""Makes smollm2-135m-aligned: `python -m benchmarks.align_base --data DATA --out FOLDER [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from benchmarks.align_base.answers import Progress, RawAnswers
from benchmarks.align_base.data import (
    Pair,
    Request,
    Scene,
    TrainingRequests,
    draw_training_requests,
    prompt_digests,
)
from benchmarks.align_base.measure import draw_texts, encode_pair, measure_losses, measure_refusals
from benchmarks.align_base.prompts import read_lists
from benchmarks.align_base.record import Measured, Record, loss_cases, refusal_cases, table
from benchmarks.align_base.ship import (
    RECIPE_FILE,
    WEIGHTS_FILE,
    digest_inputs,
    package_versions,
    save_adapter,
    write_json,
)
from benchmarks.align_base.suites import Suite, draw_suites, find_leaks
from benchmarks.align_base.train import EncodedScene, Hyperparameters, Samples, StepLosses, train_adapter
from benchmarks.reproduce.cells import digest_of
from rolekeeper.errors import InvalidInput, RolekeeperError
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import EncodedSample, Encoder
from rolekeeper.lm.load import LoadedModel, attach_adapter, load_base
from rolekeeper.method.refusal import is_refusal

RECIPE_VERSION = "4"
RAW = "smollm2-135m"
MAX_REFUSAL_TOKENS = 48
MAX_KEPT_TOKENS = 128


@dataclass(frozen=True)
class Options:
    """The command line."""

    data: Path
    out: Path
    seed: int
    threads: int
    answers: Path | None
    as_json: bool


@dataclass
class Reporter:
    """Progress on stderr, a line at most every five seconds."""

    started: float = field(default_factory=time.monotonic)
    last: float = 0.0

    def tell(self, text: str, always: bool = False) -> None:
        """Prints the seconds since the start and the text."""
        now = time.monotonic()
        if always or now - self.last > 5:
            self.last = now
            print(f"[{now - self.started:5.0f} s] {text}", file=sys.stderr, flush=True)

    def counter(self, what: str) -> Callable[[int, int], None]:
        """A callback that tells how many are done."""
        return lambda done, total: self.tell(f"{what}: {done} of {total}", always=done == total)

    def step(self, done: int, total: int, losses: StepLosses) -> None:
        """Tells a training step."""
        figures = ", ".join(f"{name} {loss:.4f}" for name, loss in losses._asdict().items())
        self.tell(f"train: step {done} of {total}, {figures}", always=done == total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the recipe. Exit 0, or 2 with the reason where the input can't be used."""
    options = parse(arguments)
    try:
        record = make(options, Reporter())
    except RolekeeperError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    cases = [*record["cases"], *record["losses"]]
    for line in map(json.dumps, cases) if options.as_json else table(record):
        print(line)
    return 0


def parse(arguments: Sequence[str] | None) -> Options:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.align_base", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with advbench/, xstest/ and so on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="the bytes of the adapter depend on it")
    parser.add_argument("--answers", type=Path, help="file that keeps the raw model's answers for the next run")
    parser.add_argument("--json", action="store_true", dest="as_json")
    return Options(**vars(parser.parse_args(arguments)))


def make(options: Options, reporter: Reporter) -> Record:
    """Trains, ships and measures; returns what recipe.json holds."""
    torch.set_num_threads(options.threads)
    lists = read_lists()
    training = draw_training_requests(options.data, lists, options.seed)
    suites = draw_suites(options.data, lists, options.seed)
    refuse_leaks(training, suites)
    loaded = load_base(find_entry(load_catalog(), RAW), device="cpu")
    hyperparameters = Hyperparameters()
    answers = RawAnswers(options.answers, made_by=digest_of([loaded.digest, package_versions()]))
    samples = encode_samples(Distiller(loaded, answers), training, hyperparameters, reporter)
    train_and_save(loaded, samples, hyperparameters, options, reporter)
    raw, aligned = measure_both(options, suites, reporter)
    limits = {"max_refusal_tokens": MAX_REFUSAL_TOKENS, "max_kept_tokens": MAX_KEPT_TOKENS}
    record: Record = {
        "recipe": "benchmarks.align_base",
        "recipe_version": RECIPE_VERSION,
        "seed": options.seed,
        "threads": options.threads,
        "hyperparameters": asdict(hyperparameters) | limits,
        "num_samples": count_samples(samples),
        "packages": package_versions(),
        "sha256": digest_inputs(options.data, loaded.entry.location, str(loaded.entry.gguf_file)),
        "prompts_sha256": prompt_digests(training),
        "cases": refusal_cases(suites, raw, aligned),
        "losses": loss_cases(raw, aligned),
        "seconds": round(time.monotonic() - reporter.started),
    }
    write_json(options.out / RECIPE_FILE, record)
    return record


def count_samples(samples: Samples) -> dict[str, int]:
    """How many samples of each kind there are."""
    refused, answered = (sum(map(len, kind)) for kind in zip(*samples.plain, *samples.role, strict=True))
    return {"refused": refused, "answered": answered, "kept": len(samples.kept)}


def refuse_leaks(training: TrainingRequests, suites: Sequence[Suite]) -> None:
    """Raises InvalidInput when a measured prompt would be trained on."""
    leaks = find_leaks(training, suites)
    if leaks:
        raise InvalidInput(f"{len(leaks)} measured prompts are trained on, the first is {leaks[0]!r}: take them out")


def encode_samples(
    distiller: Distiller, training: TrainingRequests, hyperparameters: Hyperparameters, reporter: Reporter
) -> Samples:
    """Token ids of all that is trained on."""
    whole = Encoder(distiller.loaded.tokenizer, max_response_tokens=MAX_KEPT_TOKENS)
    told = distiller.answer(whole, training.told, reporter.counter("long answers"))
    written = [encode_pair(whole, pair) for pair in training.written]
    return Samples(
        plain=encode_scenes(distiller, training.plain, hyperparameters, reporter.counter("plain scenes")),
        role=encode_scenes(distiller, training.role, hyperparameters, reporter.counter("scenes with a profile")),
        kept=[*(sample for sample in told if sample), *written],
    )


def encode_scenes(
    distiller: Distiller, scenes: Sequence[Scene], hyperparameters: Hyperparameters, progress: Progress
) -> list[EncodedScene]:
    """Token ids of scenes, with the first tokens of the raw model's own answers."""
    tokenizer = distiller.loaded.tokenizer
    refusals = Encoder(tokenizer, max_response_tokens=MAX_REFUSAL_TOKENS)
    first = Encoder(tokenizer, max_response_tokens=hyperparameters.first_tokens)
    encoded: list[EncodedScene] = []
    # What prompts share is read once: scenes with one system text go together, and the others each alone.
    for _, alike in groupby(scenes, key=lambda scene: scene.system):
        group = list(alike)
        answers = iter(distiller.answer(first, [request for scene in group for request in scene.answered]))
        for scene in group:
            refused = [encode_pair(refusals, pair) for pair in scene.refused]
            answered = [sample for sample in islice(answers, len(scene.answered)) if sample]
            encoded.append(EncodedScene(refused, answered))
        progress(len(encoded), len(scenes))
    return encoded


@dataclass(frozen=True)
class Distiller:
    """The raw model and the answers that it gave."""

    loaded: LoadedModel
    answers: RawAnswers

    def answer(
        self, encoder: Encoder, requests: Sequence[Request], progress: Progress = lambda *_: None
    ) -> list[EncodedSample | None]:
        """The raw model's own answers; none where it refuses or says nothing."""
        # Some tokens more than are kept, so that an answer which was cut here is also seen as cut by the encoder.
        most = encoder.max_response_tokens + 4
        answers = self.answers.to(self.loaded.model, encoder, requests, most, progress)
        return [
            encode_pair(encoder, Pair(request, text)) if text and not is_refusal(text) else None
            for request, text in zip(requests, answers, strict=True)
        ]


def train_and_save(
    loaded: LoadedModel, samples: Samples, hyperparameters: Hyperparameters, options: Options, reporter: Reporter
) -> None:
    """Trains on the loaded model, which is of no use afterwards, and saves the adapter."""
    policy = train_adapter(loaded.model, samples, hyperparameters, options.seed, reporter.step)
    save_adapter(policy, options.out)
    reporter.tell(f"wrote {options.out / WEIGHTS_FILE}", always=True)


def measure_both(options: Options, suites: Sequence[Suite], reporter: Reporter) -> tuple[Measured, Measured]:
    """Measures a fresh base model, and what was shipped: the fp16 adapter, read back and merged into that model."""
    loaded = load_base(find_entry(load_catalog(), RAW), device="cpu")
    with attach_adapter(loaded, options.out) as model:
        aligned = measure(loaded, model, options, suites, reporter)
    reporter.tell(f"aligned: {json.dumps(aligned)}", always=True)
    return measure(loaded, loaded.model, options, suites, reporter), aligned


def measure(
    loaded: LoadedModel, model: PreTrainedModel, options: Options, suites: Sequence[Suite], reporter: Reporter
) -> Measured:
    """Measures one model on all suites and texts."""
    encoder = Encoder(loaded.tokenizer)
    losses = measure_losses(model, draw_texts(options.data, encoder, options.seed))
    return Measured(measure_refusals(model, encoder, suites, reporter.counter("measure")), losses)


if __name__ == "__main__":
    sys.exit(main())
