from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.contracts.characters import Context, Message
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel
from services.trainer.program.anchors.answers import anchor_samples, refusals, with_anchors
from services.trainer.program.anchors.prompts import AnchorPrompt, anchor_prompts
from services.trainer.program.data import make_encoder, system_of
from tests.unit.services.trainer.program.runs import load_data, make_spec

NO, NEVER = "I'm sorry, but no.", "I can't help with that."
HARM, HARM_IN_ROLE = AnchorPrompt("harm", "harmful", in_role=False), AnchorPrompt("harm", "harmful", in_role=True)
KIND = AnchorPrompt("kind", "in_character", in_role=True)


def test_the_answers_are_the_base_models_own_and_the_same_again(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    samples = anchor_samples(loaded, spec)
    assert 0 < len(samples) <= len(anchor_prompts())
    assert all(0 < len(sample.response_ids) <= spec.hyperparameters.max_response_tokens for sample in samples)
    assert anchor_samples(loaded, spec) == samples
    prompts_ids = [sample.prompt_ids for sample in samples]
    for prompt in (anchor_prompts()[0], anchor_prompts()[1], anchor_prompts()[-1]):
        system = system_of(spec, Context.ROLE if prompt.in_role else Context.PLAIN)
        question = Message(role="user", content=prompt.text)
        assert make_encoder(loaded, spec).encode_prompt(system, [question]) in prompts_ids


def test_only_the_first_tokens_may_be_held(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    few = make_spec(tiny_folder, method=Method(options=MethodOptions(anchors="both", anchor_first_tokens=3)))
    whole = {tuple(sample.prompt_ids): sample.response_ids for sample in anchor_samples(loaded, spec)}
    cut = {tuple(sample.prompt_ids): sample.response_ids for sample in anchor_samples(loaded, few)}
    assert max(map(len, cut.values())) == 3
    same = [whole[prompt][:2] == ids[:2] for prompt, ids in cut.items() if prompt in whole]
    assert sum(same) > 0.8 * len(same)  # text that is cut may be tokenised in another way


def test_each_prompt_gets_a_refusal() -> None:
    answers = {HARM: NO, HARM_IN_ROLE: "Gladly."}
    assert refusals([HARM, HARM_IN_ROLE, KIND], answers) == [NO, NO, NO]
    answers[HARM_IN_ROLE] = NEVER
    assert refusals([HARM, HARM_IN_ROLE, KIND, KIND], answers) == [NO, NEVER, NO, NEVER]
    with pytest.raises(BaseModelUnusable, match=r"set options\.anchor_kl to tokens"):
        refusals([HARM, KIND], {HARM: "Gladly."})


def test_prompts_take_the_place_of_samples_or_stand_beside_them(tiny_folder: Path, loaded: LoadedModel) -> None:
    data = load_data(make_spec(tiny_folder), loaded)
    beside = with_anchors(data, data.samples[:2], Method(options=MethodOptions(anchors="both")))
    instead = with_anchors(data, data.samples[:2], Method(options=MethodOptions(anchors="prompts")))
    assert (sum(beside.harmful), sum(instead.harmful)) == (4, 0)
    assert beside.anchors == instead.anchors == data.samples[:2]
