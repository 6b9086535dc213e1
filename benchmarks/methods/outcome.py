"""What an adapter does to the dialogues that it was trained on, measured in the same way for every method."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel

from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.data import encode_samples, read_samples
from services.trainer.program.limit import Onlooker
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.rbo import KlTerm
from services.trainer.program.world import ALONE


class Outcome(NamedTuple):
    """CE of all samples, in nats per response token, and the mean KL to the base model of those that RDS flags."""

    ce: float
    kl: float


def measure_outcome(spec: TrainSpec, result: TrainResult, loaded: LoadedModel, harmful: Sequence[bool]) -> Outcome:
    """Load the adapter over its base model and measure it. `harmful` are RDS's flags, whatever the method took."""
    data = encode_samples(read_samples(Path(spec.samples_path), spec.samples_sha256), loaded, spec)
    data = data._replace(harmful=tuple(harmful))
    flagged = [index for index, flag in enumerate(harmful) if flag]
    with tempfile.TemporaryDirectory() as folder, tarfile.open(result.adapter_path) as tar:
        tar.extractall(folder, filter="data")
        policy = PeftModel.from_pretrained(loaded.model, folder)
        try:
            with torch.no_grad():
                logprobs = response_logprobs(policy.eval(), data.samples, spec.max_batch_tokens)
            kl = KlLoss(policy, data, KlTerm(1.0, KlDirection.REVERSE), spec.max_batch_tokens)
            kl_sum = kl.backward(Onlooker(ALONE), 0, flagged, len(flagged)).kl_sum
        finally:
            policy.unload()
    return Outcome(-float(torch.cat(logprobs).double().mean()), kl_sum / max(1, len(flagged)))
