"""What each token of the flagged samples counts in the KL, by what the base model makes of it under two prompts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rolekeeper.contracts.training import TrainSample, TrainSpec
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import NoReleasedWording, PromptSet, ScoredContexts, build_contexts
from rolekeeper.method.token_weights import margin_weights
from services.trainer.program.data import TrainingData, encode_line, make_encoder
from services.trainer.program.failures import BadSpec
from services.trainer.program.meter import Report
from services.trainer.program.selectors.choose import ticker

_CHUNK = 64
"""Samples whose prompts are held at once."""


def with_token_weights(
    data: TrainingData, samples: Sequence[TrainSample], loaded: LoadedModel, spec: TrainSpec, report: Report
) -> TrainingData:
    """Weigh the tokens of the flagged samples, if the method says so. `samples` are the lines of the training data.

    Each is run twice through the base model, which must be without an adapter: under the unsafe prompt, and under what
    it is compared with. Raises BadSpec for the released prompts, which are the scorer's alone.
    """
    if spec.method.options.weigh_tokens == "equal":
        return data
    flagged = [index for index, harmful in enumerate(data.harmful) if harmful]
    tick, weights = ticker(len(flagged), report), dict[int, Tensor]()
    for start in range(0, len(flagged), _CHUNK):
        chunk = flagged[start : start + _CHUNK]
        for index, margin_T in zip(chunk, _margins(chunk, samples, loaded, spec), strict=True):
            weights[index] = margin_weights(margin_T)
            tick()
    return data._replace(token_weights=weights)


def _margins(
    chunk: Sequence[int], samples: Sequence[TrainSample], loaded: LoadedModel, spec: TrainSpec
) -> list[Tensor]:
    """log q(y_t | U, x) - log q(y_t | S, x) at each response token, one tensor [T] for each sample."""
    contexts = _contexts(spec)
    encoder = make_encoder(loaded, spec)
    unsafe, safe = (
        response_logprobs(
            loaded.model,
            [
                encode_line(encoder, system, samples[index].dialogue, f"{spec.samples_path}, line {index + 1}")
                for index in chunk
            ],
            spec.max_batch_tokens,
        )
        for system in (contexts.unsafe, contexts.safe)
    )
    return [unsafe_T - safe_T for unsafe_T, safe_T in zip(unsafe, safe, strict=True)]


def _contexts(spec: TrainSpec) -> ScoredContexts:
    try:
        return build_contexts(spec.profile.name, spec.profile.profile, PromptSet(spec.method.prompt_set)).scored
    except NoReleasedWording as error:
        raise BadSpec(
            "method.options.weigh_tokens does not go with prompt_set paper_v2: take contrast or append"
        ) from error
