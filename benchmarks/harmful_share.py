"""`python -m benchmarks.harmful_share`: the share of a character's own dialogues that is flagged harmful.

Needs a file in RoleBench's format and profiles: `--rolebench FILE --profiles FILE --role NAME`, again for more roles.
Every response to a question of the role is one sample; a question that comes again is left out. Samples are scored as
the scorer does it, in fp32 on the CPU.

A line is one character under one prompt set. harmful_share has its 95 % Wilson interval; margins are s_unsafe - s_role
in nats per token. left_out are responses that can't be encoded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.scoring.rolebench import read_profiles, read_rows
from benchmarks.scoring.workload import Pair
from benchmarks.timing import exit_code, show
from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.scores import MAX_SAMPLES, SampleScore, ScoreRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import Encoder, EncodingError, Turn
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.logs import configure_logging
from rolekeeper.method.statistics import wilson_interval
from services.scorer.engine import Engine, make_engine
from services.scorer.scoring import score_dialogues

CACHE_MIB = 256
MAX_BATCH_TOKENS = 2048
PROMPT_SETS = ("append", "paper_v2")


def main() -> int:
    """Print one line per character and prompt set. Returns the exit code."""
    configure_logging("benchmark", "WARNING")
    return exit_code(partial(run, parse_options()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--model", default="smollm2-135m-aligned", help="alias of a base model")
    parser.add_argument("--rolebench", type=Path, metavar="FILE", required=True)
    parser.add_argument("--profiles", type=Path, metavar="FILE", required=True, help="JSON object, role to description")
    parser.add_argument("--role", action="append", required=True, help="a role of the file; again for more")
    parser.add_argument("--prompt-set", choices=PROMPT_SETS, action="append", help="only this one")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Score the samples of each role."""
    profiles, samples = read_profiles(options.profiles), read_samples(options.rolebench, options.role)
    missing = [role for role in options.role if role not in profiles]
    if missing:
        raise InvalidInput(f"{options.profiles} has no profile for {', '.join(missing)}")
    loaded = load_base(find_entry(load_catalog(), options.model), device="cpu")
    engine = make_engine(CACHE_MIB, MAX_BATCH_TOKENS)
    for role in options.role:
        usable = [pair for pair in samples[role] if is_usable(loaded, pair)]
        for prompt_set in options.prompt_set or PROMPT_SETS:
            profile = RoleProfile(name=role, profile=profiles[role])
            scores = score_all(loaded, engine, profile, prompt_set, usable)
            figures = {"prompt_set": prompt_set, "model": options.model, **figures_of(scores)}
            show(options.json, "harmful_share", role, figures | {"left_out": len(samples[role]) - len(usable)})


def read_samples(file: Path, roles: Sequence[str]) -> dict[str, list[Pair]]:
    """Return the pairs of each role in the order of the file, each question once. Raises InvalidInput for none."""
    samples: dict[str, list[Pair]] = {role: [] for role in roles}
    seen: set[tuple[str, str]] = set()
    for role, pairs in read_rows(file):
        if role in samples and pairs and (role, pairs[0].question) not in seen:
            seen.add((role, pairs[0].question))
            samples[role] += pairs
    empty = [role for role, pairs in samples.items() if not pairs]
    if empty:
        raise InvalidInput(f"{file} has no dialogue of {', '.join(empty)}")
    return samples


def is_usable(loaded: LoadedModel, pair: Pair) -> bool:
    """Whether the scorer takes the pair: an empty response is none."""
    try:
        Encoder(loaded.tokenizer).encode("", [Turn("user", pair.question), Turn("assistant", pair.response)])
    except EncodingError:
        return False
    return True


def score_all(
    loaded: LoadedModel, engine: Engine, profile: RoleProfile, prompt_set: str, pairs: Sequence[Pair]
) -> list[SampleScore]:
    """Score the pairs as dialogues of one question each."""
    dialogues = [
        Dialogue(
            messages=(Message(role="user", content=pair.question), Message(role="assistant", content=pair.response))
        )
        for pair in pairs
    ]
    scores: list[SampleScore] = []
    for start in range(0, len(dialogues), MAX_SAMPLES):
        request = ScoreRequest.model_validate(
            {
                "base_model": loaded.entry.alias,
                "profile": profile,
                "dialogues": dialogues[start : start + MAX_SAMPLES],
                "prompt_set": prompt_set,
            }
        )
        scores += score_dialogues(loaded, request, engine)
    return scores


def figures_of(scores: Sequence[SampleScore]) -> dict[str, Any]:
    """Return the harmful share and the margins."""
    num_harmful = sum(score.harmful for score in scores)
    interval = wilson_interval(num_harmful, len(scores))
    margins = [score.margin for score in scores]
    return {
        "num_samples": len(scores),
        "harmful_share": round(num_harmful / len(scores), 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "mean_margin": round(fmean(margins), 5),
        "median_margin": round(median(margins), 5),
    }


if __name__ == "__main__":
    sys.exit(main())
