from __future__ import annotations

import pytest
import torch

from rolekeeper.lm.generation.attention import Limits, attend, causal_mask, plain_attend

CPU = torch.device("cpu")


def states(length: int, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    query, key, value = (
        torch.randn(2, heads, count, 8, generator=generator) for heads, count in ((6, length), (3, keys), (3, keys))
    )
    return query, key, value


def test_a_causal_window_by_hand() -> None:
    seen = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert (causal_mask(4, 2, CPU) == 0).int().tolist() == seen
    assert (causal_mask(3, None, CPU) == 0).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("window", [None, 5, 50])
def test_the_kernel_equals_what_is_written_down(window: int | None) -> None:
    limits = Limits(0.3, None, window)
    ours = attend(*states(11, 11), limits, is_causal=True)
    plain = plain_attend(*states(11, 11), limits, causal_mask(11, window, CPU))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_a_mask_over_keys_is_that_of_each_row() -> None:
    query, key, value = states(2, 9)
    mask_B11S = torch.zeros(2, 1, 1, 9)
    mask_B11S[1, ..., :4] = float("-inf")
    out_BHLD, lse_BHL = attend(query, key, value, Limits(0.3, None, None), mask_B11S)
    alone_BHLD, alone_lse_BHL = attend(query[1:], key[1:, :, 4:], value[1:, :, 4:], Limits(0.3, None, None))
    torch.testing.assert_close(out_BHLD[1:], alone_BHLD)
    torch.testing.assert_close(lse_BHL[1:], alone_lse_BHL)


def test_a_softcap_by_hand() -> None:
    """Scores of 2 and 0 under a cap of 1: tanh 2 and 0."""
    query, key = torch.ones(1, 1, 1, 1), torch.tensor([[[[2.0], [0.0]]]])
    out, lse = attend(query, key, torch.tensor([[[[1.0], [0.0]]]]), Limits(1.0, 1.0, None))
    scores = torch.tensor([2.0, 0.0]).tanh()
    torch.testing.assert_close(out.flatten(), scores.softmax(0)[:1])
    torch.testing.assert_close(lse.flatten(), scores.logsumexp(0, keepdim=True))
