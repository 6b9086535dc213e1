from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rolekeeper.lm.cascade import Cascade, Group, UnknownAttention, merge, packed_hidden
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.packing import tree_mask
from rolekeeper.lm.prefix import compute_prefix


def hidden_of(loaded: LoadedModel, ids: list[int]) -> Tensor:
    """The naive twin: these ids and nothing else, with the model's own attention."""
    with torch.inference_mode():
        hidden: Tensor = loaded.model.base_model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    return hidden


def test_two_keys_merged_by_hand() -> None:
    # One query; each part has one key, so its output is the value and its log-sum-exp the score: softmax of log 3, 0.
    first, second = torch.tensor([[[[8.0]]]]), torch.tensor([[[[4.0]]]])
    merged = merge(first, torch.tensor([[[math.log(3.0)]]]), second, torch.tensor([[[0.0]]]))
    assert merged.item() == pytest.approx(0.75 * 8 + 0.25 * 4)


def test_merged_parts_are_the_softmax_over_all_keys() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    scores = query @ keys.transpose(-1, -2)
    parts = []
    for part in (slice(0, 4), slice(4, 9)):
        parts += [scores[..., part].softmax(-1) @ values[:, :, part], scores[..., part].logsumexp(-1)]
    torch.testing.assert_close(merge(*parts), scores.softmax(-1) @ values)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("prefix", [[], [9, 8, 7, 6, 5]])
def test_packed_groups_are_what_they_are_alone(
    tiny_models: dict[str, LoadedModel], architecture: str, prefix: list[int]
) -> None:
    loaded, past = tiny_models[architecture], len(prefix)
    trunk, branches, other = [11, 12, 13], ([14, 15], [16], [17, 18, 19]), [21, 22]
    ids = [*trunk, *(token for branch in branches for token in branch), *other]
    positions = [0, 1, 2, 3, 4, 3, 3, 4, 5, 0, 1]
    groups = [Group(0, 9, tree_mask([3, 2, 1, 3])), Group(9, 11)]
    with torch.inference_mode():
        cascade = Cascade(compute_prefix(loaded.model, prefix) if prefix else [], groups)
        packed = packed_hidden(loaded.model, torch.tensor(ids), torch.tensor(positions) + past, cascade)
    wanted = [hidden_of(loaded, [*prefix, *trunk])[past:]]
    wanted += [hidden_of(loaded, [*prefix, *trunk, *branch])[past + 3 :] for branch in branches]
    wanted += [hidden_of(loaded, [*prefix, *other])[past:]]
    torch.testing.assert_close(packed, torch.cat(wanted), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_short_groups_have_the_gradients_of_the_fused_kernel(
    tiny_models: dict[str, LoadedModel], architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models[architecture].model
    ids, positions = torch.tensor([11, 12, 13, 14, 15, 16, 21, 22, 23]), torch.tensor([0, 1, 2, 3, 2, 3, 0, 1, 2])
    cascade = Cascade([], [Group(0, 6, tree_mask([2, 2, 2])), Group(6, 9)])
    weights = [weight for name, weight in model.named_parameters() if name.endswith("k_proj.weight")]
    found = []
    for longest in (0, 3, 6):  # the kernel for both groups, products for the shorter one, products for both
        monkeypatch.setattr("rolekeeper.lm.cascade.MAX_PRODUCTS", longest)
        with torch.enable_grad():
            for weight in weights:
                weight.requires_grad_(True)
            hidden_TD = packed_hidden(model, ids, positions, cascade)
            found.append([hidden_TD.detach(), *torch.autograd.grad(hidden_TD.square().sum(), weights)])
        for weight in weights:
            weight.requires_grad_(False)
    for kernel, one, both in zip(*found, strict=True):
        torch.testing.assert_close(one, kernel, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both, kernel, atol=1e-4, rtol=1e-4)
    assert found[0][1].abs().max() > 0


def test_softcapped_and_sliding_attention_is_refused_and_the_model_stays_as_it_was(
    tiny_models: dict[str, LoadedModel],
) -> None:
    loaded = tiny_models["gemma2"]
    before = loaded.model.config._attn_implementation
    with torch.inference_mode(), pytest.raises(UnknownAttention, match="Gemma2Attention asks for"):
        packed_hidden(loaded.model, torch.tensor([3, 4]), torch.tensor([0, 1]), Cascade([], [Group(0, 2)]))
    assert loaded.model.config._attn_implementation == before
    assert len(hidden_of(loaded, [3, 4])) == 2
