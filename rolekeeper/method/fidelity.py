"""Role fidelity: how close an answer is to the character's own."""

from __future__ import annotations

from functools import lru_cache

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from rolekeeper.method.words import split_words


class StemmedWords(Tokenizer):  # type: ignore[misc]  # the package has no types
    """What rouge-score's own tokeniser makes of English, and the words of every other script as they are."""

    def __init__(self) -> None:
        self._english = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Return lower-case words; those of plain Latin letters are stemmed."""
        words = split_words(text.lower())
        return [each for word in words for each in (self._english.tokenize(word) if word.isascii() else [word])]


@lru_cache(maxsize=1)
def _scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=StemmedWords())


def rouge_l(reference: str, answer: str) -> float:
    """Return Rouge-L F1 of an answer against one reference, 0 to 1 (the paper prints it times 100).

    Longest common subsequence of stemmed lower-case words, as in the paper's code, which knows plain Latin letters
    only. Here words of every script count, with their accents; scripts without spaces are compared by characters.
    """
    return float(_scorer().score(reference, answer)["rougeL"].fmeasure)
