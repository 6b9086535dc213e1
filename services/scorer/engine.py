"""Log-probs of responses, from the cache or from the model. All requests share the one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import structlog
from torch import Tensor

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import naive_logprobs, response_logprobs
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.turnstile import Check, Turnstile
from services.scorer.cache import LogprobCache, response_key
from services.scorer.metrics import ScorerMetrics


@dataclass(frozen=True)
class Engine:
    """What the requests share. A turn at `device` is one forward pass; one at `tokenizers` encodes one sample.

    Tokenizers need it because how they read control tokens is a switch on the tokenizer that all requests share.
    """

    cache: LogprobCache
    metrics: ScorerMetrics
    device: Turnstile
    tokenizers: Turnstile
    max_batch_tokens: int

    def logprobs(
        self, loaded: LoadedModel, contexts: Sequence[Sequence[EncodedSample]], check: Check
    ) -> list[list[Tensor]]:
        """Return the log-probs [T] of each response in each context, fp32 on the CPU.

        What the cache holds is not computed again, and neither is a response that comes twice. `check` is called
        before each forward pass; what it raises ends the work.
        """
        return self._find_or_compute(loaded, contexts, check, alone=False)

    def logprobs_alone(
        self, loaded: LoadedModel, contexts: Sequence[Sequence[EncodedSample]], check: Check
    ) -> list[list[Tensor]]:
        """As `logprobs`, with a forward pass for each response: the numbers do not depend on what else is asked for."""
        return self._find_or_compute(loaded, contexts, check, alone=True)

    def _find_or_compute(
        self, loaded: LoadedModel, contexts: Sequence[Sequence[EncodedSample]], check: Check, alone: bool
    ) -> list[list[Tensor]]:
        keys = [[response_key(loaded, sample, alone) for sample in samples] for samples in contexts]
        known = self.cache.find(chain.from_iterable(keys))
        missing = [
            {key: sample for key, sample in zip(*context, strict=True) if key not in known}
            for context in zip(keys, contexts, strict=True)
        ]
        self._tell(sum(map(len, contexts)), sum(map(len, missing)), alone)
        with self.device.turns(check) as take_turn:
            for context in missing:
                compute = self._alone if alone else self._batched
                computed = dict(zip(context, compute(loaded, list(context.values()), take_turn), strict=True))
                self.cache.keep(computed)
                known |= computed
        return [[known[key] for key in context_keys] for context_keys in keys]

    def _batched(self, loaded: LoadedModel, samples: Sequence[EncodedSample], take_turn: Check) -> list[Tensor]:
        # One context at a time: its samples share a long prefix. The prefixes are touched within a turn only.
        return response_logprobs(
            loaded.model, samples, self.max_batch_tokens, before_batch=take_turn, prefixes=loaded.prefixes
        )

    def _alone(self, loaded: LoadedModel, samples: Sequence[EncodedSample], take_turn: Check) -> list[Tensor]:
        logprobs = []
        for sample in samples:
            take_turn()
            logprobs.append(naive_logprobs(loaded.model, sample))
        return logprobs

    def _tell(self, num_responses: int, num_computed: int, alone: bool) -> None:
        num_kept = num_responses - num_computed
        if not alone:
            self.metrics.count_lookups(num_kept, num_computed)
        structlog.get_logger().info("response_logprobs", kept=num_kept, computed=num_computed, alone=alone)


def make_engine(cache_mib: int, max_batch_tokens: int) -> Engine:
    """Return an engine with an empty cache of at most `cache_mib` MiB."""
    return Engine(LogprobCache(cache_mib), ScorerMetrics(), Turnstile(), Turnstile(), max_batch_tokens)
