"""Answers of a base model, or of an adapter on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import structlog
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.evaluation import Decoding
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.verdicts import VerdictItem, VerdictRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample, Encoder, EncodingError, Turn
from rolekeeper.lm.generate import Way, answers
from rolekeeper.lm.generation.engine import Prompt
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel, attach_adapter
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.lm.turnstile import Check, go_on
from rolekeeper.lm.whole import attach_weights
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.rose import ROSE_VERSION, rose_contexts
from services.evaluator.adapters import Adapter, Adapters, BadAdapter, check_fit
from services.evaluator.kept import KeptAnswers, Maker, answer_key, log_prob_key
from services.evaluator.likelihood import mean_logprobs
from services.evaluator.software import software_versions


class Likelihood(NamedTuple):
    """The mean log-prob of a response that is known, nats per token, and how many tokens that is of."""

    log_prob: float
    num_tokens: int


class Answers(NamedTuple):
    """Answers in the order of the items, how likely the references are that were asked for, and what made them."""

    texts: list[str]
    references: list[Likelihood | None]
    base_digest: str
    decoding: str


class _Task(NamedTuple):
    """Prompts of one request in the order of its items, how to answer them, and in words.

    `references` are the responses that are known, by the index of their item.
    """

    prompts: list[Prompt]
    references: dict[int, EncodedSample]
    contexts: list[Context]
    way: Way
    decoding: str
    check: Check


class _Made(NamedTuple):
    """Answers, and the mean log-probs of the references, by the index of their item."""

    texts: dict[int, str]
    log_probs: dict[int, float]


class Responder:
    """Answers one request at a time: the base model belongs to it alone, and so does the unpacked adapter."""

    def __init__(self, models: ResidentModels, adapters: Adapters, kept: KeptAnswers) -> None:
        self._models = models
        self._adapters = adapters
        self._kept = kept
        self._software = software_versions()

    def answer(self, request: VerdictRequest, check: Check = go_on) -> Answers:
        """Answer all items. `check` is called between the pieces of work; what it raises ends them.

        Raises:
            InvalidInput: an item, the base model's name or the adapter can't be used; the message says which and why.
            NotFound: the artifact store has no such adapter.
            BaseModelUnusable: the base model can't be loaded.
        """
        _check_turns(request.items)
        with self._models.use(request.base_model, check) as loaded:
            task = _make_task(loaded, request, check)
            if request.adapter_sha256 is None:
                texts, log_probs = self._base_answers(loaded, task)
            else:
                texts, log_probs = self._tuned_answers(loaded, task, request.adapter_sha256)
            num_tokens = {index: len(sample.response_ids) for index, sample in task.references.items()}
            likely = {index: Likelihood(log_prob, num_tokens[index]) for index, log_prob in log_probs.items()}
            indices = range(len(request.items))
            return Answers([texts[i] for i in indices], [likely.get(i) for i in indices], loaded.digest, task.decoding)

    def _base_answers(self, loaded: LoadedModel, task: _Task) -> _Made:
        """From the kept answers where they are, computed and kept where they are not."""
        # bf16 and fp32 may choose different words.
        maker = Maker(loaded.digest, str(loaded.dtype), self._software)

        def decode(missing: list[int]) -> dict[int, str]:
            structlog.get_logger().info("base_answers", kept=len(task.prompts) - len(missing), computed=len(missing))
            return _texts(loaded.model, loaded.tokenizer, task, missing)

        def measure(missing: list[int]) -> dict[int, str]:
            found = mean_logprobs(loaded.model, {index: task.references[index] for index in missing}, task.check)
            return {index: repr(log_prob) for index, log_prob in found.items()}

        answer_keys = {index: answer_key(maker, task.decoding, prompt) for index, prompt in enumerate(task.prompts)}
        log_prob_keys = {index: log_prob_key(maker, sample) for index, sample in task.references.items()}
        log_probs = self._kept.fill(log_prob_keys, measure)
        return _Made(
            self._kept.fill(answer_keys, decode), {index: float(number) for index, number in log_probs.items()}
        )

    def _tuned_answers(self, loaded: LoadedModel, task: _Task, adapter_sha256: str) -> _Made:
        adapter = self._adapters.get(adapter_sha256)
        check_fit(adapter, loaded)
        structlog.get_logger().info("tuned_answers", computed=len(task.prompts), adapter=adapter_sha256)
        try:
            with _attached(loaded, adapter) as model:
                texts = _texts(model, loaded.tokenizer, task, range(len(task.prompts)))
                return _Made(texts, mean_logprobs(model, task.references, task.check))
        except BaseModelUnusable as error:
            raise BadAdapter(f"adapter {adapter_sha256} can't be loaded: {error}") from error


def describe(decoding: Decoding, max_new_tokens: int) -> str:
    """Return how answers are decoded, in words: all that they depend on beside the model and the prompt."""
    words = [] if decoding.rose_weight is None else [f"{ROSE_VERSION} of weight {decoding.rose_weight}"]
    if decoding.temperature == 0:
        words.append("greedy")
    else:
        words.append(f"sampled, temperature={decoding.temperature}, top_p={decoding.top_p}, seed={decoding.seed}")
    if decoding.repetition_penalty is not None:
        words.append(f"repetition_penalty={decoding.repetition_penalty}")
    return ", ".join([*words, f"max_new_tokens={max_new_tokens}"])


def _texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: _Task, indices: Iterable[int]
) -> dict[int, str]:
    """Answers by their index. Those of one context go together: their prompts share a long beginning."""
    by_context: dict[Context, list[int]] = {}
    for index in indices:
        by_context.setdefault(task.contexts[index], []).append(index)
    texts: dict[int, str] = {}
    for group in by_context.values():
        prompts = [task.prompts[index] for index in group]
        texts |= zip(group, answers(model, tokenizer, prompts, task.way, task.check), strict=True)
    return texts


def _attached(loaded: LoadedModel, adapter: Adapter) -> AbstractContextManager[PreTrainedModel]:
    return attach_weights(loaded, adapter.weights) if adapter.config is None else attach_adapter(loaded, adapter.folder)


def _check_turns(items: Sequence[VerdictItem]) -> None:
    problems = [
        _problem(index, item, f"its last turn is the {item.messages[-1].role}'s; it must be a user turn to answer")
        for index, item in enumerate(items)
        if item.messages[-1].role != "user"
    ]
    _raise_any(problems)


def _make_task(loaded: LoadedModel, request: VerdictRequest, check: Check) -> _Task:
    max_response_tokens = request.max_reference_tokens or request.max_new_tokens
    encoder = Encoder(loaded.tokenizer, request.max_source_tokens, max_response_tokens, loaded.window)
    contexts = build_contexts(request.profile.name, request.profile.profile)
    systems = {Context.PLAIN: contexts.plain, Context.ROLE: contexts.role}
    prompts: list[Prompt] = []
    references: dict[int, EncodedSample] = {}
    problems: list[ErrorItem] = []
    for index, item in enumerate(request.items):
        system = systems[item.context]
        try:
            branches = _branches(system, request.decoding)
            prompts.append([encoder.encode_prompt(it, item.messages, request.max_new_tokens) for it in branches])
            if item.references and request.max_reference_tokens is not None:
                references[index] = encoder.encode(system, [*item.messages, Turn("assistant", item.references[0])])
        except EncodingError as error:
            problems.append(_problem(index, item, error.message))
    _raise_any(problems)
    return _Task(
        prompts=prompts,
        references=references,
        contexts=[item.context for item in request.items],
        way=Way(request.max_new_tokens, **request.decoding.model_dump()),
        decoding=describe(request.decoding, request.max_new_tokens),
        check=check,
    )


def _branches(system: str, decoding: Decoding) -> tuple[str, ...]:
    """The system prompts under which an item is asked."""
    return (system,) if decoding.rose_weight is None else rose_contexts(system)


def _problem(index: int, item: VerdictItem, reason: str) -> ErrorItem:
    return ErrorItem(pointer=f"/items/{index}/messages", detail=f"item {item.id!r}: {reason}")


def _raise_any(problems: Sequence[ErrorItem]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InvalidInput(problems[0].detail + more, problems=problems)
