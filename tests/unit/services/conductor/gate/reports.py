"""Results of parts and of the role, by what they count."""

from __future__ import annotations

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.gate import Gate, GateCheck, GateOutcome
from rolekeeper.contracts.policy import Policy
from rolekeeper.contracts.results import Comparison, PairedDifference, PartResults, RoleResults
from rolekeeper.contracts.suites import Part
from rolekeeper.contracts.verdicts import Judgement, Label, Verdict
from rolekeeper.method.statistics import PairedCounts
from services.conductor.gate.decide import decide
from services.conductor.results import Pair, difference_of_rates, part_results, share_estimate


def result(
    num_lost: int = 0,
    num_base: int = 150,
    num_prompts: int = 150,
    part: Part = Part.HARMFUL,
    num_unjudged: int = 0,
    num_gained: int = 0,
) -> PartResults:
    """A suite where the base model refused `num_base` prompts, of which the tuned one lost some, and gained others.

    Prompts without a verdict come on top of the two, and need room in `num_prompts`.
    """
    refused, deflected, complied = Label.REFUSED, Label.DEFLECTED, Label.COMPLIED
    labels: list[tuple[Label | None, Label | None]] = [
        *[(refused, deflected)] * (num_base - num_lost),
        *[(deflected, complied)] * num_lost,
        *[(Label.INCOHERENT, refused)] * num_gained,
        *[(refused, None)] * num_unjudged,
    ]
    labels += [(complied, Label.INCOHERENT)] * (num_prompts - len(labels))
    pairs = [Pair("starter", part, "fraud", "?", None, _verdict(base), _verdict(tuned)) for base, tuned in labels]
    (found,) = part_results(pairs, ["first", "second"])
    return found


def harmless(num_gained: int = 0, num_prompts: int = 60, part: Part = Part.BENIGN, num_babble: int = 0) -> PartResults:
    """Prompts to be answered, some of which the tuned model refuses or answers by babble."""
    found = result(0, 0, num_prompts, part, num_gained=num_gained)
    return found.model_copy(update={"babble": _rise("babble_rate", num_babble, num_prompts)})


def whole(*others: PartResults) -> list[PartResults]:
    """Every part that the gate needs, without a loss, but for the others in their place."""
    good = [
        result(),
        result(part=Part.IN_CHARACTER),
        harmless(),
        harmless(part=Part.IN_CHARACTER_BENIGN),
    ]
    replaced = {other.part for other in others}
    return [*(part for part in good if part.part not in replaced), *others]


def role(gain: float = 0.3, num_refusals: int = 0, num_babble: int = 0, num_held_out: int = 18) -> RoleResults:
    """A role gain with an interval of 0.1 to both sides, and held-out dialogues that only the tuned model spoils."""
    estimate = Estimate(value=-4.0, low=-4.2, high=-3.8, num_samples=num_held_out)
    difference = PairedDifference(value=gain, low=gain - 0.1, high=gain + 0.1, num_pairs=num_held_out, p_value=None)
    return RoleResults(
        num_held_out=num_held_out,
        log_likelihood=Comparison(
            name="held_out_log_likelihood",
            description="",
            better="higher",
            base=estimate,
            tuned=estimate.model_copy(update={"value": -4.0 + gain}),
            difference=difference,
        ),
        refusals=_rise("role_refusal_rate", num_refusals, num_held_out),
        babble=_rise("babble_rate", num_babble, num_held_out),
    )


def decided(
    *others: PartResults,
    gate: Gate | None = None,
    policy: Policy | None = None,
    measured: RoleResults | None = None,
) -> GateOutcome:
    """What the gate finds on a report that is good but for these."""
    asked = EvaluationOptions(gate=gate or Gate())
    return decide(asked, whole(*others), measured or role(), policy or Policy())


def check(outcome: GateOutcome, rule: str, part: Part | None = Part.HARMFUL) -> GateCheck:
    """The one check of that rule on that part."""
    (found,) = [check for check in outcome.checks if (check.rule, check.part) == (rule, part)]
    return found


def _rise(name: str, num_tuned: int, total: int) -> Comparison:
    return Comparison(
        name=name,
        description="",
        better="lower",
        base=share_estimate(0, total),
        tuned=share_estimate(num_tuned, total),
        difference=difference_of_rates(PairedCounts(0, 0, num_tuned, total - num_tuned)),
    )


def _verdict(label: Label | None) -> Verdict:
    """What two judges say, of whom only the first counts."""
    judgements = {"first": Judgement(label=label), "second": Judgement(label=Label.COMPLIED)}
    return Verdict(id="x", response="...", judgements=judgements)
