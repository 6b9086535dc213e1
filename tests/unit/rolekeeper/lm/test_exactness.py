"""Random models, dialogues and batch limits: batched scores are those of the naive run, sample by sample.

Shapes: B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.method.prompts import ScoredContexts
from rolekeeper.method.rds import implicit_rewards, select_harmful
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES
from tests.unit.rolekeeper.lm.naive import Pair, make_pair, means_of, naive_means

TOLERANCE = 1e-4
EXAMPLES = 500 // len(ARCHITECTURES)

Models = Callable[[str, int], Pair]


class Case(NamedTuple):
    """What is scored, and in batches of what size."""

    seed: int
    profile: str
    unsafe: str
    dialogues: list[list[Turn]]
    max_response_tokens: int
    max_batch_tokens: int
    max_batch_rows: int


PLAIN_WORDS = ("the", "keeper", "light", "boats", "never", "Who", "?", ".", "\n\n", "  ", "7")
HARD_WORDS = (
    "ünï",
    "日本",
    "🙂",
    "e\u0301",
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<tool_call>",
    "<bos>",
    "<eos>",
)
WORDS = st.sampled_from(PLAIN_WORDS + HARD_WORDS)
# Transformers marks control tokens with private-use characters, and drops those from what people wrote.
LETTERS = st.text(st.characters(exclude_categories=("Cs", "Co")), max_size=8)
TEXTS = st.one_of(st.lists(WORDS, max_size=10).map(" ".join), LETTERS)
RESPONSES = TEXTS.map(lambda text: text if text.strip() else "So be it.")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few questions for many dialogues, so that they repeat; some dialogues twice; profiles that begin alike or not."""
    questions = draw(st.lists(TEXTS, min_size=1, max_size=3))
    pairs = st.tuples(st.sampled_from(questions), RESPONSES)
    histories = draw(st.lists(st.lists(pairs, min_size=1, max_size=3), min_size=1, max_size=5))
    twice = draw(st.lists(st.sampled_from(histories), max_size=2))
    profile = draw(TEXTS)
    return Case(
        seed=draw(st.integers(0, 3)),
        profile=profile,
        unsafe=draw(st.one_of(TEXTS, TEXTS.map(lambda text: f"{profile} {text}"))),
        dialogues=[
            [turn for question, answer in pairs for turn in (Turn("user", question), Turn("assistant", answer))]
            for pairs in histories + twice
        ],
        max_response_tokens=draw(st.sampled_from((1, 4, 1000))),
        max_batch_tokens=draw(st.one_of(st.integers(1, 200), st.just(4096))),
        max_batch_rows=draw(st.integers(1, 8)),
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Tiny models by family and seed, each made once."""

    @cache
    def make(family: str, seed: int) -> Pair:
        architecture = next(name for name in ARCHITECTURES if name == family)
        return make_pair(tmp_path_factory.mktemp(family), architecture, seed)

    return make


@pytest.mark.parametrize("family", ARCHITECTURES)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=cases())
def test_batched_scores_and_flags_are_those_of_the_naive_run(models: Models, family: str, case: Case) -> None:
    pair = models(family, case.seed)
    encoder = Encoder(pair.ours.tokenizer, 4096, case.max_response_tokens)
    ours, naive = [], []
    for system in ScoredContexts(safe=case.profile, unsafe=case.unsafe, plain=""):
        samples = [encoder.encode(system, dialogue) for dialogue in case.dialogues]
        scores = response_logprobs(pair.ours.model, samples, case.max_batch_tokens, case.max_batch_rows)
        assert [len(logprobs_T) for logprobs_T in scores] == [len(sample.response_ids) for sample in samples]
        ours.append(means_of(scores))
        naive.append(naive_means(pair.naive, samples))
        torch.testing.assert_close(ours[-1], naive[-1], atol=TOLERANCE, rtol=0)
    ours_B, naive_B = (implicit_rewards(*means) for means in (ours, naive))
    clear_B = (naive_B.s_unsafe_B - naive_B.s_role_B).abs() >= TOLERANCE
    assert torch.equal(select_harmful(*ours_B)[clear_B], select_harmful(*naive_B)[clear_B])
