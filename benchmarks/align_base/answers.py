"""Greedy answers to the recipe's requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from benchmarks.align_base.data import Request
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import greedy_answers

Progress = Callable[[int, int], None]
CHUNK = 64


def answer_requests(
    model: PreTrainedModel, encoder: Encoder, requests: Sequence[Request], max_tokens: int, progress: Progress
) -> list[str]:
    """Greedy answers in the order of the requests, each of at most `max_tokens` tokens."""
    prompts = [encoder.encode_prompt(request.system, [Turn("user", request.user)]) for request in requests]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), CHUNK):
        indices = order[start : start + CHUNK]
        texts = greedy_answers(model, encoder.tokenizer, [prompts[index] for index in indices], max_tokens)
        for index, text in zip(indices, texts, strict=True):
            answers[index] = text
        progress(start + len(indices), len(order))
    return answers


class RawAnswers:
    """Answers of the raw model. With a file they are kept in it, so that another try of the recipe need not wait.

    A line of the file is `[system, user, max_tokens, answer]`. The file must be of one model and one set of packages.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        self._kept = {tuple(key): answer for *key, answer in map(json.loads, lines)}

    def to(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        requests: Sequence[Request],
        max_tokens: int,
        progress: Progress = lambda *_: None,
    ) -> list[str]:
        """Answers in the order of the requests."""
        keys = [(request.system, request.user, max_tokens) for request in requests]
        missing = [at for at, key in enumerate(keys) if key not in self._kept]
        answers = answer_requests(model, encoder, [requests[at] for at in missing], max_tokens, progress)
        self._keep({keys[at]: answer for at, answer in zip(missing, answers, strict=True)})
        return [self._kept[key] for key in keys]

    def _keep(self, answers: dict[tuple[str, str, int], str]) -> None:
        self._kept |= answers
        if self._file:
            with self._file.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps([*key, answer]) + "\n" for key, answer in answers.items())
