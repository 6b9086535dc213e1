from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.scores import ScoreRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import Encoder
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import PromptSet, build_contexts
from services.scorer.scoring import score_dialogues

PROFILE = RoleProfile(name="Mara", profile="A smuggler who keeps the light and trusts nobody.")


def dialogue(*contents: str) -> Dialogue:
    roles = ("user", "assistant")
    return Dialogue(messages=tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(contents)))


DIALOGUES = (
    dialogue("Who are you?", "Nobody you know."),
    dialogue("Where do the boats go?", "Out."),
    dialogue("Hello.", "What now?", "I want to ask.", "Then ask me, stranger, and I will answer what I want."),
    dialogue("Sorry.", "I can not help with that."),
)


def make_request(**changes: object) -> ScoreRequest:
    return ScoreRequest.model_validate({"base_model": "tiny", "profile": PROFILE, "dialogues": DIALOGUES} | changes)


def naive_logprob(loaded: LoadedModel, system: str, sample: Dialogue) -> tuple[float, int]:
    encoded = Encoder(loaded.tokenizer).encode(system, sample.messages)
    ids = torch.tensor([encoded.prompt_ids + encoded.response_ids])
    with torch.inference_mode():
        logprobs_TV = torch.log_softmax(loaded.model(input_ids=ids).logits[0].double(), dim=-1)
    rows = range(len(encoded.prompt_ids) - 1, ids.shape[1] - 1)
    return float(logprobs_TV[rows, encoded.response_ids].sum()), len(encoded.response_ids)


@pytest.mark.parametrize("prompt_set", list(PromptSet))
def test_scores_equal_the_naive_run(loaded: LoadedModel, prompt_set: PromptSet) -> None:
    scores = score_dialogues(loaded, make_request(prompt_set=prompt_set.value), max_batch_tokens=2048)
    contexts = build_contexts(PROFILE.name, PROFILE.profile, prompt_set)
    assert [score.index for score in scores] == [0, 1, 2, 3]
    for score, sample in zip(scores, DIALOGUES, strict=True):
        role, num_tokens = naive_logprob(loaded, contexts.role, sample)
        unsafe, _ = naive_logprob(loaded, contexts.unsafe, sample)
        plain, _ = naive_logprob(loaded, contexts.plain, sample)
        assert score.num_tokens == num_tokens
        assert score.role_logprob == pytest.approx(role, abs=1e-3)
        assert score.unsafe_logprob == pytest.approx(unsafe, abs=1e-3)
        assert score.plain_logprob == pytest.approx(plain, abs=1e-3)
        assert score.s_role == pytest.approx((role - plain) / num_tokens, abs=1e-4)
        assert score.s_unsafe == pytest.approx((unsafe - plain) / num_tokens, abs=1e-4)
        assert score.harmful == (unsafe > role)


def test_the_margin_moves_the_line(loaded: LoadedModel) -> None:
    assert all(score.harmful for score in score_dialogues(loaded, make_request(margin=-100.0), 2048))
    assert not any(score.harmful for score in score_dialogues(loaded, make_request(margin=100.0), 2048))


def test_the_same_request_gives_the_same_answer(loaded: LoadedModel) -> None:
    assert score_dialogues(loaded, make_request(), 2048) == score_dialogues(loaded, make_request(), 2048)


def test_a_cut_response_and_dropped_turns_are_reported(loaded: LoadedModel) -> None:
    long = dialogue(*["Where do the boats go tonight?", "Out, as always."] * 12, "Why?", "Nobody asks me that. " * 20)
    (score,) = score_dialogues(loaded, make_request(dialogues=(long,), max_source_tokens=100), 2048)
    assert score.truncated
    assert score.num_tokens == 128
    assert score.dropped_messages > 0


def test_every_unusable_sample_is_named(loaded: LoadedModel) -> None:
    bad = (DIALOGUES[0], dialogue("A question without an answer."), DIALOGUES[1], dialogue("boats " * 1000, "Out."))
    with pytest.raises(InvalidInput, match="2 of 4 dialogues can't be scored") as caught:
        score_dialogues(loaded, make_request(dialogues=bad), 2048)
    first, second = caught.value.problems
    assert (first.pointer, second.pointer) == ("/dialogues/1", "/dialogues/3")
    assert "the last turn must be the assistant's" in first.detail
    assert "max_source_tokens = 512" in second.detail


def test_a_log_prob_that_is_not_a_number_names_the_sample_and_is_no_flag(loaded: LoadedModel) -> None:
    broken = replace(loaded, model=copy.deepcopy(loaded.model))
    # A token that only the third sample has: its embedding is damaged.
    only_there = set(Encoder(loaded.tokenizer).encode("", DIALOGUES[2].messages).prompt_ids)
    for system in build_contexts(PROFILE.name, PROFILE.profile):
        for index in (0, 1, 3):
            sample = Encoder(loaded.tokenizer).encode(system, DIALOGUES[index].messages)
            only_there -= {*sample.prompt_ids, *sample.response_ids}
    embeddings, head = broken.model.get_input_embeddings(), broken.model.get_output_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    head.weight = torch.nn.Parameter(embeddings.weight.detach().clone())  # no longer the same tensor
    embeddings.weight.data[only_there.pop()] = float("nan")
    with pytest.raises(InvalidInput, match=r"\[2\]") as caught:
        score_dialogues(broken, make_request(), 2048)
    assert caught.value.code == "non_finite_score"
    assert [problem.pointer for problem in caught.value.problems] == ["/dialogues/2"]
