"""Whether answers say as much as the character's own: how many words, and how many different ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rolekeeper.method.words import split_words

# Apostrophes and the underscore.
_INSIDE = "'\u2019_"


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: of any script, apostrophes inside.

    Where a script has no spaces between words, characters are counted.
    """
    return split_words(text.lower(), _INSIDE)


def distinct_1(texts: Sequence[str]) -> float:
    """Return different words / words, over all texts together; 0 without words.

    Li et al. (2016), arXiv 1510.03055. It falls as texts grow, since words come back: compare texts of like length.
    """
    found = [word for text in texts for word in words(text)]
    return _share_different(found)


def distinct_2(texts: Sequence[str]) -> float:
    """Return different pairs of neighbouring words / such pairs, over all texts; no pair spans two texts."""
    return _share_different([pair for text in texts for pair in pairwise(words(text))])


def mean_words(texts: Sequence[str]) -> float:
    """Return words per text. `texts` must not be empty."""
    return sum(len(words(text)) for text in texts) / len(texts)


def _share_different(found: Sequence[object]) -> float:
    return len(set(found)) / len(found) if found else 0.0
