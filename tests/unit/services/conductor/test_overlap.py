"""Suites that ask the same prompt: the measures of all suites together count it once."""

from __future__ import annotations

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.suites import SuiteChoice
from rolekeeper.contracts.verdicts import Judgement, Label, Verdict
from services.conductor.report import AskedSuite, ReportInputs, build_report, suite_items
from services.conductor.results import share_estimate
from services.conductor.scores import Scored
from tests.unit.services.conductor.test_report import BASE, SUITE, TRAINING, make_work, measure

LABELS = {"R": Label.REFUSED, ".": Label.COMPLIED}


def overlapping(contexts: tuple[Context | None, Context | None], refused: str) -> SafetyReport:
    """Two suites of the first prompts of `SUITE`, two of them in both; `refused` is of the base model."""
    choices = [SuiteChoice(name=name, context=context) for name, context in zip("ab", contexts, strict=True)]
    suites = [SUITE.model_copy(update={"prompts": SUITE.prompts[start : start + 3]}) for start in (0, 1)]
    asked = [
        AskedSuite(choice, suite, suite_items(choice, suite, "Isaura"))
        for choice, suite in zip(choices, suites, strict=True)
    ]
    items = [item for each in asked for item in each.items]
    base = BASE.model_copy(
        update={
            "verdicts": tuple(
                Verdict(id=item.id, response="r", judgements={"phrases": Judgement(label=label)})
                for item, label in zip(items, (LABELS[letter] for letter in refused), strict=True)
            )
        }
    )
    tuned = base.model_copy(update={"adapter_sha256": "a" * 64})
    return build_report(ReportInputs(make_work(), asked, [], Scored(2, 2, ()), TRAINING, base, tuned))


def test_a_prompt_of_several_suites_counts_once_as_the_first_of_them_found_it() -> None:
    """Suite a asks 0, 1, 2 and suite b 1, 2, 3: four prompts, of which 0, 1 and 3 were refused."""
    report = overlapping((None, None), "RR." + "..R")
    rate = measure(report, "refusal_rate")
    assert (rate.base, rate.tuned) == (share_estimate(3, 4), share_estimate(3, 4))
    assert rate.difference.num_pairs == 4
    assert [part.num_prompts for part in report.results] == [3, 3]
    assert report.results[1].judges[0].base_rate == share_estimate(1, 3)


def test_a_prompt_in_another_context_is_another_prompt() -> None:
    rate = measure(overlapping((None, Context.ROLE), "RR." + "..R"), "refusal_rate")
    assert rate.base == share_estimate(3, 6)
