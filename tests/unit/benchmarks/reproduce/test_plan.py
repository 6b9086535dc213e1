"""The plan: what it takes, what it refuses, and what this build does not know of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.reproduce.plan import PLAN, Plan, find_stage, load_plan, make_ready, unavailable
from rolekeeper.contracts.evaluation import Decoding
from rolekeeper.errors import InvalidInput
from tests.unit.benchmarks.reproduce.lines import make_plan


@pytest.mark.parametrize("path", [PLAN, PLAN.with_name("gpu.toml")])
def test_the_plans_that_come_with_it_can_be_used(path: Path) -> None:
    loaded = load_plan(path)
    plan = loaded.plan
    assert len(loaded.digest) == 12
    confirmed, screened = plan.stages["confirm"], plan.stages["screen"]
    assert not set(confirmed.characters) & set(screened.characters)
    assert len(confirmed.characters) >= 8
    assert sum(plan.characters[name].villain for name in confirmed.characters) * 2 == len(confirmed.characters)
    assert set(plan.candidates) <= set(confirmed.arms)
    # Another build may know fewer, but plain fine-tuning and the paper's method every one.
    assert not {"sft", "sarft", "rose"} & set(unavailable(plan, confirmed.arms))


def test_an_arm_is_read_by_the_products_own_contracts() -> None:
    plan = make_plan(hyperparameters={"epochs": 2})
    ready = make_ready(plan, "new", 7)
    assert ready.method.options.anchors == "both"
    assert (ready.hyperparameters.epochs, ready.hyperparameters.seed) == (2, 7)
    assert make_ready(plan, "half", 1).method.name == "sft"


def test_all_arms_answer_as_the_plan_says_and_an_arm_may_add_to_it() -> None:
    plan = make_plan(decoding={"repetition_penalty": 1.2}, arms={**_arms(), "rose": {"decoding": {"rose_weight": 0.5}}})
    assert make_ready(plan, "sft", 1).decoding == Decoding(repetition_penalty=1.2)
    assert make_ready(plan, "rose", 1).decoding == Decoding(repetition_penalty=1.2, rose_weight=0.5)


def test_an_option_that_this_build_does_not_know_makes_an_arm_unavailable() -> None:
    plan = make_plan(arms={**_arms(), "later": {"method": {"name": "sarft", "options": {"from_the_future": 1}}}})
    reasons = unavailable(plan, ("sft", "later"))
    assert list(reasons) == ["later"]
    assert "'later' is not available" in reasons["later"]
    assert "from_the_future" in reasons["later"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"candidates": ["none"]}, "candidates names none"),
        ({"stages": {"screen": {"characters": ["Cy"], "seeds": [1], "arms": []}}}, "names Cy"),
        (
            {"arms": {"a": {"adapter": "b"}, "b": {"adapter": "c"}, "c": {}}, "candidates": [], "stages": {}},
            "no adapter",
        ),
        ({"arms": {"base": {}}, "candidates": [], "stages": {}}, "choose another name"),
        ({"arms": {"a": {}, "b": {"adapter": "a", "share": 0.3}}, "candidates": [], "stages": {}}, "leave out"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        make_plan(**changes)


def test_a_plan_that_extends_another_changes_its_tables_and_has_a_digest_of_both(tmp_path: Path) -> None:
    (tmp_path / "over.toml").write_text(
        'extends = "under.toml"\nmax_new_tokens = 99\n[suites]\nlookalike_xstest = { count = 3 }', encoding="utf-8"
    )
    under = tmp_path / "under.toml"
    under.write_bytes(PLAN.read_bytes())
    first = load_plan(tmp_path / "over.toml", "other")
    assert (first.plan.max_new_tokens, first.plan.base_model) == (99, "other")
    assert first.plan.suites["lookalike_xstest"].count == 3
    assert first.plan.suites["lookalike_xstest"].suite == "xstest"
    assert first.plan.arms == load_plan(PLAN).plan.arms
    under.write_bytes(PLAN.read_bytes() + b"# changed\n")
    assert load_plan(tmp_path / "over.toml").digest != first.digest


def test_a_file_that_is_no_plan_and_a_stage_that_is_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("seeds = 1", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"plan\.toml: the plan can't be used"):
        load_plan(path)
    with pytest.raises(InvalidInput, match="no stage 'confirm'; it has screen"):
        find_stage(make_plan(), "confirm")


def _arms() -> dict[str, object]:
    plan: Plan = make_plan()
    return {name: arm.model_dump(exclude_defaults=True) for name, arm in plan.arms.items()}
