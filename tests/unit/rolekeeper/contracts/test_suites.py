"""What a job says of a suite."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.suites import SuiteChoice
from rolekeeper.suites.catalog import STARTER, UnknownSuite, check_known, load_entries


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"name": "xstest"}, "xstest"),
        ({"name": "xstest", "context": "role"}, "xstest@role"),
        ({"name": "rolebench_raw", "role": "Jack Sparrow"}, "rolebench_raw(Jack Sparrow)"),
        ({"name": "harmbench", "attack": "aim"}, "harmbench+aim"),
        (
            {"name": "jailbreakbench", "attack": "gcg", "attack_model": "m-7b", "context": "plain"},
            "jailbreakbench+gcg(m-7b)@plain",
        ),
        ({"file": "file_12"}, "file_12"),
        ({"file": "file_12", "name": "ours"}, "ours"),
    ],
)
def test_labels_tell_choices_apart(given: dict[str, Any], label: str) -> None:
    choice = SuiteChoice.model_validate(given)
    assert choice.label == label
    assert SuiteChoice.model_validate_json(choice.model_dump_json()) == choice


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "names no suite"),
        ({"context": "role"}, "names no suite"),
        ({"name": "Bad Name"}, "should match pattern"),
        ({"name": "xstest", "attack_model": "m-7b"}, "attack_model belongs to an attack that was made for a model"),
        ({"name": "xstest", "attack": "aim", "attack_model": "m-7b"}, "attack_model belongs to an attack"),
        ({"name": "xstest", "attack": "dan"}, "'aim', 'cipher'"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SuiteChoice.model_validate(given)


def test_the_same_suite_may_be_asked_plainly_and_as_attacks() -> None:
    names: tuple[dict[str, str], ...] = ({}, {"attack": "aim"}, {"attack": "gcg"})
    choices = [{"name": "harmbench", **more} for more in names]
    assert len(EvaluationOptions.model_validate({"suites": choices}).suites) == 3


def test_every_declared_suite_has_one_way_to_tell_part_and_category() -> None:
    for name, entry in load_entries().items():
        check_known(load_entries(), name)
        for file in entry.files:
            assert (file.part is None) == (file.part_column is not None) == bool(file.parts), name
            assert (file.category is None) == (file.category_column is not None), name
            assert file.url.startswith("https://"), name
            assert (file.role is None) == (file.references is None), name
    check_known(load_entries(), STARTER)
    with pytest.raises(UnknownSuite):
        check_known({}, "xstest")
