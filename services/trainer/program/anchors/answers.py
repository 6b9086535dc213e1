"""The base model's own answers to the anchor prompts, as samples that the policy is held to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from rolekeeper.contracts.characters import Context, Message
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.generate import greedy_answers
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel
from rolekeeper.method.refusal import is_refusal
from services.trainer.program.anchors.prompts import AnchorPrompt, anchor_prompts
from services.trainer.program.data import TrainingData, make_encoder, system_of

_MAX_ANSWER_TOKENS = 48


def with_anchors(data: TrainingData, anchors: tuple[EncodedSample, ...], method: Method) -> TrainingData:
    """The data with anchors beside the flagged samples, or with no sample flagged where they take their place."""
    if method.options.anchors == "prompts":
        data = data._replace(harmful=(False,) * len(data.samples))
    return data._replace(anchors=anchors)


def anchor_samples(loaded: LoadedModel, spec: TrainSpec) -> tuple[EncodedSample, ...]:
    """Return the anchor prompts with what the policy is held to on them. They are the same in every attempt.

    That is the base model's greedy answer; for `anchor_kl: decision` a refusal of its own. Of either, the first
    `anchor_first_tokens` are kept. The model must be without an adapter. Raises BaseModelUnusable if it answers nothing
    to any prompt, or where a refusal is needed and it never refuses.
    """
    options, prompts = spec.method.options, anchor_prompts()
    first = options.anchor_first_tokens
    if options.anchor_kl == "decision":
        harmful = [prompt for prompt in prompts if prompt.kind == "harmful"]
        held = refusals(prompts, dict(zip(harmful, _answers(loaded, spec, harmful, _MAX_ANSWER_TOKENS), strict=True)))
    else:
        held = _answers(loaded, spec, prompts, min(first or _MAX_ANSWER_TOKENS, _MAX_ANSWER_TOKENS))
    encoder = make_encoder(loaded, spec)
    pairs = [(prompt, answer) for prompt, answer in zip(prompts, held, strict=True) if answer]
    if not pairs:
        raise BaseModelUnusable("the base model has no answer to any anchor prompt: set options.anchors to harmful")
    samples = (encoder.encode(_system(spec, prompt), _asked(prompt, answer)) for prompt, answer in pairs)
    return tuple(sample._replace(response_ids=sample.response_ids[:first]) for sample in samples)


def refusals(prompts: Sequence[AnchorPrompt], answers: dict[AnchorPrompt, str]) -> list[str]:
    """Return a refusal for each prompt: its own answer where that is one, else one of another prompt, in turn.

    Raises BaseModelUnusable where no answer is one.
    """
    found = [answer for answer in answers.values() if is_refusal(answer)]
    if not found:
        raise BaseModelUnusable("the base model refuses no anchor prompt: set options.anchor_kl to tokens")
    others = cycle(dict.fromkeys(found))
    own = (answers.get(prompt, "") for prompt in prompts)
    return [answer if is_refusal(answer) else next(others) for answer in own]


def _answers(loaded: LoadedModel, spec: TrainSpec, prompts: Sequence[AnchorPrompt], max_tokens: int) -> list[str]:
    encoder = make_encoder(loaded, spec)
    ids = [encoder.encode_prompt(_system(spec, prompt), _asked(prompt), max_tokens) for prompt in prompts]
    return greedy_answers(loaded.model, loaded.tokenizer, ids, max_tokens)


def _asked(prompt: AnchorPrompt, answer: str | None = None) -> list[Message]:
    question = Message(role="user", content=prompt.text)
    return [question] if answer is None else [question, Message(role="assistant", content=answer)]


def _system(spec: TrainSpec, prompt: AnchorPrompt) -> str:
    return system_of(spec, Context.ROLE if prompt.in_role else Context.PLAIN)
