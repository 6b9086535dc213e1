from __future__ import annotations

import math

import torch

from rolekeeper.method.logprobs import token_logprobs


def test_hand_computed() -> None:
    # softmax of (0, ln 3) is (1/4, 3/4)
    logits_TV = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])
    torch.testing.assert_close(
        token_logprobs(logits_TV, torch.tensor([0, 1])), torch.tensor([math.log(0.25), math.log(0.75)])
    )


def test_equals_the_naive_twin_and_is_fp32_for_bf16_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_TV = (torch.randn(17, 301, generator=generator) * 8).bfloat16()
    labels_T = torch.randint(0, 301, (17,), generator=generator)
    naive_T = torch.log_softmax(logits_TV.float(), dim=-1)[torch.arange(17), labels_T]
    ours_T = token_logprobs(logits_TV, labels_T)
    assert ours_T.dtype == torch.float32
    torch.testing.assert_close(ours_T, naive_T, atol=1e-5, rtol=0)


def test_large_logits_do_not_overflow() -> None:
    logits_TV = torch.tensor([[1e4, 1e4 - 1.0]])
    expected = -math.log(1 + math.exp(-1.0))
    assert abs(float(token_logprobs(logits_TV, torch.tensor([0]))) - expected) < 1e-3
