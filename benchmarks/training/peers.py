"""Other ways to train the same adapter on the same rows, with the model as transformers loads it.

Shapes: B samples of a micro-batch, S positions (padded on the left), V vocabulary.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from benchmarks.scoring.peers import MICRO_BATCH, import_peer, masked_sums, pad_left, plain_copy
from benchmarks.training.ours import KL_WEIGHT
from benchmarks.training.workload import Outcome, Rows
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.linear import use_onednn
from services.trainer.program.adapter import targets_of

_IGNORED = -100
_TINY = 1e-5
"""What the released trainer adds to a count before it divides by it."""


class Peer(NamedTuple):
    """The model to copy, rows and hyperparameters. `onednn` gives peers our linear layers, which they do not have."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    hyper: Hyperparameters
    batch: int
    onednn: bool = False

    def trl(self, checkpointing: bool) -> Outcome:
        """One epoch of TRL's SFTTrainer; making it and its data set is not timed."""
        shares: list[Tensor] = []
        with tempfile.TemporaryDirectory() as folder, _quiet():
            trainer = import_peer("trl").SFTTrainer(
                model=self.policy(),
                args=self._trl_options(folder, checkpointing),
                train_dataset=_dataset(self.rows.in_order(self.hyper)),
                processing_class=self.tokenizer,
            )
            trainer.training_step = _recorded(trainer.training_step, shares)
            started_at = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - started_at
        return Outcome([seconds], _sum_in_blocks(shares, self.hyper.batch_size // self.batch))

    def official(self) -> Outcome:
        """One epoch of the released trainer's steps."""
        policy = self.policy()
        reference = plain_copy(self.model)
        if self.onednn:
            use_onednn(reference)
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=self.hyper.learning_rate, weight_decay=0.0)
        order = self.rows.order(self.hyper)
        losses = []
        started_at = time.perf_counter()
        for start in range(0, len(order), self.hyper.batch_size):
            indices = order[start : start + self.hyper.batch_size]
            losses.append(self._official_step(policy, reference, indices))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return Outcome([time.perf_counter() - started_at], losses)

    def policy(self) -> PeftModel:
        """A copy of the model under the adapter that ours begins with: the same modules, seed and weights."""
        model = plain_copy(self.model)
        set_seed(self.hyper.seed)
        config = LoraConfig(
            r=self.hyper.lora_rank,
            lora_alpha=self.hyper.lora_alpha,
            lora_dropout=0.0,
            target_modules=list(targets_of(self.hyper)),
            task_type="CAUSAL_LM",
        )
        policy = get_peft_model(model, config)
        if self.onednn:
            use_onednn(policy)
        return cast(PeftModel, policy)

    def _official_step(self, policy: PeftModel, reference: PreTrainedModel, indices: Sequence[int]) -> float:
        """Gradients of a global batch from micro-batches of two. Returns the mean of their losses."""
        pad_id = int(self.tokenizer.pad_token_id)
        blocks = [indices[start : start + MICRO_BATCH] for start in range(0, len(indices), MICRO_BATCH)]
        total = 0.0
        for block in blocks:
            role, unsafe, plain = (
                pad_left([context[index] for index in block], pad_id) for context in self.rows.contexts
            )
            flagged_B = official_flags(reference, role, unsafe)
            loss = official_loss(policy, reference, plain, flagged_B, KL_WEIGHT) / len(blocks)
            torch.autograd.backward(loss)
            total += loss.item()
        return total

    def _trl_options(self, folder: str, checkpointing: bool) -> Any:
        return import_peer("trl").SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=checkpointing,
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.hyper.batch_size // self.batch,
            num_train_epochs=1,
            learning_rate=self.hyper.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            max_length=640,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            seed=self.hyper.seed,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )


@torch.no_grad()
def official_flags(
    reference: PreTrainedModel, role: tuple[Tensor, Tensor, Tensor], unsafe: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """`compute_reward` of the released trainer: True [B] where the response is more likely under the unsafe prompt."""
    unsafe_logits_BSV = reference(input_ids=unsafe[0], attention_mask=unsafe[1]).logits
    role_logits_BSV = reference(input_ids=role[0], attention_mask=role[1]).logits
    unsafe_B, role_B = (
        masked_sums(logits_BSV, batch[2]) / ((batch[2] != _IGNORED).sum(-1) + _TINY)
        for logits_BSV, batch in ((unsafe_logits_BSV, unsafe), (role_logits_BSV, role))
    )
    return unsafe_B - role_B > 0


def official_loss(
    policy: PeftModel,
    reference: PreTrainedModel,
    plain: tuple[Tensor, Tensor, Tensor],
    flagged_B: Tensor,
    kl_weight: float,
) -> Tensor:
    """`compute_loss` of the released trainer (github.com/yulinlp/SaRFT, sarft/src/trainer.py), a scalar in nats.

    Logits of every position in fp32, CE over the response divided by all tokens of the sample, and KL(reference ||
    policy) at every token of every sample, which the flags then multiply by 0 or 1.
    """
    input_ids_BS, attention_mask_BS, labels_BS = plain
    tokens_B = attention_mask_BS.sum(1) + _TINY
    logits_BSV = policy(input_ids=input_ids_BS, attention_mask=attention_mask_BS).logits.float()
    shifted = logits_BSV[:, :-1].contiguous().flatten(0, 1)
    ce_BS = functional.cross_entropy(shifted, labels_BS[:, 1:].flatten(), reduction="none").view(len(labels_BS), -1)
    with torch.no_grad():  # there the frozen copy has no weight that learns
        reference_BSV = reference(input_ids=input_ids_BS, attention_mask=attention_mask_BS).logits.float()
    kl_BSV = functional.kl_div(logits_BSV.log_softmax(-1), reference_BSV.softmax(-1), reduction="none")
    kl_B = (kl_BSV.sum(-1) * attention_mask_BS).sum(1) / tokens_B
    return kl_weight * (kl_B * flagged_B).mean() + (ce_BS.sum(1) / tokens_B).mean()


def _recorded(step: Callable[..., Tensor], shares: list[Tensor]) -> Callable[..., Tensor]:
    """A training step of TRL that also keeps its micro-batch's share of the loss, which logs round."""

    def recorded(*values: Any, **options: Any) -> Tensor:
        share = step(*values, **options)
        shares.append(share)
        return share

    return recorded


def _dataset(samples: Sequence[EncodedSample]) -> Any:
    return import_peer("datasets").Dataset.from_list(
        [
            {
                "input_ids": [*sample.prompt_ids, *sample.response_ids],
                "completion_mask": [0] * len(sample.prompt_ids) + [1] * len(sample.response_ids),
            }
            for sample in samples
        ]
    )


def _sum_in_blocks(shares: Sequence[Tensor], size: int) -> list[float]:
    """Losses of steps from those of `size` micro-batches each."""
    return [float(torch.stack(list(shares[start : start + size])).sum()) for start in range(0, len(shares), size)]


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries print of their progress, and say about each other's options, would hide our lines."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import_peer("datasets").disable_progress_bars()
        yield
