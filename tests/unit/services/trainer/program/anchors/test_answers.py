from __future__ import annotations

import json
from pathlib import Path

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.anchors.answers import anchor_prompts, anchor_samples, with_anchors
from tests.unit.services.trainer.program.runs import load_data, make_spec

ROOT = Path(__file__).parents[6]


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def test_the_prompts_are_short_and_in_no_suite() -> None:
    prompts = anchor_prompts()
    suites = (ROOT / "services" / "evaluator" / "suites").glob("*.jsonl")
    asked = {plain(json.loads(line)["prompt"]) for suite in suites for line in suite.read_text("utf-8").splitlines()}
    assert len(asked) > 100
    assert len({plain(prompt) for prompt in prompts}) == len(prompts) == 48
    assert not {plain(prompt) for prompt in prompts} & asked
    assert max(map(len, prompts)) <= 80


def test_the_answers_are_the_base_models_own_and_the_same_again(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    samples = anchor_samples(loaded, spec)
    assert 0 < len(samples) <= 48
    assert all(0 < len(sample.response_ids) <= spec.hyperparameters.max_response_tokens for sample in samples)
    assert anchor_samples(loaded, spec) == samples


def test_prompts_take_the_place_of_samples_or_stand_beside_them(tiny_folder: Path, loaded: LoadedModel) -> None:
    data = load_data(make_spec(tiny_folder), loaded)
    beside = with_anchors(data, data.samples[:2], Method(options=MethodOptions(anchors="both")))
    instead = with_anchors(data, data.samples[:2], Method(options=MethodOptions(anchors="prompts")))
    assert (sum(beside.harmful), sum(instead.harmful)) == (4, 0)
    assert beside.anchors == instead.anchors == data.samples[:2]
