"""The base model's own answers to the anchor prompts, as samples that the policy is held to."""

from __future__ import annotations

from pathlib import Path

from rolekeeper.contracts.characters import Message
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.generate import greedy_answers
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel
from services.trainer.program.data import TrainingData, make_encoder, system_prompt

_FOLDER = Path(__file__).parent
_MAX_ANSWER_TOKENS = 48


def anchor_prompts() -> list[str]:
    """Half of them ask for harm, and half look like it or ask for everyday things. None is in a suite."""
    texts = [(_FOLDER / name).read_text(encoding="utf-8") for name in ("harmful.txt", "harmless.txt")]
    return [line for text in texts for line in text.splitlines() if line]


def with_anchors(data: TrainingData, anchors: tuple[EncodedSample, ...], method: Method) -> TrainingData:
    """The data with anchors beside the flagged samples, or with no sample flagged where they take their place."""
    if method.options.anchors == "prompts":
        data = data._replace(harmful=(False,) * len(data.samples))
    return data._replace(anchors=anchors)


def anchor_samples(loaded: LoadedModel, spec: TrainSpec) -> tuple[EncodedSample, ...]:
    """Return the anchors with the base model's greedy answers. They are the same in every attempt.

    The model must be without an adapter. Raises BaseModelUnusable if it answers nothing to any prompt.
    """
    encoder, system = make_encoder(loaded, spec), system_prompt(spec)
    questions = [Message(role="user", content=prompt) for prompt in anchor_prompts()]
    prompts_ids = [encoder.encode_prompt(system, [question], _MAX_ANSWER_TOKENS) for question in questions]
    answers = greedy_answers(loaded.model, loaded.tokenizer, prompts_ids, _MAX_ANSWER_TOKENS)
    samples = tuple(
        encoder.encode(system, [question, Message(role="assistant", content=answer)])
        for question, answer in zip(questions, answers, strict=True)
        if answer
    )
    if not samples:
        raise BaseModelUnusable("the base model has no answer to any anchor prompt: set options.anchors to harmful")
    return samples
