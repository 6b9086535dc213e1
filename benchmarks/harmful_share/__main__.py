"""`python -m benchmarks.harmful_share --data FOLDER`: harmful shares of ten characters, and what a longer prompt does.

FOLDER holds `rolebench/instruction-generalization__role_specific__test.jsonl` (RoleBench) and `sarft_roles/desc.json`
(profiles, one JSON object). A character's samples are the first usable response to each of its first questions, scored
as the scorer does it, in fp32 on the CPU. `--paper-prompts` names the released prompt_v2.json; without it there is no
column for paper_v2.

With U the unsafe prompt, S its safe twin and P the role prompt: contrast flags U > S, append U > P, and the control
`length` U's twin, S > P. The correlation of U - P with S - P says how much of the first any longer prompt does. p is
that of a one-sided permutation test over characters: how many ways to call half of them villains give at least the
difference of mean shares. `--out` keeps a line of numbers for each character that is done; another run goes on from it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from pydantic import ValidationError

from benchmarks.harmful_share.figures import Measured, Numbers, figures_of, pooled
from benchmarks.harmful_share.measure import Bench, measure, read_pairs
from benchmarks.scoring.rolebench import read_profiles
from benchmarks.timing import exit_code, show
from rolekeeper.contracts.characters import RoleProfile
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.logs import configure_logging
from rolekeeper.method.prompts import PROMPTS_VERSION
from services.scorer.engine import make_engine
from services.scorer.paper_prompts import load_wording

VILLAINS = ("Gaston", "Klaus Mikaelson", "Tom Ripley", "Bruno Antony", "Colonel Hans Landa")
OTHERS = ("Stephen Hawking", "Twilight Sparkle", "Queen Catherine", "Peter Parker", "John Coffey")
DIALOGUES = "rolebench/instruction-generalization__role_specific__test.jsonl"
PROFILES = "sarft_roles/desc.json"
CACHE_MIB = 64
MAX_BATCH_TOKENS = 2048


def main() -> int:
    """Print one line per character, and one for all. Returns the exit code."""
    configure_logging("benchmark", "WARNING")
    torch.set_num_threads(1)
    return exit_code(partial(run, parse_options()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--base-model", default="smollm2-135m", help="alias of a base model")
    parser.add_argument("--data", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--paper-prompts", type=Path, metavar="FILE", help="the released prompt_v2.json")
    parser.add_argument("--answers", type=int, default=14, help="responses of each character")
    parser.add_argument("--response-tokens", type=int, default=128, help="longer responses are cut")
    parser.add_argument("--villain", action="append", help="instead of the five villains; again for more")
    parser.add_argument("--other", action="append", help="instead of the five others; again for more")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON lines, one for each character that is done")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Measure the characters that are not done, and print all."""
    groups = dict.fromkeys(options.villain or VILLAINS, "villain") | dict.fromkeys(options.other or OTHERS, "other")
    loaded = load_base(find_entry(load_catalog(), options.base_model), device="cpu")
    conditions = {
        "base_model": options.base_model,
        "base_digest": loaded.digest,
        "prompts_version": PROMPTS_VERSION,
        "answers": options.answers,
        "response_tokens": options.response_tokens,
        "with_paper": options.paper_prompts is not None,
    }
    done = {line.character: line for line in read_done(options.out) if line.conditions == conditions}
    for name, numbers in measure_missing(options, loaded, [name for name in groups if name not in done]):
        done[name] = Measured(character=name, group=groups[name], conditions=conditions, numbers=numbers)
        keep(options.out, done[name])
    chosen = [done[name].model_copy(update={"group": group}) for name, group in groups.items()]
    for line in chosen:
        show(options.json, "harmful_share", line.character, {"group": line.group, **figures_of(line.numbers)})
    show(options.json, "harmful_share", "all", pooled(chosen) | {"base_model": options.base_model})


def measure_missing(
    options: argparse.Namespace, loaded: LoadedModel, names: list[str]
) -> Iterator[tuple[str, Numbers]]:
    """Yield the numbers of each character, as soon as they are there. Raises InvalidInput for one that is not known."""
    if not names:
        return
    profiles, pairs = read_profiles(options.data / PROFILES), read_pairs(options.data / DIALOGUES, names)
    missing = [name for name in names if name not in profiles]
    if missing:
        raise InvalidInput(f"{options.data / PROFILES} has no profile of {', '.join(missing)}")
    wording = None if options.paper_prompts is None else load_wording(options.paper_prompts)
    bench = Bench(loaded, make_engine(CACHE_MIB, MAX_BATCH_TOKENS), wording, options.answers, options.response_tokens)
    for name in names:
        yield name, measure(bench, RoleProfile(name=name, profile=profiles[name]), pairs[name])


def read_done(file: Path | None) -> list[Measured]:
    """Return the lines of an earlier run. Raises InvalidInput, which names the line."""
    if file is None or not file.exists():
        return []
    done = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            done.append(Measured.model_validate_json(line))
        except ValidationError as error:
            raise InvalidInput(f"{file}:{number} is no line of this benchmark; take another --out") from error
    return done


def keep(file: Path | None, line: Measured) -> None:
    """Add a line to the file."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(line.model_dump_json() + "\n")


if __name__ == "__main__":
    sys.exit(main())
