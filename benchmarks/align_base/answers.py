"""Greedy answers to the recipe's requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from benchmarks.align_base.data import Request
from benchmarks.reproduce.cells import append_line
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import greedy_answers

Progress = Callable[[int, int], None]
Asked = tuple[str, str, int]
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

    `made_by` names the model and the software. Lines that another one made do not count, nor half a line that a kill
    left. What a batch holds besides a request may move a near tie, so bytes are repeated only from an empty file or a
    full one.
    """

    def __init__(self, file: Path | None, made_by: str) -> None:
        self._file, self._made_by = file, made_by
        rows = file.read_text(encoding="utf-8").split("\n")[:-1] if file and file.exists() else []
        lines = [line for line in map(json.loads, rows) if line["made_by"] == made_by]
        self._kept: dict[Asked, str] = {tuple(line["asked"]): line["answer"] for line in lines}

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
        for at, answer in zip(missing, answers, strict=True):
            self._keep(keys[at], answer)
        return [self._kept[key] for key in keys]

    def _keep(self, asked: Asked, answer: str) -> None:
        self._kept[asked] = answer
        if self._file:
            append_line(self._file, {"made_by": self._made_by, "asked": asked, "answer": answer})
