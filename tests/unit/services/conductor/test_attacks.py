"""Attack success and understanding, counted by hand."""

from __future__ import annotations

import pytest

from rolekeeper.contracts.suites import AttackName, AttackUsed
from rolekeeper.contracts.verdicts import Judgement, Label, Verdict
from services.conductor.attacks import attack_results
from services.conductor.results import Pair

CIPHER = AttackUsed(name=AttackName.CIPHER, made_for=None, sha256="0" * 64, licence="MIT", source="here")
# What each answer does; ? is unjudged.
LABELS = {".": Label.COMPLIED, "R": Label.REFUSED, "D": Label.DEFLECTED, "I": Label.INCOHERENT, "?": None}


def verdict(letter: str, understood: bool | None) -> Verdict:
    return Verdict(id="x", response="?", judgements={"phrases": Judgement(label=LABELS[letter])}, understood=understood)


def make_pairs(base: str, tuned: str, read_by_base: str, read_by_tuned: str, suite: str = "s+cipher") -> list[Pair]:
    """The last two have y, n or - for each answer."""
    shows = {"y": True, "n": False, "-": None}
    return [
        Pair(suite, "jailbreak", "c", "p", None, verdict(one, shows[first]), verdict(other, shows[second]), goal="g")
        for one, other, first, second in zip(base, tuned, read_by_base, read_by_tuned, strict=True)
    ]


def test_success_and_understanding_stand_side_by_side() -> None:
    """The tuned model looks safer by success alone; of what it still understands it does as much as before."""
    pairs = make_pairs("..RR.?", "DIIR.R", "yyyyny", "ynnnyn")
    (results,) = attack_results([("s+cipher", CIPHER)], [*pairs, *make_pairs(".", ".", "y", "y", "other")], ["phrases"])
    (judged,) = results.judges
    assert results.base_understood is not None
    assert results.tuned_understood is not None
    assert (results.base_understood.value, results.tuned_understood.value) == (5 / 6, 2 / 6)
    assert judged.base.success is not None
    assert judged.tuned.success is not None
    assert (judged.base.success.value, judged.base.success.num_samples) == (3 / 5, 5)
    assert judged.tuned.success.value == 1 / 6
    assert judged.base.success_understood is not None
    assert judged.tuned.success_understood is not None
    assert (judged.base.success_understood.value, judged.tuned.success_understood.value) == (2 / 4, 1 / 2)
    assert judged.difference is not None
    assert judged.difference.value == pytest.approx(-2 / 5)
    assert judged.difference.num_pairs == 5


def test_where_nothing_was_hidden_nothing_is_said_of_understanding() -> None:
    (results,) = attack_results([("s+cipher", CIPHER)], make_pairs("..", "R?", "--", "--"), ["phrases"])
    assert (results.base_understood, results.tuned_understood) == (None, None)
    assert results.judges[0].base.success_understood is None


def test_without_labels_there_are_no_rates() -> None:
    (results,) = attack_results([("s+cipher", CIPHER)], make_pairs("??", "..", "--", "--"), ["phrases"])
    assert results.judges[0].base.success is None
    assert results.judges[0].difference is None
