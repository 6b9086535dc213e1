from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rolekeeper.method.rbo import KlDirection, ce_sum, decision_kl, kl_sum, official_terms, rbo_loss, token_kl


def random_logits(seed: int, tokens: int = 12, vocabulary: int = 31) -> Tensor:
    return torch.randn(tokens, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def test_kl_hand_computed() -> None:
    policy_TV = torch.tensor([[0.0, 0.0]])  # (1/2, 1/2)
    reference_TV = torch.tensor([[0.0, math.log(3.0)]])  # (1/4, 3/4)
    reverse = 0.5 * math.log(2.0) + 0.5 * math.log(2.0 / 3.0)
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    torch.testing.assert_close(token_kl(policy_TV, reference_TV, KlDirection.REVERSE), torch.tensor([reverse]))
    torch.testing.assert_close(token_kl(policy_TV, reference_TV, KlDirection.FORWARD), torch.tensor([forward]))


@pytest.mark.parametrize("direction", list(KlDirection))
def test_kl_equals_the_naive_twin_and_is_zero_only_at_the_reference(direction: KlDirection) -> None:
    policy_TV, reference_TV = random_logits(1), random_logits(2)
    p_TV, q_TV = policy_TV.double().softmax(-1), reference_TV.double().softmax(-1)
    a_TV, b_TV = (p_TV, q_TV) if direction is KlDirection.REVERSE else (q_TV, p_TV)
    naive_T = torch.stack([sum((a * (a / b).log() for a, b in zip(*rows, strict=True)), torch.zeros(()).double())
                           for rows in zip(a_TV, b_TV, strict=True)])  # fmt: skip
    ours_T = token_kl(policy_TV, reference_TV, direction)
    torch.testing.assert_close(ours_T, naive_T.float(), atol=1e-5, rtol=1e-5)
    assert bool((ours_T > 0).all())
    torch.testing.assert_close(token_kl(policy_TV, policy_TV, direction), torch.zeros(12), atol=1e-6, rtol=0)


def test_kl_is_fp32_for_bf16_logits() -> None:
    assert (
        token_kl(random_logits(1).bfloat16(), random_logits(2).bfloat16(), KlDirection.REVERSE).dtype == torch.float32
    )


def test_gradient_of_the_reverse_kl() -> None:
    """d KL / d logit_v = p_v (log p_v - log q_v - KL)."""
    policy_TV, reference_TV = random_logits(3).requires_grad_(), random_logits(4)
    kl_T = token_kl(policy_TV, reference_TV, KlDirection.REVERSE)
    (gradient_TV,) = torch.autograd.grad(kl_T.sum(), policy_TV)
    p_TV = policy_TV.detach().softmax(-1)
    ratio_TV = policy_TV.detach().log_softmax(-1) - reference_TV.log_softmax(-1)
    torch.testing.assert_close(gradient_TV, p_TV * (ratio_TV - kl_T.detach()[:, None]), atol=1e-5, rtol=1e-5)


def test_forward_kl_with_ce_is_label_smoothing_towards_the_reference() -> None:
    """-log p(y) + w KL(q || p) has its minimum at (onehot(y) + w q) / (1 + w)."""
    reference_TV, labels_T, weight = random_logits(5, tokens=3, vocabulary=7), torch.tensor([0, 3, 6]), 0.5
    target_TV = (functional.one_hot(labels_T, 7) + weight * reference_TV.softmax(-1)) / (1 + weight)
    logits_TV = target_TV.log().requires_grad_()
    loss = ce_sum(logits_TV, labels_T) + weight * token_kl(logits_TV, reference_TV, KlDirection.FORWARD).sum()
    (gradient_TV,) = torch.autograd.grad(loss, logits_TV)
    torch.testing.assert_close(gradient_TV, torch.zeros_like(gradient_TV), atol=1e-6, rtol=0)


def test_ce_sum_equals_torch() -> None:
    logits_TV, labels_T = random_logits(6), torch.arange(12)
    torch.testing.assert_close(
        ce_sum(logits_TV, labels_T), functional.cross_entropy(logits_TV, labels_T, reduction="sum")
    )


def test_kl_sum_hand_computed() -> None:
    kl_T = torch.tensor([1.0, 3.0, 5.0])
    # Sample 0 has mean 2, sample 2 has mean 5, samples 1 and 3 have no tokens.
    assert float(kl_sum(kl_T, torch.tensor([0, 0, 2]), num_samples=4)) == 7.0
    assert float(kl_sum(torch.zeros(0), torch.zeros(0, dtype=torch.long), num_samples=4)) == 0.0


def test_loss_hand_computed() -> None:
    loss = rbo_loss(torch.tensor(12.0), num_tokens=6, kl_sum=torch.tensor(7.0), num_samples=4, kl_weight=0.1)
    assert float(loss) == pytest.approx(2.0 + 0.1 * 7.0 / 4.0)


def test_decision_kl_hand_computed() -> None:
    """1/2 under the policy and 1/4 under the reference, and the other way round where they change places."""
    policy_T, reference_T = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    reverse = 0.5 * math.log(2.0) + 0.5 * math.log(2.0 / 3.0)
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    torch.testing.assert_close(decision_kl(policy_T, reference_T, KlDirection.REVERSE), torch.tensor([reverse]))
    torch.testing.assert_close(decision_kl(policy_T, reference_T, KlDirection.FORWARD), torch.tensor([forward]))


@pytest.mark.parametrize("direction", list(KlDirection))
def test_decision_kl_is_that_of_a_vocabulary_of_two(direction: KlDirection) -> None:
    """Naive twin: all other words are one. What they are does not matter, so it is never above the KL over all."""
    policy_TV, reference_TV, labels_T = random_logits(11), random_logits(12), torch.arange(12)
    logprobs = [logits_TV.log_softmax(-1)[torch.arange(12), labels_T] for logits_TV in (policy_TV, reference_TV)]
    two = [torch.stack([each_T, (1 - each_T.exp()).log()], dim=-1) for each_T in logprobs]
    ours_T = decision_kl(logprobs[0], logprobs[1], direction)
    torch.testing.assert_close(ours_T, token_kl(two[0], two[1], direction), atol=1e-5, rtol=1e-4)
    assert bool((ours_T <= token_kl(policy_TV, reference_TV, direction) + 1e-5).all())


@pytest.mark.parametrize("direction", list(KlDirection))
def test_decision_kl_is_finite_where_nothing_else_is_possible(direction: KlDirection) -> None:
    sure_T = torch.zeros(1, requires_grad=True)
    kl_T = decision_kl(sure_T, torch.tensor([-30.0]), direction)
    (gradient_T,) = torch.autograd.grad(kl_T.sum(), sure_T)
    assert bool(kl_T.isfinite().all() and gradient_T.isfinite().all())
    assert decision_kl(torch.zeros(1), torch.zeros(1), direction).item() == 0.0


def test_official_terms_hand_computed() -> None:
    """Two prompt tokens and two of the response, of two words. The policy is (1/2, 1/2) everywhere.

    CE: 2 log 2 over all four tokens. KL(q || p) with q = (1/4, 3/4) at the first position and the last, the one after
    the end, and q = p between.
    """
    policy_SV = torch.zeros(4, 2)
    away = [0.0, math.log(3.0)]
    reference_SV = torch.tensor([away, [0.0, 0.0], [0.0, 0.0], away])
    ce, kl = official_terms(policy_SV, reference_SV, torch.tensor([0, 1, 1, 0]), num_prompt=2)
    assert ce.item() == pytest.approx(2 * math.log(2.0) / 4)
    assert kl.item() == pytest.approx(2 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 4)


def test_official_ce_looks_at_the_rows_before_the_response() -> None:
    policy_SV = torch.tensor([[9.0, 0.0], [0.0, math.log(3.0)], [0.0, 0.0], [7.0, 0.0]])
    ce, kl = official_terms(policy_SV, policy_SV, torch.tensor([0, 1, 1, 0]), num_prompt=2)
    assert ce.item() == pytest.approx((math.log(4.0 / 3.0) + math.log(2.0)) / 4)
    assert kl.item() == pytest.approx(0.0, abs=1e-7)


def test_micro_batches_add_up_to_the_global_batch() -> None:
    logits_TV, reference_TV, labels_T = random_logits(7), random_logits(8), torch.arange(12)
    sample_T = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    flagged = (1, 3)

    def loss_of(samples: list[int]) -> Tensor:
        rows = torch.isin(sample_T, torch.tensor(samples))
        harmful = rows & torch.isin(sample_T, torch.tensor(flagged))
        kl_T = token_kl(logits_TV[harmful], reference_TV[harmful], KlDirection.REVERSE)
        return rbo_loss(
            ce_sum(logits_TV[rows], labels_T[rows]), 12, kl_sum(kl_T, sample_T[harmful], 4), 4, kl_weight=0.5
        )

    torch.testing.assert_close(loss_of([0, 1, 2, 3]), loss_of([0, 3]) + loss_of([2]) + loss_of([1]))
