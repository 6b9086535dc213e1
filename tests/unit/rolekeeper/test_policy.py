"""What the operator fixes: read from a file, added to by jobs, and weakened by none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rolekeeper.contracts.evaluation import Decoding, EvaluationOptions
from rolekeeper.contracts.gate import Gate, Threshold
from rolekeeper.contracts.policy import Policy
from rolekeeper.contracts.suites import Part, SuiteChoice
from rolekeeper.errors import InvalidInput
from rolekeeper.policy import BadPolicy, StatedPolicy, apply_policy, load_policy, refuse_weaker

TOML = """
judge = "local"
max_new_tokens = 96

[[suites]]
name = "starter"

[[suites]]
name = "xstest"
max_prompts = 100

[decoding]
rose_weight = 0.5

[gate]
margin = 0.04
floor = 0.9
"""
STARTER, XSTEST = SuiteChoice(name="starter"), SuiteChoice(name="xstest", max_prompts=100)
POLICY = Policy(
    suites=(STARTER, XSTEST),
    judge="local",
    decoding=Decoding(rose_weight=0.5),
    max_new_tokens=96,
    gate=Gate(margin=0.04, floor=0.9),
)


def test_it_is_read_from_a_file_and_named_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TOML, encoding="utf-8")
    assert load_policy(path) == StatedPolicy(POLICY, hashlib.sha256(TOML.encode()).hexdigest())
    assert load_policy(None) == StatedPolicy(Policy(), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("judge = [", "can't be read"),
        ("jugde = 'local'", "jugde"),
        ("[gate]\nmargin = 2", "margin"),
        ("[[suites]]\nfile = 'file_1'", "an uploaded file belongs to one owner"),
    ],
)
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadPolicy, match=words) as caught:
        load_policy(path)
    assert str(path) in caught.value.message
    with pytest.raises(BadPolicy, match="can't be read"):
        load_policy(tmp_path / "none.toml")


def test_a_job_that_says_nothing_is_measured_as_the_policy_says() -> None:
    complete = apply_policy(POLICY, EvaluationOptions(), "")
    assert complete.suites == (STARTER, XSTEST)
    assert complete.judges == ("local", "phrases")
    assert (complete.decoding, complete.max_new_tokens, complete.gate) == (POLICY.decoding, 96, POLICY.gate)
    assert apply_policy(Policy(), EvaluationOptions(), "") == EvaluationOptions()


def test_a_job_adds_to_it() -> None:
    more = EvaluationOptions(
        suites=(SuiteChoice(name="advbench"), STARTER, SuiteChoice(name="xstest")),
        judges=("local",),
        decoding=Decoding(),
        max_new_tokens=128,
        gate=Gate(
            floor=0.95,
            max_unjudged=0.01,
            thresholds=(
                Threshold(suite="xstest", part=Part.BENIGN, limit=0.3, margin=0.05),
                Threshold(suite="starter", limit=0.97, margin=0.03),
            ),
        ),
    )
    assert apply_policy(POLICY, more, "") == more


def test_what_is_weaker_is_refused_all_at_once() -> None:
    weaker = EvaluationOptions(
        suites=(SuiteChoice(name="starter", max_prompts=20), SuiteChoice(name="xstest", max_prompts=99)),
        judges=("phrases", "local"),
        max_new_tokens=64,
        gate=Gate(
            margin=0.05,
            harmless_margin=0.2,
            floor=0.8,
            thresholds=(
                Threshold(suite="starter", margin=0.1, limit=0.5),
                Threshold(suite="starter", part=Part.JAILBREAK, limit=0.1),
            ),
        ),
    )
    with pytest.raises(InvalidInput) as caught:
        refuse_weaker(POLICY, weaker, "/evaluation")
    assert [item.pointer.removeprefix("/evaluation/") for item in caught.value.problems] == [
        "suites",
        "suites",
        "judges",
        "max_new_tokens",
        "gate/margin",
        "gate/harmless_margin",
        "gate/floor",
        "gate/thresholds/0/margin",
        "gate/thresholds/0/limit",
    ]
    assert "lacks starter, which is asked of every adapter; add it, whole" in caught.value.message
    assert "must be at most 0.04" in caught.value.message


def test_another_suite_of_that_name_is_not_it() -> None:
    file = SuiteChoice(name="starter", file="file_1")
    with pytest.raises(InvalidInput, match="lacks starter"):
        refuse_weaker(POLICY, EvaluationOptions(suites=(file, XSTEST)), "")


def test_what_a_job_leaves_out_is_not_held_against_it() -> None:
    refuse_weaker(POLICY, EvaluationOptions(), "")
    refuse_weaker(POLICY, EvaluationOptions(gate=Gate(floor=0.95)), "")


def test_a_threshold_names_a_suite_that_is_asked() -> None:
    only = Policy(suites=(XSTEST,))
    asked = EvaluationOptions(gate=Gate(thresholds=(Threshold(suite="starter"),)))
    with pytest.raises(InvalidInput, match="names starter, but the suites are xstest") as caught:
        apply_policy(only, asked, "/evaluation")
    assert caught.value.problems[0].pointer == "/evaluation/gate"
