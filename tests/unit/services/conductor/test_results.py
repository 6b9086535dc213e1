"""What pairs of judged answers amount to, with numbers computed by hand."""

from __future__ import annotations

import pytest

from rolekeeper.contracts.results import PartResults
from rolekeeper.contracts.verdicts import Judgement, Label, Verdict
from rolekeeper.method.judge_error import JudgeError
from rolekeeper.method.statistics import PairedCounts, mcnemar_exact, paired_difference
from services.conductor.results import Pair, judged_pairs, part_results, refusal_measure, share_estimate

LABELS = {"R": Label.REFUSED, "D": Label.DEFLECTED, "C": Label.COMPLIED, "I": Label.INCOHERENT, "?": None}


def make_verdict(who: str, letters: dict[str, str]) -> Verdict:
    judgements = {judge: Judgement(label=LABELS[letter]) for judge, letter in letters.items()}
    return Verdict(id=who, response=who, judgements=judgements)


def make_pairs(
    base: dict[str, str], tuned: dict[str, str], part: str = "harmful", categories: str | None = None
) -> list[Pair]:
    """`base` and `tuned` have a letter for each prompt, by judge."""
    count = len(next(iter(base.values())))
    return [
        Pair(
            suite="starter",
            part=part,
            category=(categories or "a" * count)[index],
            prompt=f"prompt {index}",
            reference=None,
            base=make_verdict("base", {judge: letters[index] for judge, letters in base.items()}),
            tuned=make_verdict("tuned", {judge: letters[index] for judge, letters in tuned.items()}),
        )
        for index in range(count)
    ]


def only_part(pairs: list[Pair], *judges: str) -> PartResults:
    (part,) = part_results(pairs, judges)
    return part


def test_labels_are_counted_and_a_rate_is_of_what_was_judged() -> None:
    refusals = only_part(make_pairs({"one": "RRDCI?"}, {"one": "RC?CDD"}), "one").judges[0]
    assert refusals.base.model_dump() == {"refused": 2, "deflected": 1, "complied": 1, "incoherent": 1, "unjudged": 1}
    assert refusals.tuned.model_dump() == {"refused": 1, "deflected": 2, "complied": 2, "incoherent": 0, "unjudged": 1}
    assert refusals.base_rate == share_estimate(3, 5)
    assert refusals.tuned_rate == share_estimate(3, 5)


def test_rates_are_corrected_for_errors_that_were_measured() -> None:
    """3 of 5 seen: (0.6 + 0.9 - 1) / 0.8 = 0.625."""
    error = JudgeError(recall=0.9, num_refusals=50, specificity=0.9, num_others=50)
    pairs = make_pairs({"one": "RRDCI", "two": "RRRRR"}, {"one": "RRDCI", "two": "CCCCC"})
    (part,) = part_results(pairs, ["one", "two"], {"one": error})
    corrected, plain = part.judges
    assert corrected.base_corrected == corrected.tuned_corrected
    assert corrected.base_corrected is not None
    assert corrected.base_corrected.value == pytest.approx(0.625)
    assert (plain.base_corrected, plain.tuned_corrected) == (None, None)


def test_the_difference_is_of_the_pairs_that_were_judged_twice() -> None:
    """Left are RR, RC, CC, ID: 2 of 4 refused before, 2 of 4 after, one lost and one gained."""
    refusals = only_part(make_pairs({"one": "RRDCI?"}, {"one": "RC?CDD"}), "one").judges[0]
    assert (refusals.num_lost, refusals.num_gained, refusals.num_unpaired) == (1, 1, 2)
    counts = PairedCounts(both=1, only_base=1, only_tuned=1, neither=1)
    low, high = paired_difference(counts)
    assert refusals.difference is not None
    assert refusals.difference.model_dump() == {
        "value": 0.0,
        "low": low,
        "high": high,
        "num_pairs": 4,
        "p_value": mcnemar_exact(counts),
    }


def test_a_judge_that_said_nothing_has_no_rates() -> None:
    refusals = only_part(make_pairs({"one": "??"}, {"one": "R?"}), "one").judges[0]
    assert refusals.base_rate is None
    assert refusals.tuned_rate == share_estimate(1, 1)
    assert refusals.difference is None
    assert (refusals.base.unjudged, refusals.num_unpaired) == (2, 2)


def test_categories_add_up_to_their_part() -> None:
    part = only_part(make_pairs({"one": "RRCCR"}, {"one": "CRCRC"}, categories="babab"), "one")
    categories = part.judges[0].categories
    assert [entry.category for entry in categories] == ["a", "b"]
    assert [(entry.num_lost, entry.num_gained) for entry in categories] == [(0, 1), (2, 0)]
    assert sum(entry.base.refused for entry in categories) == part.judges[0].base.refused == 3


def test_parts_and_suites_stand_apart_in_the_order_asked() -> None:
    pairs = make_pairs({"one": "R"}, {"one": "C"}, part="benign") + make_pairs({"one": "CC"}, {"one": "RR"})
    results = part_results(pairs, ["one"])
    assert [(part.part, part.better, part.num_prompts) for part in results] == [
        ("benign", "lower", 1),
        ("harmful", "higher", 2),
    ]


def test_judges_are_compared_on_the_answers_that_both_judged() -> None:
    """Of 8 answers 6 are judged by both: RR, DC, CC, CR, RD, CC. Refusals: both 2, one alone 1 and 1, neither 2.

    p_o = 4/6, p_e = (3 * 3 + 3 * 3) / 36 = 1/2, kappa = 1/3.
    """
    base, tuned = {"one": "RDC?", "two": "RCCR"}, {"one": "CRC?", "two": "RDC?"}
    part = only_part(make_pairs(base, tuned), "one", "two")
    assert [judge.judge for judge in part.judges] == ["one", "two"]
    (disagreement,) = part.disagreements
    assert disagreement.judges == ("one", "two")
    assert (disagreement.num_answers, disagreement.num_different) == (6, 2)
    assert disagreement.kappa == pytest.approx(1 / 3)


def test_three_judges_are_three_pairs() -> None:
    letters = {"one": "R", "two": "R", "three": "C"}
    part = only_part(make_pairs(letters, letters), "one", "two", "three")
    assert [item.judges for item in part.disagreements] == [("one", "two"), ("one", "three"), ("two", "three")]
    assert [item.num_different for item in part.disagreements] == [0, 2, 2]


def test_a_measure_is_of_judged_pairs() -> None:
    pairs = judged_pairs(make_pairs({"one": "RRR?"}, {"one": "RC?R"}), "one")
    measure = refusal_measure(pairs, "one", "refusal_rate", "Share", "higher")
    assert (measure.base, measure.tuned) == (share_estimate(2, 2), share_estimate(1, 2))
    assert (measure.difference.value, measure.difference.num_pairs) == (-0.5, 2)


def test_rates_at_the_ends_stay_at_the_ends() -> None:
    assert share_estimate(0, 40).low == 0.0
    assert share_estimate(40, 40).high == 1.0
