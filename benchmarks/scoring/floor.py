"""How much arithmetic scoring needs, with and without sharing: floating-point operations as pure functions of lengths.

P weights in the linear layers of the trunk, d hidden size, V vocabulary, A operations for each pair of a query and a
key. A product of a vector with an m x n matrix is 2mn operations, so a token that runs through the trunk costs 2P, and
its logits cost 2dV. Attention multiplies a query with a key and adds a value, 2 Dh operations each, in H heads of L
layers: A = 4 L H Dh. The token at position t (from 0) sees t + 1 keys. So `count` tokens after `start` others cost

    trunk(start, count) = 2P count + A (start count + count (count + 1) / 2)

A sample is a prompt of n tokens and a response of y. The last response token is predicted, but nothing is predicted
from it, so n + y - 1 tokens run.

Norms, rotary embeddings, softmax and activations are left out: they are memory traffic more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel

from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample


class ModelSize(NamedTuple):
    """P, d, V and A of the formulas above."""

    trunk_weights: int
    hidden: int
    vocabulary: int
    attention: int

    @property
    def head(self) -> int:
        """Operations for the logits of one token, 2dV."""
        return 2 * self.hidden * self.vocabulary

    def trunk(self, start: int, count: int) -> int:
        """Operations for `count` tokens that follow `start` others."""
        pairs = start * count + count * (count + 1) // 2
        return 2 * self.trunk_weights * count + self.attention * pairs


class Question(NamedTuple):
    """Samples that have the same prompt: its tokens after the prefix, and the tokens of each response."""

    suffix: int
    responses: tuple[int, ...]


class ContextLengths(NamedTuple):
    """The samples of one context of one character. `prefix` tokens begin every prompt."""

    prefix: int
    questions: tuple[Question, ...]


def naive_flops(size: ModelSize, context: ContextLengths) -> int:
    """Operations when each sample runs alone with the logits of all its tokens, as lm-evaluation-harness does.

    Sum over samples of trunk(0, n + y - 1) + 2dV (n + y - 1). Padding is not counted.
    """
    lengths = [prompt + response - 1 for prompt, response in _samples(context)]
    return sum(size.trunk(0, length) + size.head * length for length in lengths)


def response_only_flops(size: ModelSize, context: ContextLengths) -> int:
    """The same with the logits of the response only: sum of trunk(0, n + y - 1) + 2dV y."""
    return sum(size.trunk(0, prompt + response - 1) + size.head * response for prompt, response in _samples(context))


def shared_flops(size: ModelSize, context: ContextLengths) -> int:
    """Operations when the prefix of p tokens runs once, each different prompt once, and each response by itself.

    trunk(0, p) + sum over different prompts of trunk(p, n - p) + sum over samples of trunk(n, y - 1) + 2dV y.
    """
    flops = size.trunk(0, context.prefix)
    for question in context.questions:
        prompt = context.prefix + question.suffix
        flops += size.trunk(context.prefix, question.suffix)
        flops += sum(size.trunk(prompt, response - 1) + size.head * response for response in question.responses)
    return flops


def bound(size: ModelSize, contexts: Iterable[ContextLengths]) -> float:
    """How many times as fast as the naive way sharing can be, if both run at the same rate: naive over shared."""
    contexts = tuple(contexts)
    naive = sum(naive_flops(size, context) for context in contexts)
    return naive / sum(shared_flops(size, context) for context in contexts)


def measure_lengths(samples: Sequence[EncodedSample]) -> ContextLengths:
    """Lengths of the samples of one context.

    The prefix is the longest that all prompts share, but never a whole prompt: the first response token is predicted
    from the prompt's last token, so that one has to run after the prefix.
    """
    prefix = common_prefix([sample.prompt_ids[:-1] for sample in samples])
    responses: dict[tuple[int, ...], list[int]] = {}
    for sample in samples:
        responses.setdefault(tuple(sample.prompt_ids), []).append(len(sample.response_ids))
    questions = (Question(len(prompt) - prefix, tuple(lengths)) for prompt, lengths in responses.items())
    return ContextLengths(prefix, tuple(questions))


def measure_size(model: PreTrainedModel) -> ModelSize:
    """Sizes of a causal LM, read from its layers."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise InvalidInput(f"models of type {config.model_type!r} have no linear output head; choose another one")
    linears = [module for module in model.base_model.modules() if isinstance(module, nn.Linear)]
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelSize(
        trunk_weights=sum(linear.weight.numel() for linear in linears),
        hidden=head.in_features,
        vocabulary=head.out_features,
        attention=4 * config.num_hidden_layers * config.num_attention_heads * head_size,
    )


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the longest beginning that all prompts share."""
    length = 0
    for column in zip(*prompts, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _samples(context: ContextLengths) -> list[tuple[int, int]]:
    return [
        (context.prefix + question.suffix, response)
        for question in context.questions
        for response in question.responses
    ]
