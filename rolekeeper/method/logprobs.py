"""Log-probs of chosen tokens.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_logprobs(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """Return log p(label) for each row of logits, in nats, fp32 whatever the dtype of the logits.

    Naive twin: `log_softmax(logits_TV.float(), dim=-1)[arange(T), labels_T]`, which writes a second tensor of T x V.
    """
    logits_TV = logits_TV.float()
    chosen_T = logits_TV.gather(-1, labels_T.unsqueeze(-1)).squeeze(-1)
    return chosen_T - torch.logsumexp(logits_TV, dim=-1)
