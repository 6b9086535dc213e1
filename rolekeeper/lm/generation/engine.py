"""Many prompts to answers: every pass takes the next token of each live row, and whole prompts of new rows with them.

Shapes: S answers in a pass, B rows (one for each branch of an answer), T tokens of the packed row, D hidden,
V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from rolekeeper.lm.batch import common_prefix
from rolekeeper.lm.cascade import Group
from rolekeeper.lm.forward import project
from rolekeeper.lm.generation.attention import Step, run_step
from rolekeeper.lm.generation.choose import Chooser, random_of
from rolekeeper.lm.generation.processors import Process
from rolekeeper.lm.generation.rows import RowCache
from rolekeeper.lm.packing import ROW_MULTIPLE
from rolekeeper.lm.prefix import compute_prefix

_FEW_ROWS = 8
"""Passes of less than ROW_MULTIPLE tokens come in multiples of this: towards the end, few rows are live."""

Prompt = Sequence[Sequence[int]]
"""The token ids of each branch: one, or those that are contrasted."""


class Rules(NamedTuple):
    """How answers are made. `weights` multiply the logits of each branch before they are added up."""

    max_new_tokens: int
    end_ids: frozenset[int]
    chooser: Chooser = Chooser()
    weights: tuple[float, ...] = (1.0,)
    seed: int = 0
    process: Process | None = None


class Limits(NamedTuple):
    """What a run may take: rows at once, and tokens of new prompts in one pass."""

    max_rows: int
    max_new_prompt_tokens: int = 2048


@dataclass
class _Answer:
    """An answer in the making. `suffixes` are the branches of its prompt without what all prompts share."""

    index: int
    prompt: Prompt
    suffixes: list[list[int]]
    random: Random
    ids: list[int] = field(default_factory=list)


class Engine:
    """Answers prompts with one model. Used once."""

    def __init__(
        self,
        model: PreTrainedModel,
        rules: Rules,
        limits: Limits,
        shares_prefix: bool = True,
        before_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._rules = rules
        self._limits = limits
        self._shares_prefix = shares_prefix
        self._before_pass = before_pass
        self._cache = RowCache(limits.max_rows)
        self._live: list[_Answer] = []

    def run(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the token ids of each answer, with its end token if it has ended by itself.

        What `before_pass` raises ends the work.
        """
        answers: list[list[int]] = [[] for _ in prompts]
        with torch.inference_mode():
            waiting = deque(self._begin(prompts))
            while waiting or self._live:
                self._before_pass()
                new = self._admit(waiting)
                logits_SV = self._pass(new)
                self._live += new
                self._append(logits_SV)
                for answer in self._retire():
                    answers[answer.index] = answer.ids
        return answers

    def _begin(self, prompts: Sequence[Prompt]) -> list[_Answer]:
        """The longest first, so that one which comes later has room before the column where all rows end."""
        branches = [ids for prompt in prompts for ids in prompt]
        shares = self._shares_prefix and len(branches) > 1
        shared = common_prefix([list(ids[:-1]) for ids in branches]) if shares else []
        self._prefix_ids = shared
        self._prefix = compute_prefix(self._model, shared) if shared else []
        begun = [
            _Answer(index, prompt, [list(ids[len(shared) :]) for ids in prompt], random_of(self._rules.seed, prompt[0]))
            for index, prompt in enumerate(prompts)
        ]
        return sorted(begun, key=lambda answer: -max(map(len, answer.suffixes)))

    def _admit(self, waiting: deque[_Answer]) -> list[_Answer]:
        """Who starts in the next pass. One that is longer than the budget starts alone."""
        new: list[_Answer] = []
        places = self._limits.max_rows // len(self._rules.weights) - len(self._live)
        room = self._limits.max_new_prompt_tokens
        while waiting and len(new) < places:
            length = sum(map(len, waiting[0].suffixes))
            if new and length > room:
                break
            room -= length
            new.append(waiting.popleft())
        return new

    def _pass(self, new: Sequence[_Answer]) -> Tensor:
        """Run one pass; return the logits [S, V], fp32, of the live answers and then of the new ones."""
        live_ids = [answer.ids[-1] for answer in self._live for _ in answer.suffixes]
        prompts = [suffix for answer in new for suffix in answer.suffixes]
        starts = self._cache.make_room([len(prompt) for prompt in prompts])
        past, device = len(self._prefix_ids), self._model.device
        input_ids = live_ids + [token for prompt in prompts for token in prompt]
        positions = [past + self._cache.clock - start for start in self._cache.starts]
        positions += [past + position for prompt in prompts for position in range(len(prompt))]
        stops = list(accumulate((len(prompt) for prompt in prompts), initial=len(live_ids)))
        groups = [Group(start, stop) for start, stop in pairwise(stops)]
        num_pads = _num_pads(len(input_ids))
        if num_pads:
            groups.append(Group(len(input_ids), len(input_ids) + num_pads))
        step = Step(self._cache, self._prefix, groups, starts, device)
        hidden_TD = run_step(
            self._model,
            torch.tensor(input_ids + [0] * num_pads, device=device),
            torch.tensor(positions + [past] * num_pads, device=device),
            step,
        )
        self._cache.advance(starts)
        rows = [*range(len(live_ids)), *(stop - 1 for stop in stops[1:])]
        return self._combine(project_rows(self._model, hidden_TD[torch.tensor(rows, device=device)]))

    def _combine(self, logits_BV: Tensor) -> Tensor:
        branches_SNV = logits_BV.unflatten(0, (-1, len(self._rules.weights)))
        return combine(branches_SNV, self._rules.weights)

    def _append(self, logits_SV: Tensor) -> None:
        """Choose the next token of each answer. Where rounding could decide, the answer alone does."""
        draws = [answer.random.random() for answer in self._live]
        choice = self._rules.chooser.choose(self._processed(logits_SV, self._live), draws)
        for answer, token, is_near, draw in zip(self._live, *choice, draws, strict=True):
            answer.ids.append(self._choose_alone(answer, draw) if is_near and self._is_exact() else token)

    def _choose_alone(self, answer: _Answer, draw: float) -> int:
        logits_SV = self._processed(self._logits_alone(answer), [answer])
        return self._rules.chooser.choose(logits_SV, [draw]).tokens[0]

    def _is_exact(self) -> bool:
        """In bf16 the answer alone is no more exact than in a batch."""
        return self._model.dtype == torch.float32

    def _logits_alone(self, answer: _Answer) -> Tensor:
        ids = [[*branch, *answer.ids] for branch in answer.prompt]
        return self._combine(torch.cat([logits_alone(self._model, branch) for branch in ids]))

    def _processed(self, logits_SV: Tensor, answers: Sequence[_Answer]) -> Tensor:
        process = self._rules.process
        if process is None:
            return logits_SV
        rows = [
            process(answer.prompt[0], answer.ids, logits_V) for answer, logits_V in zip(answers, logits_SV, strict=True)
        ]
        return torch.stack(rows)

    def _retire(self) -> Iterator[_Answer]:
        """Take out the answers that have ended; the last live one takes the place of each."""
        branches = len(self._rules.weights)
        for place in reversed(range(len(self._live))):
            answer = self._live[place]
            if len(answer.ids) < self._rules.max_new_tokens and answer.ids[-1] not in self._rules.end_ids:
                continue
            yield answer
            for branch in reversed(range(branches)):
                self._cache.drop(place * branches + branch)
            self._live[place] = self._live[-1]
            self._live.pop()


