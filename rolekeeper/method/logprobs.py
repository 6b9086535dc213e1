"""Log-probs of chosen tokens.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_logprobs(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """Return log p(label) for each row of logits, in nats, fp32 whatever the dtype of the logits.

    Naive twin: `log_softmax(logits_TV.float(), dim=-1)[arange(T), labels_T]`; this is its fused kernel.
    """
    return -torch.nn.functional.cross_entropy(logits_TV.float(), labels_T, reduction="none")
