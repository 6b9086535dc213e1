"""LoRA training of the recipe: on the CPU, and deterministic for one machine and one number of threads.

Refusals are learned by cross-entropy. Everything else is held to the raw model by the forward KL: at the first tokens
of its answers to harmless requests, where a model decides to answer (arXiv 2406.05946 found that alignment lives in the
first tokens), and along long texts.

Shapes: T response tokens of a step, D hidden, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import project, response_rows
from rolekeeper.method.rbo import KlDirection, ce_sum, token_kl

PROJECTIONS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
Item = TypeVar("Item")
StepProgress = Callable[[int, int, "StepLosses"], None]


@dataclass(frozen=True)
class Hyperparameters:
    """What the training depends on besides the seed and the data.

    A step takes one plain scene, one under a profile, and `kept` texts. Of an answered sample `first_tokens` count, and
    their KL is summed and multiplied by `first_weight`; the KL of kept texts is a mean, multiplied by `kept_weight`.
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 7e-4
    steps: int = 300
    kept: int = 1
    first_tokens: int = 16
    first_weight: float = 2.0
    kept_weight: float = 2.0
    warmup: float = 0.05
    clip: float = 1.0


class EncodedScene(NamedTuple):
    """Encoded requests under one system text: refusals to learn, and first tokens to keep."""

    refused: Sequence[EncodedSample]
    answered: Sequence[EncodedSample]


class Samples(NamedTuple):
    """All that is trained on: scenes without and with a profile, and texts to keep."""

    plain: Sequence[EncodedScene]
    role: Sequence[EncodedScene]
    kept: Sequence[EncodedSample]


class StepLosses(NamedTuple):
    """Losses of one step, in nats: CE a token, summed KL of first tokens a sample, and KL a token of kept texts."""

    refused: float
    answered: float
    kept: float


class Reference(NamedTuple):
    """Samples and the raw model's last hidden states at their response tokens, in the same order."""

    samples: Sequence[EncodedSample]
    states_TD: Tensor


class Step(NamedTuple):
    """What one step learns from."""

    refused: Sequence[EncodedSample]
    answered: Reference
    kept: Reference


def train_adapter(
    model: PreTrainedModel, samples: Samples, hyperparameters: Hyperparameters, seed: int, progress: StepProgress
) -> PeftModel:
    """Trains a LoRA adapter on the samples and returns the model with it attached."""
    torch.manual_seed(seed)
    policy = get_peft_model(model, lora_config(hyperparameters))
    policy.train()
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=hyperparameters.learning_rate, weight_decay=0.0)
    steps = draw_steps(policy, samples, hyperparameters, random.Random(f"{seed}/batches"))
    for number, step in enumerate(islice(steps, hyperparameters.steps), start=1):
        set_learning_rate(optimizer, hyperparameters, number / hyperparameters.steps)
        losses = backward(policy, step, hyperparameters)
        torch.nn.utils.clip_grad_norm_(weights, hyperparameters.clip)
        optimizer.step()
        optimizer.zero_grad()
        progress(number, hyperparameters.steps, losses)
    return policy


def draw_steps(
    policy: PeftModel, samples: Samples, hyperparameters: Hyperparameters, rng: random.Random
) -> Iterator[Step]:
    """Steps without end: every scene and text has its turn before any has another."""
    plain, role, kept = in_turn(samples.plain, rng), in_turn(samples.role, rng), in_turn(samples.kept, rng)
    for one, other in zip(plain, role, strict=True):
        answered = [*one.answered, *other.answered]
        texts = list(islice(kept, hyperparameters.kept))
        both = refer(policy, [*answered, *texts])
        num_first = sum(len(sample.response_ids) for sample in answered)
        yield Step(
            [*one.refused, *other.refused],
            Reference(answered, both[:num_first]),
            Reference(texts, both[num_first:]),
        )


def refer(policy: PeftModel, samples: Sequence[EncodedSample]) -> Tensor:
    """The raw model's last hidden states [T, D] at the response tokens of the samples, one after the other."""
    with policy.disable_adapter(), torch.no_grad():
        return response_rows(policy, samples).hidden_TD


def in_turn(items: Sequence[Item], rng: random.Random) -> Iterator[Item]:
    """All items in a seeded order, again and again, each time in another."""
    while True:
        yield from rng.sample(items, len(items))


def backward(policy: PeftModel, step: Step, hyperparameters: Hyperparameters) -> StepLosses:
    """Adds the gradient of one step."""
    rows = response_rows(policy, [*step.refused, *step.answered.samples, *step.kept.samples])
    num_tokens = sum(len(sample.response_ids) for sample in step.refused)
    refused = ce_sum(project(policy, rows.hidden_TD[:num_tokens]), rows.labels_T[:num_tokens]) / num_tokens
    reference_TV = project(policy, torch.cat([step.answered.states_TD, step.kept.states_TD]))
    kl_T = token_kl(project(policy, rows.hidden_TD[num_tokens:]), reference_TV, KlDirection.FORWARD)
    num_first = len(step.answered.states_TD)
    answered, kept = kl_T[:num_first].sum() / len(step.answered.samples), kl_T[num_first:].mean()
    loss = refused + hyperparameters.first_weight * answered + hyperparameters.kept_weight * kept
    loss.backward()
    return StepLosses(refused.item(), answered.item(), kept.item())


def lora_config(hyperparameters: Hyperparameters) -> LoraConfig:
    """LoRA on all seven projections, without dropout."""
    return LoraConfig(
        r=hyperparameters.rank,
        lora_alpha=hyperparameters.alpha,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, hyperparameters: Hyperparameters, done: float) -> None:
    """Linear warm-up, then linear decay to 5 % of the peak. `done` is the share of the steps, this one included."""
    rise, fall = done / hyperparameters.warmup, (1 - done) / (1 - hyperparameters.warmup)
    for group in optimizer.param_groups:
        group["lr"] = hyperparameters.learning_rate * min(rise, max(0.05, fall))
