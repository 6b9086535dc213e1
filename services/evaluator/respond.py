"""Answers of a base model, or of an adapter on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import structlog
from transformers import PreTrainedModel

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.verdicts import VerdictItem, VerdictRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import Encoder, EncodingError
from rolekeeper.lm.generate import greedy_answers
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel, attach_adapter
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.lm.whole import attach_weights
from rolekeeper.method.prompts import build_contexts
from services.evaluator.adapters import Adapter, Adapters, BadAdapter, check_fit
from services.evaluator.kept import KeptAnswers, answer_key

BATCH_SIZE = 32


class Answers(NamedTuple):
    """Answers in the order of the items, and what they were made with."""

    texts: list[str]
    base_digest: str
    decoding: str


class Responder:
    """Answers one request at a time: the base model belongs to it alone, and so does the unpacked adapter."""

    def __init__(self, models: ResidentModels, adapters: Adapters, kept: KeptAnswers) -> None:
        self._models = models
        self._adapters = adapters
        self._kept = kept

    def answer(self, request: VerdictRequest) -> Answers:
        """Answer all items.

        Raises:
            InvalidInput: an item, the base model's name or the adapter can't be used; the message says which and why.
            NotFound: the artifact store has no such adapter.
            BaseModelUnusable: the base model can't be loaded.
        """
        _check_turns(request.items)
        decoding = f"greedy, max_new_tokens={request.max_new_tokens}"
        with self._models.use(request.base_model) as loaded:
            prompts_ids = _encode(loaded, request)
            if request.adapter_sha256 is None:
                texts = self._base_answers(loaded, prompts_ids, request.max_new_tokens, decoding)
            else:
                texts = self._tuned_answers(loaded, prompts_ids, request.max_new_tokens, request.adapter_sha256)
            return Answers(texts, loaded.digest, decoding)

    def _base_answers(
        self, loaded: LoadedModel, prompts_ids: Sequence[list[int]], max_new_tokens: int, decoding: str
    ) -> list[str]:
        """From the kept answers where they are, computed and kept where they are not."""
        # bf16 and fp32 may choose different words.
        keys = [answer_key(loaded.digest, f"{decoding}, {loaded.dtype}", ids) for ids in prompts_ids]
        known = {key: answer for key in keys if (answer := self._kept.find(key)) is not None}
        missing = {key: ids for key, ids in zip(keys, prompts_ids, strict=True) if key not in known}
        structlog.get_logger().info("base_answers", kept=len(known), computed=len(missing))
        if missing:
            texts = greedy_answers(loaded.model, loaded.tokenizer, list(missing.values()), max_new_tokens, BATCH_SIZE)
            for key, text in zip(missing, texts, strict=True):
                self._kept.keep(key, text)
                known[key] = text
        return [known[key] for key in keys]

    def _tuned_answers(
        self, loaded: LoadedModel, prompts_ids: Sequence[list[int]], max_new_tokens: int, adapter_sha256: str
    ) -> list[str]:
        adapter = self._adapters.get(adapter_sha256)
        check_fit(adapter, loaded)
        structlog.get_logger().info("tuned_answers", computed=len(prompts_ids), adapter=adapter_sha256)
        try:
            with _attached(loaded, adapter) as model:
                return greedy_answers(model, loaded.tokenizer, prompts_ids, max_new_tokens, BATCH_SIZE)
        except BaseModelUnusable as error:
            raise BadAdapter(f"adapter {adapter_sha256} can't be loaded: {error}") from error


def _attached(loaded: LoadedModel, adapter: Adapter) -> AbstractContextManager[PreTrainedModel]:
    return attach_weights(loaded, adapter.weights) if adapter.config is None else attach_adapter(loaded, adapter.folder)


def _check_turns(items: Sequence[VerdictItem]) -> None:
    problems = [
        _problem(index, item, f"its last turn is the {item.messages[-1].role}'s; it must be a user turn to answer")
        for index, item in enumerate(items)
        if item.messages[-1].role != "user"
    ]
    _raise_any(problems)


def _encode(loaded: LoadedModel, request: VerdictRequest) -> list[list[int]]:
    encoder = Encoder(loaded.tokenizer, max_source_tokens=request.max_source_tokens, max_tokens=loaded.window)
    contexts = build_contexts(request.profile.name, request.profile.profile)
    systems = {Context.PLAIN: contexts.plain, Context.ROLE: contexts.role}
    prompts_ids: list[list[int]] = []
    problems: list[ErrorItem] = []
    for index, item in enumerate(request.items):
        try:
            prompts_ids.append(encoder.encode_prompt(systems[item.context], item.messages, request.max_new_tokens))
        except EncodingError as error:
            problems.append(_problem(index, item, error.message))
    _raise_any(problems)
    return prompts_ids


def _problem(index: int, item: VerdictItem, reason: str) -> ErrorItem:
    return ErrorItem(pointer=f"/items/{index}/messages", detail=f"item {item.id!r}: {reason}")


def _raise_any(problems: Sequence[ErrorItem]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InvalidInput(problems[0].detail + more, problems=problems)
