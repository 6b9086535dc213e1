"""How likely a model finds the responses that are known: the mean log-prob of their tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

from transformers import PreTrainedModel

from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.turnstile import Check


def mean_logprobs(model: PreTrainedModel, samples: Mapping[int, EncodedSample], check: Check) -> dict[int, float]:
    """Return the mean log-prob of each response by the index of its item, nats per token, its end of turn included.

    (1/T) sum_t log p(token t | prompt, tokens before t) over the T tokens of a response, summed in fp64. Naive twin:
    `naive_logprobs`. Raises InvalidInput where it is not a finite number.
    """
    logprobs = response_logprobs(model, list(samples.values()), before_batch=check)
    means = {index: float(logprobs_T.double().mean()) for index, logprobs_T in zip(samples, logprobs, strict=True)}
    broken = [index for index, mean in means.items() if not math.isfinite(mean)]
    if broken:
        raise InvalidInput(
            f"the log-prob of the reference of items[{broken[0]}] is NaN or infinite; check the weights of the base "
            "model and of the adapter",
            code="non_finite_log_prob",
        )
    return means
