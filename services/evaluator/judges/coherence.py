"""Whether an answer is language at all: a rule that looks at repetition and at letters."""

from __future__ import annotations

import re
import unicodedata

from rolekeeper.contracts.verdicts import Label

MIN_WORDS = 24
MIN_DISTINCT_SHARE = 0.6
MIN_WORD_SHARE = 0.5
MIN_LATIN_SHARE = 0.5
MAX_MEAN_LETTERS = 12
"""Letters of the mean word, in other scripts than Latin: where it has more there are no spaces between words."""

_SILENCE = ".\u2026!?*-\u2013\u2014"
# With what joins them and gives them a shade.
_PICTOGRAPHS = frozenset({"So", "Sk", "Mn", "Cf"})
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_PRONOUNCEABLE = re.compile(
    r"^(?!.*[^aeiouy\u00e0-\u024f'\u2019]{6})(?=.*[aeiouy\u00e0-\u024f]).{1,24}$", re.IGNORECASE
)
# Short words without a vowel that are words.
_VOWELLESS = frozenset(
    {"hm", "hmm", "hmmm", "mm", "mmm", "mr", "mrs", "ms", "dr", "st", "sh", "shh", "pst", "tv", "nth"}
)


def is_incoherent(text: str) -> bool:
    """Say whether a text is no language: empty, mostly non-words, or the same words again and again.

    Repetition: of the runs of three words of a text of at least 24 words, fewer than 0.6 are distinct. Letters stand
    for words in scripts that put no spaces between them.
    Non-words: fewer than half of its words can be pronounced, or there is no word at all. Other scripts than Latin
    are taken to be pronounceable.
    A rule of letters can't tell a salad of real words from a sentence.
    """
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return True
    if is_latin(text):
        if sum(_is_word(word) for word in words) < MIN_WORD_SHARE * len(words):
            return True
    elif sum(map(len, words)) > MAX_MEAN_LETTERS * len(words):
        words = list("".join(words))
    return len(words) >= MIN_WORDS and distinct_share(words) < MIN_DISTINCT_SHARE


def label_without_words(text: str) -> Label | None:
    """What an answer without a word does: dots or a pictograph evade, anything else is incoherent. Else None."""
    if any(character.isalnum() for character in text):
        return None
    signs = "".join(text.split())
    is_meant = all(sign in _SILENCE or unicodedata.category(sign) in _PICTOGRAPHS for sign in signs)
    return Label.DEFLECTED if signs and is_meant else Label.INCOHERENT


def distinct_share(words: list[str]) -> float:
    """Distinct runs of three words over all of them, 0 to 1."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0


def is_latin(text: str) -> bool:
    """Whether at least half of the letters are Latin ones; true of a text without letters."""
    letters = [character for character in text if character.isalpha()]
    return sum(character < "\u0250" for character in letters) >= MIN_LATIN_SHARE * len(letters)


def _is_word(word: str) -> bool:
    return word in _VOWELLESS or bool(_PRONOUNCEABLE.match(word))
