"""Answer, judge and measure one model: the evaluator's own engine and judges, and the held-out log-likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from torch import nn

from benchmarks.reproduce.characters import Cast
from benchmarks.reproduce.prompts import HELD_OUT
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.evaluation import Decoding
from rolekeeper.contracts.jobs import AskedHyperparameters
from rolekeeper.contracts.verdicts import MAX_ITEMS, Label, Verdict, VerdictItem, VerdictRequest
from rolekeeper.lm.encode import Encoder
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.load import LoadedModel, attach_adapter
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.method.prompts import build_contexts
from services.evaluator.adapters import Adapters
from services.evaluator.judges import Judge, find_judges, load_judges
from services.evaluator.judges.coherence import is_incoherent
from services.evaluator.kept import KeptAnswers
from services.evaluator.respond import Responder
from services.evaluator.routes import judge_answers

Verdicts = Mapping[str, Mapping[str, Verdict]]


class Asked(NamedTuple):
    """What a model is asked, and how it answers."""

    base_model: str
    cast: Cast
    items: Sequence[VerdictItem]
    decoding: Decoding
    max_new_tokens: int


class Evaluator:
    """The evaluator's parts in this process. `adapter` is one tar, kept while it is asked about; None is the base."""

    def __init__(self, models: ResidentModels, judges: Sequence[str], cache: Path) -> None:
        self._models = models
        self._kept = KeptAnswers(cache / "base_answers")
        self.judges: list[Judge] = find_judges(load_judges(None, cache), judges)
        self._store: Store | None = None

    @contextmanager
    def holding(self, adapter: bytes) -> Iterator[str]:
        """Keep an adapter while it is measured; yields its digest."""
        with TemporaryDirectory() as folder:
            self._store = Store(Path(folder))
            try:
                yield self._store.put(adapter).sha256
            finally:
                self._store = None

    def verdicts(self, asked: Asked, adapter: str | None) -> list[Verdict]:
        """Answers to all items and what the judges say of them."""
        with self._adapters() as adapters:
            responder = Responder(self._models, adapters, self._kept)
            found: list[Verdict] = []
            for start in range(0, len(asked.items), MAX_ITEMS):
                items = tuple(asked.items[start : start + MAX_ITEMS])
                request = VerdictRequest(
                    base_model=asked.base_model,
                    profile=asked.cast.profile,
                    adapter_sha256=adapter,
                    items=items,
                    max_new_tokens=asked.max_new_tokens,
                    decoding=asked.decoding,
                )
                found += judge_answers(self.judges, items, responder.answer(request).texts)
        return found

    def log_likelihoods(self, asked: Asked, hyper: AskedHyperparameters, adapter: str | None) -> dict[str, list[float]]:
        """Mean log-prob per token of each held-out response, by context, in nats."""
        with self._adapters() as adapters, self._models.use(asked.base_model) as loaded:
            if adapter is None:
                return _log_likelihoods(loaded.model, loaded, asked.cast, hyper)
            with attach_adapter(loaded, adapters.get(adapter).folder) as model:
                return _log_likelihoods(model, loaded, asked.cast, hyper)

    @contextmanager
    def _adapters(self) -> Iterator[Adapters]:
        with TemporaryDirectory() as empty:
            adapters = Adapters(self._store or Store(Path(empty)))
            try:
                yield adapters
            finally:
                adapters.close()


def measures(verdicts: Verdicts, judges: Sequence[str]) -> dict[str, Any]:
    """The columns of a line that come from verdicts, which are by group and prompt."""
    babble = {
        group: {name: int(is_incoherent(verdict.response)) for name, verdict in each.items()}
        for group, each in verdicts.items()
    }
    return {
        "refused": {judge: _refusals(verdicts, judge) for judge in judges},
        "babble": babble[HELD_OUT],
        "babble_share": {group: round(fmean(each.values()), 4) for group, each in babble.items()},
        "rouge_l": {name: round(verdict.fidelity or 0.0, 4) for name, verdict in verdicts[HELD_OUT].items()},
    }


def _refusals(verdicts: Verdicts, judge: str) -> dict[str, dict[str, int]]:
    return {
        group: {name: _is_refusal(verdict, judge) for name, verdict in each.items()} for group, each in verdicts.items()
    }


def _is_refusal(verdict: Verdict, judge: str) -> int:
    label: Label | None = verdict.judgements[judge].label
    return int(label is not None and label.is_refusal)


def _log_likelihoods(
    model: nn.Module, loaded: LoadedModel, cast: Cast, hyper: AskedHyperparameters
) -> dict[str, list[float]]:
    encoder = Encoder(loaded.tokenizer, hyper.max_source_tokens, hyper.max_response_tokens, loaded.window)
    contexts = build_contexts(cast.profile.name, cast.profile.profile)
    systems = {Context.PLAIN: contexts.plain, Context.ROLE: contexts.role}
    return {
        context.value: [
            round(float(logprobs_T.double().mean()), 5)
            for logprobs_T in response_logprobs(
                model, [encoder.encode(system, each.dialogue.messages) for each in cast.held_out]
            )
        ]
        for context, system in systems.items()
    }
