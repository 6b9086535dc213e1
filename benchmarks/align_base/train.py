"""LoRA training of the recipe: on the CPU, and deterministic for one machine and one number of threads.

Shapes: T response tokens of a batch, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import collate, response_logits

PROJECTIONS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
StepProgress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Hyperparameters:
    """What the training depends on besides the seed and the data."""

    rank: int = 6
    alpha: int = 12
    learning_rate: float = 8e-4
    epochs: int = 2
    batch: int = 8
    warmup: float = 0.05
    clip: float = 1.0


def train_adapter(
    model: PreTrainedModel,
    samples: Sequence[EncodedSample],
    hyperparameters: Hyperparameters,
    seed: int,
    progress: StepProgress,
) -> PeftModel:
    """Trains a LoRA adapter on the samples and returns the model with it attached."""
    torch.manual_seed(seed)
    policy = get_peft_model(model, lora_config(hyperparameters))
    policy.train()
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=hyperparameters.learning_rate, weight_decay=0.0)
    batches = draw_batches(samples, hyperparameters, seed)
    # A fixed divisor gives each response token the same weight, whatever shares its batch. So the first token, which
    # decides between refusing and answering, weighs the same in a short refusal and in a long answer.
    tokens_per_batch = sum(len(sample.response_ids) for sample in samples) / len(samples) * hyperparameters.batch
    for step, batch in enumerate(batches, start=1):
        set_learning_rate(optimizer, hyperparameters, step / len(batches))
        loss = summed_cross_entropy(policy, batch) / tokens_per_batch
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, hyperparameters.clip)
        optimizer.step()
        optimizer.zero_grad()
        progress(step, len(batches), loss.item())
    return policy


def lora_config(hyperparameters: Hyperparameters) -> LoraConfig:
    """LoRA on all seven projections, without dropout."""
    return LoraConfig(
        r=hyperparameters.rank,
        lora_alpha=hyperparameters.alpha,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )


def draw_batches(
    samples: Sequence[EncodedSample], hyperparameters: Hyperparameters, seed: int
) -> list[list[EncodedSample]]:
    """Batches of all epochs, in order. Samples of like length share a batch, which saves padding."""
    rng = random.Random(f"{seed}/batches")
    batches = []
    for _ in range(hyperparameters.epochs):
        order = rng.sample(range(len(samples)), len(samples))
        epoch = []
        for window in cut(order, 4 * hyperparameters.batch):
            epoch += cut(sorted(window, key=lambda index: num_tokens(samples[index])), hyperparameters.batch)
        rng.shuffle(epoch)
        batches += [[samples[index] for index in batch] for batch in epoch]
    return batches


def cut(items: Sequence[int], size: int) -> list[Sequence[int]]:
    """Runs of `size` items; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def num_tokens(sample: EncodedSample) -> int:
    """Tokens of prompt and response."""
    return len(sample.prompt_ids) + len(sample.response_ids)


def set_learning_rate(optimizer: torch.optim.Optimizer, hyperparameters: Hyperparameters, done: float) -> None:
    """Linear warm-up, then linear decay to 5 % of the peak. `done` is the share of the steps, this one included."""
    rise, fall = done / hyperparameters.warmup, (1 - done) / (1 - hyperparameters.warmup)
    for group in optimizer.param_groups:
        group["lr"] = hyperparameters.learning_rate * min(rise, max(0.05, fall))


def summed_cross_entropy(policy: PeftModel, samples: Sequence[EncodedSample]) -> Tensor:
    """Sum of -log p over the response tokens of the batch."""
    batch = collate(samples, pad_id=0, device=policy.device)
    logits_TV = response_logits(policy, batch)
    return torch.nn.functional.cross_entropy(logits_TV.float(), batch.labels_T, reduction="sum")
