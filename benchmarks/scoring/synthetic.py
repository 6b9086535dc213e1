"""Seeded characters and dialogues with the lengths of known data, in words of the example character.

The words follow each other at random: only lengths matter for the time. Lengths are log-normal and drawn in strata, so
that 200 samples have the mean that is asked for. Tokens are SmolLM2's.

| case       | role | unsafe | question: mean, sigma | response: mean, sigma | after what                              |
| ---------- | ---- | ------ | --------------------- | --------------------- | --------------------------------------- |
| spe        | 201  | 263    | 21, 0.27              | 79, 0.25              | RoleBench SPE, the released prompts     |
| raw        | 201  | 263    | 31, 0.68              | 31, 0.78              | RoleBench RAW, one reference each       |
| raw_all    | 201  | 263    | 31, 0.68              | 31, 0.78              | the same, 4.2 references for a question |
| long       | 450  | 523    | 50, 0.50              | 75, 0.40              | a long profile                          |

sigma is that of the logarithm, measured on RoleBench for the first three; responses are cut at 128 tokens. The
lengths of role and unsafe are those of the released prompts in the first three.
"""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from transformers import PreTrainedTokenizerBase

from benchmarks.scoring.floor import common_prefix
from benchmarks.scoring.workload import Pair, Workload, encode_character
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.method.prompts import ScoredContexts

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEED = 7
NAME = "Isaura Kell"
MIN_TOKENS = 3
MAX_TOKENS = 128
# Of 100 RoleBench RAW questions, how many have 1, 2, ... references; the mean is 4.2.
REFERENCES = (8, 7, 7, 9, 69)


@dataclass(frozen=True)
class Spread:
    """A log-normal length in tokens: its mean, and the deviation of its logarithm."""

    mean: float
    sigma: float


@dataclass(frozen=True)
class Shape:
    """Lengths of one case. `role` and `unsafe` are the prefixes that all prompts of these contexts share."""

    role: int
    unsafe: int
    question: Spread
    response: Spread
    all_references: bool = False


def shapes() -> dict[str, Shape]:
    """The cases by name."""
    question, response = Spread(31, 0.68), Spread(31, 0.78)
    return {
        "spe": Shape(201, 263, Spread(21, 0.27), Spread(79, 0.25)),
        "raw": Shape(201, 263, question, response),
        "raw_all": Shape(201, 263, question, response, all_references=True),
        "long": Shape(450, 523, Spread(50, 0.5), Spread(75, 0.4)),
    }


def make_workload(tokenizer: PreTrainedTokenizerBase, shape: Shape, num_samples: int) -> Workload:
    """One character of the shape, with `num_samples` responses."""
    rng = random.Random(SEED)
    writer = Writer(tokenizer, rng)
    encoder = Encoder(tokenizer)
    references = draw_references(num_samples, shape.all_references, rng)
    questions = [writer.write(length) for length in draw_lengths(shape.question, len(references), rng)]
    # The end of turn is a token of the response.
    lengths = [length - 1 for length in draw_lengths(shape.response, num_samples, rng)]
    asked = [question for question, count in zip(questions, references, strict=True) for _ in range(count)]
    pairs = [Pair(question, writer.write(length)) for question, length in zip(asked, lengths, strict=True)]
    contexts = _write_contexts(encoder, writer, shape)
    return Workload((encode_character(encoder, contexts, pairs),))


def draw_lengths(spread: Spread, count: int, rng: random.Random) -> list[int]:
    """Lengths in random order, one from each of `count` equally likely strata, scaled to the mean after the cut."""
    normal = NormalDist(math.log(spread.mean), spread.sigma)
    raw = [math.exp(normal.inv_cdf((index + 0.5) / count)) for index in range(count)]
    scale = 1.0
    for _ in range(20):
        lengths = [min(MAX_TOKENS, max(MIN_TOKENS, round(scale * length))) for length in raw]
        scale *= spread.mean * count / sum(lengths)
    rng.shuffle(lengths)
    return lengths


def draw_references(num_samples: int, all_references: bool, rng: random.Random) -> list[int]:
    """How many responses each question has; they add up to `num_samples`."""
    counts: list[int] = []
    while (left := num_samples - sum(counts)) > 0:
        drawn = rng.choices(range(1, len(REFERENCES) + 1), REFERENCES)[0] if all_references else 1
        counts.append(min(drawn, left))
    return counts


class Writer:
    """Writes text of a given number of tokens: a word with the space before it is tokenised by itself."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> None:
        self._rng = rng
        words = read_words()
        self._words = _by_tokens(tokenizer, words, " ")
        # The first word has no space before it, and many words are more tokens without.
        self._first_words = _by_tokens(tokenizer, words, "")

    def write(self, num_tokens: int) -> str:
        """Words at random, as often as they occur in the examples."""
        words: list[str] = []
        while num_tokens > 0:
            table = self._words if words else self._first_words
            sizes = [size for size in table if size <= num_tokens]
            if not sizes:
                break
            size = self._rng.choices(sizes, [len(table[size]) for size in sizes])[0]
            words.append(self._rng.choice(table[size]))
            num_tokens -= size
        return " ".join(words)


def read_words() -> list[str]:
    """Words of the example character and its dialogues, in their order, with the stop or comma after them."""
    character = json.loads((EXAMPLES / "character.json").read_text(encoding="utf-8"))
    texts = [str(character["profile"])]
    for line in (EXAMPLES / "dialogues.jsonl").read_text(encoding="utf-8").splitlines():
        texts += [str(message["content"]) for message in json.loads(line)["messages"]]
    return [word for text in texts for word in re.findall(r"\b[A-Za-z]+[.,?!]?", text)]


def _by_tokens(tokenizer: PreTrainedTokenizerBase, words: list[str], before: str) -> dict[int, list[str]]:
    counts = {word: len(tokenizer(before + word, add_special_tokens=False)["input_ids"]) for word in sorted(set(words))}
    by_tokens: dict[int, list[str]] = {}
    for word in words:
        by_tokens.setdefault(counts[word], []).append(word)
    return by_tokens


def _write_contexts(encoder: Encoder, writer: Writer, shape: Shape) -> ScoredContexts:
    """System prompts whose shared prefixes are as long as the shape says."""
    template = common_prefix([encoder.encode_prompt("One.", [Turn("user", text)]) for text in ("one", "two")])
    role = writer.write(shape.role - template + len(encoder.tokenizer("One.", add_special_tokens=False)["input_ids"]))
    return ScoredContexts(role, f"{role} {writer.write(shape.unsafe - shape.role)}", "")
