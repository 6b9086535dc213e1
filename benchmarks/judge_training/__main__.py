"""Makes the judge `local` and measures it: `python -m benchmarks.judge_training --data shared/data/judge_calibration`.

Writes the weights, and what was measured of `local` and `phrases`, into the evaluator's folder; prints the latter.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch

from benchmarks.judge_training.fit import Examples, Salad, Weights, cross_validate, fit, fit_salad
from benchmarks.judge_training.salad import make_salads
from benchmarks.judge_training.written import Example, read_voices
from rolekeeper.contracts.verdicts import Calibration, Judgement, Label
from services.evaluator.judges import local, phrases
from services.evaluator.judges.calibration import calibrate, confusion, read_labels
from services.evaluator.judges.embedder import load_embedder
from services.evaluator.judges.local import Local
from services.evaluator.judges.measured import FILE, MEASURED
from services.evaluator.judges.phrases import Phrases
from services.evaluator.judges.protocol import Exchange
from services.evaluator.judges.reader import load_reader

SALAD_SEED = 3
LABELS_FILE = "refusal_labels.jsonl"
HUMAN = "human labels of PyRIT and XSTest answers, five-fold cross-validation by prompt"
HUMAN_PHRASES = "human labels of PyRIT and XSTest answers"
SERVED = "answers of small models before and after training, plain and in character, labelled for Rolekeeper"
VOICES = "in-character answers written for Rolekeeper, in voices that were not trained on"


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, measure, write. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge_training", description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help=f"folder with {LABELS_FILE}")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    arguments = parser.parse_args(argv)
    human = [Example(item, item.exchange.request.lower()) for item in read_labels(arguments.data / LABELS_FILE)]
    # Babble is found by a rule: there is nothing to fit, and the rule is tested on that of the unseen part.
    seen = [example for example in read_voices("seen") if example.labelled.label is not Label.INCOHERENT]
    unseen, served = read_voices("unseen"), read_voices("served")
    of_human, of_seen = embed(human), embed(seen)
    held_out = [Judgement(label=label) for label in cross_validate(of_human, of_seen)]
    language_BF = torch.cat([of_human.features_BF, of_seen.features_BF])
    salad = fit_salad(language_BF, features_of(salads_of([*human, *seen])))
    save(fit(language_BF, [*of_human.labels, *of_seen.labels]), salad)
    measured = {
        local.NAME: (
            calibrate(of_human.labels, held_out, HUMAN),
            judge_all(Local(), unseen, VOICES),
            judge_all(Local(), served, SERVED, corrects=True),
        ),
        phrases.NAME: (
            judge_all(Phrases(), human, HUMAN_PHRASES),
            judge_all(Phrases(), unseen, VOICES),
            judge_all(Phrases(), served, SERVED, corrects=True),
        ),
    }
    FILE.write_text(
        json.dumps(MEASURED.dump_python(measured, mode="json"), indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    print_measured(measured, arguments.json)
    print_confusion(unseen)
    print_salads(unseen)
    return 0


def embed(examples: Sequence[Example]) -> Examples:
    """The features of examples, with their labels and groups."""
    features_BF = features_of([example.labelled.exchange for example in examples])
    labels = [example.labelled.label for example in examples]
    return Examples(features_BF, labels, [example.group for example in examples])


def features_of(exchanges: Sequence[Exchange]) -> torch.Tensor:
    """What the judge sees of exchanges, BF."""
    return local.features(local.Models(load_embedder(), load_reader()), exchanges)


def salads_of(examples: Sequence[Example]) -> list[Exchange]:
    """A salad for each answer that is long enough, always the same ones."""
    exchanges = [example.labelled.exchange for example in examples]
    return make_salads(exchanges, load_reader().tokenizer, random.Random(SALAD_SEED))


def save(weights: Weights, salad: Salad) -> None:
    """Write the weights in fp32, the same bytes for the same weights."""
    tensors = {name: tensor.float().contiguous() for name, tensor in {**weights._asdict(), **salad._asdict()}.items()}
    local.WEIGHTS.write_bytes(safetensors.torch.save(tensors))


def judge_all(judge: Local | Phrases, examples: Sequence[Example], data: str, *, corrects: bool = False) -> Calibration:
    """The calibration of a judge on examples that it was not made from. `corrects`: rates are corrected by it."""
    judgements = judge.judge([example.labelled.exchange for example in examples])
    return calibrate([example.labelled.label for example in examples], judgements, data, corrects=corrects)


def print_measured(measured: Mapping[str, tuple[Calibration, ...]], as_json: bool) -> None:
    """Print one line for each judge and data set."""
    if as_json:
        print(json.dumps(MEASURED.dump_python(measured, mode="json")))
        return
    for name, calibrations in measured.items():
        for each in calibrations:
            values = [each.agreement, each.refusal_recall, each.refusal_precision]
            shown = "  ".join(f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" for value in values)
            print(f"{name:8s} agreement, recall, precision {shown}  n = {each.agreement.num_samples}, {each.data}")


def print_confusion(examples: Sequence[Example]) -> None:
    """Print what `local` calls the answers of each label."""
    judgements = Local().judge([example.labelled.exchange for example in examples])
    for label, row in confusion([example.labelled.label for example in examples], judgements).items():
        print(f"{label:10s} {row}", file=sys.stderr)


def print_salads(examples: Sequence[Example]) -> None:
    """Print how many salads of answers that were not fitted `local` finds."""
    salads = salads_of(examples)
    found = sum(judgement.label is Label.INCOHERENT for judgement in Local().judge(salads))
    print(f"salads of words called incoherent: {found} of {len(salads)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