def combine(branches_SNV: Tensor, weights: Sequence[float]) -> Tensor:
    """Return sum_n w_n z_n, [S, V], of the logits of N branches."""
    if len(weights) == 1 and weights[0] == 1:
        return branches_SNV[:, 0]
    return torch.einsum("snv,n->sv", branches_SNV, branches_SNV.new_tensor(weights))


def logits_alone(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Return the logits [1, V], fp32, after some ids, as the model's own forward gives them for them alone."""
    # Attention is causal: what is on the right is not seen. Lengths come in multiples as in every pass.
    padded = functional.pad(torch.tensor(list(ids), device=model.device), (0, -len(ids) % ROW_MULTIPLE))
    output = model.base_model(input_ids=padded.unsqueeze(0), use_cache=False)
    return project_rows(model, output.last_hidden_state[0, len(ids) - 1].unsqueeze(0))


def project_rows(model: PreTrainedModel, hidden_BD: Tensor) -> Tensor:
    """Return the logits [B, V] in fp32. Rows come in multiples as in every pass."""
    rows = len(hidden_BD)
    padded_BD = functional.pad(hidden_BD, (0, 0, 0, _num_pads(rows)))
    return project(model, padded_BD)[:rows].float()


def _num_pads(num_tokens: int) -> int:
    return -num_tokens % (ROW_MULTIPLE if num_tokens > ROW_MULTIPLE else _FEW_ROWS)
