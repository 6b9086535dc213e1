from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from rolekeeper.lm.encode import EncodedSample, Encoder, Turn
from rolekeeper.lm.forward import (
    UnknownProjection,
    check_projection,
    collate,
    response_hidden,
    response_logits,
    response_logprobs,
    response_rows,
)
from rolekeeper.lm.load import LoadedModel
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES

SYSTEM = "You are the keeper of the light. Your name is not for strangers, and never tell where the boats go."


def naive_logprobs(model: nn.Module, sample: EncodedSample) -> Tensor:
    """One sample, its whole prompt, the logits of every position."""
    ids = torch.tensor([sample.prompt_ids + sample.response_ids])
    with torch.inference_mode():
        logprobs_TV = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
    start = len(sample.prompt_ids)
    return logprobs_TV[range(start - 1, ids.shape[1] - 1), sample.response_ids]


def make_samples(loaded: LoadedModel, system: str = SYSTEM, count: int = 9) -> list[EncodedSample]:
    encoder = Encoder(loaded.tokenizer)
    turns = [
        (Turn("user", "Who are you? " * (1 + number % 4)), Turn("assistant", "Ask " + "the boats " * (number * 3 % 7)))
        for number in range(count)
    ]
    return [encoder.encode(system, pair) for pair in turns]


