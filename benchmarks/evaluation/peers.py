"""How transformers answers: `generate` over left-padded batches, and the text-generation pipeline one by one.

Shapes: B samples, S positions (padded).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, pipeline

from rolekeeper.errors import RolekeeperError

BATCH_SIZE = 32

Answers = list[list[int]]
"""Token ids of each answer, with its end token if it has ended by itself."""


class Disagreement(RolekeeperError):
    """A peer answered something else, and no tie explains it."""

    code = "benchmark_disagrees"


class Peers(NamedTuple):
    """What the peers answer with. The model is a copy as transformers builds it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_new_tokens: int

    def generate(self, prompts: Sequence[Sequence[int]]) -> Answers:
        """Batches of 32 in the order given, left-padded, as evaluation scripts do."""
        batches = [prompts[start : start + BATCH_SIZE] for start in range(0, len(prompts), BATCH_SIZE)]
        return [answer for batch in batches for answer in self._batch(batch)]

    def pipeline(self, prompts: Sequence[Sequence[int]]) -> Answers:
        """Texts through the pipeline, one after the other."""
        texts = [self.tokenizer.decode(list(ids)) for ids in prompts]
        make = cast(Any, pipeline)  # its overloads know this task's tokenizer by another type
        answering = make("text-generation", model=self.model, tokenizer=self.tokenizer, batch_size=1)
        outputs = answering(texts, return_tensors=True, generation_config=self._config(), add_special_tokens=False)
        answers = []
        for ids, (output,) in zip(prompts, outputs, strict=True):
            whole = list(output["generated_token_ids"])
            if whole[: len(ids)] != list(ids):
                raise Disagreement("the pipeline reads a prompt's text as other ids; choose another model")
            answers.append(whole[len(ids) :])
        return answers

    def _batch(self, prompts: Sequence[Sequence[int]]) -> Answers:
        width, config = max(map(len, prompts)), self._config()
        input_ids_BS = torch.full((len(prompts), width), int(config.pad_token_id or 0))
        mask_BS = torch.zeros_like(input_ids_BS)
        for row, ids in enumerate(prompts):
            input_ids_BS[row, width - len(ids) :] = torch.tensor(list(ids))
            mask_BS[row, width - len(ids) :] = 1
        with torch.inference_mode():
            output_BS = cast(Any, self.model).generate(
                inputs=input_ids_BS, attention_mask=mask_BS, generation_config=config
            )
        return [self._cut(ids) for ids in output_BS[:, width:].tolist()]

    def _cut(self, ids: list[int]) -> list[int]:
        """Without what pads an answer that ended before others."""
        end = int(self.tokenizer.eos_token_id)
        return ids[: ids.index(end) + 1] if end in ids else ids

    def _config(self) -> GenerationConfig:
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )


class Agreement(NamedTuple):
    """How many answers are the same ids; of the others, the widest gap of logits where two part."""

    num_same: int
    widest_tie: float


def compare(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], ours: Answers, theirs: Answers, tie: float
) -> Agreement:
    """Hold our answers against a peer's. Raises Disagreement where they part at more than a tie.

    The gap is that between the logits of the two tokens in the model's own forward over the prompt alone.
    """
    num_same, widest = 0, 0.0
    for prompt, our, their in zip(prompts, ours, theirs, strict=True):
        if our == their:
            num_same += 1
            continue
        place = next((i for i, pair in enumerate(zip(our, their, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            raise Disagreement("an answer goes on where the peer's has ended")
        with torch.inference_mode():
            logits_V = model(input_ids=torch.tensor([[*prompt, *our[:place]]]), use_cache=False).logits[0, -1]
        gap = abs(float(logits_V[our[place]] - logits_V[their[place]]))
        if gap > tie:
            raise Disagreement(
                f"at token {place} of an answer the peer chose another token; their logits are {gap} apart"
            )
        widest = max(widest, gap)
    return Agreement(num_same, widest)
