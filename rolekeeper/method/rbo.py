"""Role-Safety Balance Optimization (RBO): learn the role from everything, stay at the base model on the harmful subset.

The loss term by term, as it is stated, on all logits at once. Training takes the same loss from hidden states
(`rolekeeper.method.fused`), which is tested against these functions.

Shapes: T response tokens (of all samples of a micro-batch, flat), S tokens of one sample, V vocabulary.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from rolekeeper.method.logprobs import token_logprobs

_NEARLY_SURE = -1e-6
"""The largest log-prob of an outcome of two, so that the other one has a logarithm."""


class KlDirection(StrEnum):
    """REVERSE is KL(policy || reference), as the paper states; FORWARD is KL(reference || policy), as its code does."""

    REVERSE = "reverse"
    FORWARD = "forward"


def ce_sum(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """Return the sum of -log p(label) over the response tokens of all samples, a scalar in nats."""
    return -token_logprobs(logits_TV, labels_T).sum()


def token_kl(policy_logits_TV: Tensor, reference_logits_TV: Tensor, direction: KlDirection) -> Tensor:
    """Return the KL divergence over the vocabulary at each token, in nats, fp32.

    REVERSE: sum_v p (log p - log q); FORWARD: sum_v q (log q - log p); p is the policy and q the reference.
    """
    policy_TV = torch.log_softmax(policy_logits_TV.float(), dim=-1)
    reference_TV = torch.log_softmax(reference_logits_TV.float(), dim=-1)
    if direction is KlDirection.REVERSE:
        return (policy_TV.exp() * (policy_TV - reference_TV)).sum(dim=-1)
    return (reference_TV.exp() * (reference_TV - policy_TV)).sum(dim=-1)


def decision_kl(policy_T: Tensor, reference_T: Tensor, direction: KlDirection) -> Tensor:
    """Return the KL divergence [T] at each token between two outcomes only: this token, or any other. Nats.

    Given are the log-probs of one token under policy and reference, a and b their probabilities. REVERSE:
    a log(a / b) + (1 - a) log((1 - a) / (1 - b)); FORWARD: the same with a and b exchanged. Along a refusal it holds
    how likely the policy is to refuse, and leaves open what it says instead. It is never above `token_kl`.
    """
    policy_T, reference_T = policy_T.clamp(max=_NEARLY_SURE), reference_T.clamp(max=_NEARLY_SURE)
    if direction is KlDirection.FORWARD:
        policy_T, reference_T = reference_T, policy_T
    policy_other_T, reference_other_T = (torch.log(-torch.expm1(each)) for each in (policy_T, reference_T))
    return policy_T.exp() * (policy_T - reference_T) + policy_other_T.exp() * (policy_other_T - reference_other_T)


def kl_sum(kl_T: Tensor, sample_T: Tensor, num_samples: int) -> Tensor:
    """Return the sum over samples of the mean token KL of each, a scalar in nats.

    `kl_T` holds the tokens of flagged samples only; `sample_T` says which sample (0 to num_samples - 1) each belongs
    to. A sample without tokens adds nothing.
    """
    num_tokens_B = torch.bincount(sample_T, minlength=num_samples)
    return (kl_T / num_tokens_B[sample_T]).sum()


def rbo_loss(ce_sum: Tensor, num_tokens: int, kl_sum: Tensor, num_samples: int, kl_weight: float) -> Tensor:
    """Return L = CE(all) + kl_weight * KL(harmful), a scalar in nats.

    SaRFT (arXiv 2502.20968), RBO. `num_tokens` (response tokens) and `num_samples` (all samples, flagged or not) are
    those of the global batch, so the losses of its micro-batches add up to it exactly, and a larger harmful
    subset pulls harder, as in the released code. Unlike that code, both terms cover response tokens only and CE is
    divided by response tokens.
    """
    return ce_sum / num_tokens + kl_weight * kl_sum / num_samples


def official_terms(policy_SV: Tensor, reference_SV: Tensor, ids_S: Tensor, num_prompt: int) -> tuple[Tensor, Tensor]:
    """Return CE and KL of one sample as the released code takes them, scalars in nats.

    `ids_S` are prompt and response, the last one an input too; logits are those at all S positions. CE is the sum of
    -log p over the response tokens / S, KL the sum over all positions of KL(reference || policy) / S: those that
    predict prompt tokens, and the one after the end, count. The loss of a batch is the mean over its samples of
    CE + kl_weight * flag * KL. (The code divides by S + 1e-5, which fp32 hardly tells apart.)
    """
    labels = ids_S[num_prompt:]
    ce = ce_sum(policy_SV[num_prompt - 1 : -1], labels) / len(ids_S)
    return ce, token_kl(policy_SV, reference_SV, KlDirection.FORWARD).mean()
