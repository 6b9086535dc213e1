"""How much each token of a flagged sample counts in its KL: the more, the more the unsafe prompt rather says it.

Shapes: T response tokens of one sample.
"""

from __future__ import annotations

import torch
from torch import Tensor


def margin_weights(margin_T: Tensor) -> Tensor:
    """Return what the KL at each token counts: T max(m_t, 0) / sum_s max(m_s, 0), fp32, with mean 1.

    `margin_T` is m_t = log q(y_t | U, x) - log q(y_t | P, x), in nats: RDS's margin, not yet averaged over the tokens.
    The score of a token is that of TOSS (arXiv 2603.01185), log p_harmful(y_t) - log p_useful(y_t), with the base model
    under two prompts for the two models; as in STAR-DSS (arXiv 2505.17196) it is a weight and not a mask. With mean 1,
    samples count in the loss as they do without it. Where no token has a margin above 0, all weights are 1.
    """
    positive_T = margin_T.float().clamp_min(0.0)
    total = positive_T.double().sum()
    if not bool(total > 0):
        return torch.ones_like(positive_T)
    return (len(positive_T) * positive_T.double() / total).float()
