"""Role fidelity: how close an answer is to the character's own."""

from __future__ import annotations

from functools import lru_cache

from rouge_score.rouge_scorer import RougeScorer


@lru_cache(maxsize=1)
def _scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(reference: str, answer: str) -> float:
    """Return Rouge-L F1 of an answer against one reference, 0 to 1 (the paper prints it times 100).

    Longest common subsequence of stemmed lower-case words, as in the paper's code. Words of other scripts than Latin
    are dropped by its tokeniser: such texts score 0.
    """
    return float(_scorer().score(reference, answer)["rougeL"].fmeasure)
