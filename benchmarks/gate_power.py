"""`python -m benchmarks.gate_power`: how often the release gate releases, blocks, or can't tell, by the true loss.

Reports are simulated prompt by prompt from a seed and put through the gate's own `decide` with its defaults. `part`
lines are about one part, harmful prompts, in a report that is good everywhere else. `suite` lines are about the whole
starter suite (150 harmful, 100 look-alike, 100 in-character and 60 harmless in-character prompts) where the loss is one
of in-character prompts, or none.

base is how often the base model refuses. noise is the share of prompts whose answer changes either way though nothing
is lost: so many get better, and so many get worse beside the loss. loss is in points of the refusal rate.
ruled_out is how often the part's loss is ruled out, computed and not simulated.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from benchmarks.timing import show
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.gate import GateVerdict
from rolekeeper.contracts.policy import Policy
from rolekeeper.contracts.results import Comparison, PairedDifference, PartResults, RoleResults
from rolekeeper.contracts.suites import HARMLESS, Part
from rolekeeper.contracts.verdicts import Judgement, Label, Verdict
from rolekeeper.method.noninferiority import release_probability
from rolekeeper.method.statistics import PairedCounts
from services.conductor.gate.decide import decide
from services.conductor.results import Pair, difference_of_rates, part_results, share_estimate

LOSSES = (0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
NUM_PROMPTS = (20, 40, 100, 150, 300)
MODELS = ((1.0, 0.0), (0.95, 0.0), (0.95, 0.02), (0.9, 0.05))
STARTER = {Part.HARMFUL: 150, Part.BENIGN: 100, Part.IN_CHARACTER: 100, Part.IN_CHARACTER_BENIGN: 60}
HARMLESS_BASE = 0.05


class Truth(NamedTuple):
    """What is true of a base and a tuned model."""

    base: float
    noise: float
    loss: float


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for (base, noise), num_prompts, loss in product(MODELS, NUM_PROMPTS, LOSSES):
        found = shares(part_verdicts(Truth(base, noise, loss), num_prompts, options.simulations, options.seed))
        case = f"part base={base:g} noise={noise:g} prompts={num_prompts} loss={100 * loss:g}"
        exact = round(release_probability(num_prompts, loss, noise, EvaluationOptions().gate.margin), 4)
        show(options.json, "gate_power", case, found | {"ruled_out": exact})
    for noise, loss in product((0.0, 0.01, 0.02), LOSSES):
        found = shares(suite_verdicts(Truth(0.95, noise, loss), options.simulations, options.seed))
        show(options.json, "gate_power", f"suite base=0.95 noise={noise:g} loss={100 * loss:g}", found)


def shares(verdicts: Iterable[GateVerdict]) -> dict[str, float]:
    """Return how often each verdict is given, of all."""
    counts = Counter(verdicts)
    return {verdict: counts[verdict] / counts.total() for verdict in ("released", "blocked", "undecided")}


def part_verdicts(truth: Truth, num_prompts: int, simulations: int, seed: int) -> Iterable[GateVerdict]:
    """Simulated reports of which one part has what is true, and all else is without a loss."""
    rng = random.Random(seed)

    def draw(part: Part) -> PairedCounts:
        if part is Part.HARMFUL:
            return simulate(rng, truth, num_prompts)
        return PairedCounts(0, 0, 0, STARTER[part]) if part in HARMLESS else PairedCounts(STARTER[part], 0, 0, 0)

    return (_verdict(draw) for _ in range(simulations))


def suite_verdicts(truth: Truth, simulations: int, seed: int) -> Iterable[GateVerdict]:
    """Simulated reports of the whole starter suite, of which in-character prompts have the loss."""
    rng = random.Random(seed)

    def draw(part: Part) -> PairedCounts:
        base = HARMLESS_BASE if part in HARMLESS else truth.base
        loss = truth.loss if part is Part.IN_CHARACTER else 0.0
        return simulate(rng, Truth(base, truth.noise, loss), STARTER[part])

    return (_verdict(draw) for _ in range(simulations))


def simulate(rng: random.Random, truth: Truth, num_prompts: int) -> PairedCounts:
    """Ask both models prompts whose answers are drawn one by one."""
    kinds = (truth.base - truth.noise - truth.loss, truth.noise + truth.loss, truth.noise)
    drawn = Counter(rng.choices(range(4), (*kinds, 1 - sum(kinds)), k=num_prompts))
    return PairedCounts(*(drawn[kind] for kind in range(4)))


def _verdict(draw: Callable[[Part], PairedCounts]) -> GateVerdict:
    return _decided(tuple((part, draw(part)) for part in STARTER))


@lru_cache(maxsize=65536)
def _decided(tables: tuple[tuple[Part, PairedCounts], ...]) -> GateVerdict:
    """The gate sees nothing but these counts, so that the same are decided once."""
    results = [_results(part, counts) for part, counts in tables]
    return decide(EvaluationOptions(), results, _role(), Policy()).verdict


@lru_cache(maxsize=65536)
def _results(part: Part, counts: PairedCounts) -> PartResults:
    refused, complied = Label.REFUSED, Label.COMPLIED
    answers = ((refused, refused), (refused, complied), (complied, refused), (complied, complied))
    pairs = [
        Pair("starter", part, "all", "?", None, _judged(base), _judged(tuned))
        for (base, tuned), count in zip(answers, counts, strict=True)
        for _ in range(count)
    ]
    (found,) = part_results(pairs, ["local"])
    return found


@lru_cache(maxsize=8)
def _judged(label: Label) -> Verdict:
    return Verdict(id="x", response="...", judgements={"local": Judgement(label=label)})


@lru_cache(maxsize=1)
def _role() -> RoleResults:
    """A character that was learned, and answers all of 18 held-out dialogues."""
    gain = PairedDifference(value=0.4, low=0.3, high=0.5, num_pairs=18, p_value=None)
    likely = Estimate(value=-4.0, low=-4.2, high=-3.8, num_samples=18)
    none = share_estimate(0, 18)
    unchanged = difference_of_rates(PairedCounts(0, 0, 0, 18))
    rates = {"description": "", "better": "lower", "base": none, "tuned": none, "difference": unchanged}
    return RoleResults.model_validate(
        {
            "num_held_out": 18,
            "log_likelihood": Comparison(
                name="held_out_log_likelihood",
                description="",
                better="higher",
                base=likely,
                tuned=likely,
                difference=gain,
            ),
            "refusals": {"name": "role_refusal_rate", **rates},
            "babble": {"name": "babble_rate", **rates},
        }
    )


if __name__ == "__main__":
    main()
