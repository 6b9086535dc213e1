"""Losses of whole samples, with gradients, and no more logits at once than a chunk.

Shapes: B samples, T response tokens of all samples, flat, C rows of a chunk, D hidden, P weights of the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import collate, project, response_hidden
from rolekeeper.method.fused import CHUNK_ROWS
from rolekeeper.method.logprobs import token_logprobs
from services.trainer.program.policy import trained_weights


def sample_losses(policy: PeftModel, samples: Sequence[EncodedSample]) -> Tensor:
    """Return the mean cross-entropy [B] over the response tokens of each sample, in nats. Gradients flow."""
    batch = collate(samples, pad_id=0, device=policy.device)
    hidden_TD = response_hidden(policy, batch)

    def chunk_logprobs(hidden_CD: Tensor, labels_C: Tensor) -> Tensor:
        return token_logprobs(project(policy, hidden_CD), labels_C)

    chunks = zip(hidden_TD.split(CHUNK_ROWS), batch.labels_T.split(CHUNK_ROWS), strict=True)
    parts = [checkpoint(chunk_logprobs, hidden, labels, use_reentrant=False) for hidden, labels in chunks]
    by_sample = torch.cat(parts).split([len(sample.response_ids) for sample in samples])
    return -torch.stack([logprobs_T.mean() for logprobs_T in by_sample])


def loss_gradient(policy: PeftModel, sample: EncodedSample) -> Tensor:
    """Return the gradient [P] of one sample's loss by all weights of the adapter, fp32."""
    (loss,) = sample_losses(policy, [sample])
    gradients = torch.autograd.grad(loss, [*trained_weights(policy).values()])
    return torch.cat([gradient.flatten().float() for gradient in gradients])