def assert_naive(loaded: LoadedModel, samples: Sequence[EncodedSample], ours: Sequence[Tensor]) -> None:
    assert len(ours) == len(samples)
    for sample, logprobs_T in zip(samples, ours, strict=True):
        assert logprobs_T.dtype == torch.float32
        torch.testing.assert_close(logprobs_T, naive_logprobs(loaded.model, sample), atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("max_batch_tokens", [1, 90, 100_000])
def test_shared_prefix_equals_the_naive_run(
    tiny_models: dict[str, LoadedModel], architecture: str, max_batch_tokens: int
) -> None:
    loaded = tiny_models[architecture]
    samples = make_samples(loaded)
    assert_naive(loaded, samples, response_logprobs(loaded.model, samples, max_batch_tokens))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("count", [1, 3])
def test_equal_samples(tiny_models: dict[str, LoadedModel], architecture: str, count: int) -> None:
    """The whole prompt is shared and no row is padded: the suffix must still predict the first response token."""
    loaded = tiny_models[architecture]
    samples = make_samples(loaded, count=1) * count
    assert_naive(loaded, samples, response_logprobs(loaded.model, samples))


def test_prompts_with_nothing_in_common(llama: LoadedModel) -> None:
    samples = [EncodedSample([7, 8, 9], [10, 2], False, 0), EncodedSample([20, 8, 9, 4], [11, 12, 13, 2], False, 0)]
    assert_naive(llama, samples, response_logprobs(llama.model, samples))


def test_a_prompt_of_one_token_and_a_response_of_one(llama: LoadedModel) -> None:
    samples = [EncodedSample([7], [10], False, 0), EncodedSample([7], [11, 12], False, 0)]
    assert_naive(llama, samples, response_logprobs(llama.model, samples))


def test_no_samples(llama: LoadedModel) -> None:
    assert response_logprobs(llama.model, []) == []


def test_the_same_request_gives_the_same_bits(llama: LoadedModel) -> None:
    samples = make_samples(llama)
    first, second = response_logprobs(llama.model, samples), response_logprobs(llama.model, samples)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_collate_hand_computed() -> None:
    batch = collate([EncodedSample([5, 6], [7, 8, 2], False, 0), EncodedSample([5], [9], False, 0)], 0, "cpu")
    assert batch.input_ids_BS.tolist() == [[5, 6, 7, 8], [5, 0, 0, 0]]
    assert batch.attention_mask_BS.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.response_mask_BS.int().tolist() == [[0, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.labels_T.tolist() == [7, 8, 2, 9]
    assert batch.sample_T.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_logits_equal_the_models_own(tiny_models: dict[str, LoadedModel], architecture: str) -> None:
    loaded = tiny_models[architecture]
    samples = make_samples(loaded)
    batch = collate(samples, int(loaded.tokenizer.pad_token_id), loaded.device)
    logits_TV = response_logits(loaded.model, batch)
    logprobs_T = logits_TV.log_softmax(-1)[range(len(batch.labels_T)), batch.labels_T]
    for row, sample in enumerate(samples):
        torch.testing.assert_close(
            logprobs_T[batch.sample_T == row], naive_logprobs(loaded.model, sample), atol=1e-4, rtol=0
        )


@pytest.fixture
def policy(llama: LoadedModel) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    policy = get_peft_model(copy.deepcopy(llama.model), config)
    assert isinstance(policy, PeftModel)
    return policy


def test_gradients_reach_the_adapter_and_equal_those_of_the_naive_loss(llama: LoadedModel, policy: PeftModel) -> None:
    samples = make_samples(llama)
    batch = collate(samples, 0, "cpu")
    trained = {name: x for name, x in policy.named_parameters() if x.requires_grad}
    ours = torch.autograd.grad(
        torch.nn.functional.cross_entropy(response_logits(policy, batch), batch.labels_T, reduction="sum"),
        list(trained.values()),
    )
    logits_BSV = policy(input_ids=batch.input_ids_BS, attention_mask=batch.attention_mask_BS, use_cache=False).logits
    labels_BS = torch.full_like(batch.input_ids_BS, -100)
    labels_BS[batch.response_mask_BS] = batch.labels_T
    naive = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits_BSV.transpose(1, 2), labels_BS, reduction="sum"),
        list(trained.values()),
    )
    assert trained
    assert any(bool(gradient.abs().max() > 1e-3) for gradient in ours)
    for a, b in zip(ours, naive, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_and_their_gradients_equal_those_of_padded_batches(
    tiny_models: dict[str, LoadedModel], architecture: str
) -> None:
    loaded = tiny_models[architecture]
    samples = make_samples(loaded, count=7)
    samples.insert(2, samples[5])  # two samples with one prompt, which they share
    model = copy.deepcopy(loaded.model).requires_grad_(True)
    weights = [weight for weight in model.base_model.parameters() if weight.requires_grad]
    rows, batch = response_rows(model, samples), collate(samples, 0, "cpu")
    padded_TD = response_hidden(model, batch)
    assert torch.equal(rows.labels_T, batch.labels_T)
    assert torch.equal(rows.sample_T, batch.sample_T)
    torch.testing.assert_close(rows.hidden_TD, padded_TD, rtol=0, atol=1e-4)
    scale_TD = torch.randn(padded_TD.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.autograd.grad((out * scale_TD).sum(), weights) for out in (rows.hidden_TD, padded_TD))
    for mine, naive in zip(ours, theirs, strict=True):
        assert (mine - naive).norm() <= 1e-4 * naive.norm().clamp(min=1e-3)


def test_an_adapter_that_is_switched_off_is_the_base(llama: LoadedModel, policy: PeftModel) -> None:
    batch = collate(make_samples(llama), 0, "cpu")
    with torch.no_grad(), policy.disable_adapter():
        off_TV = response_logits(policy, batch)
    base_TV = response_logits(llama.model, batch)
    assert torch.equal(off_TV, base_TV)
    assert not torch.allclose(response_logits(policy, batch), base_TV, atol=1e-2)


def test_a_model_that_makes_its_logits_otherwise_is_refused(llama: LoadedModel) -> None:
    check_projection(llama.model)
    model = copy.deepcopy(llama.model)
    plain_forward = model.forward

    def scaled_forward(**inputs: Tensor) -> object:
        output = plain_forward(**inputs)
        output.logits = output.logits * 2
        return output

    model.forward = scaled_forward
    with pytest.raises(UnknownProjection, match="'llama'"):
        check_projection(model)


@pytest.mark.real_model
def test_the_real_model_scores_as_the_naive_run_does(real_model: LoadedModel) -> None:
    samples = make_samples(real_model, SYSTEM * 6, count=5)
    assert_naive(real_model, samples, response_logprobs(real_model.model, samples))
