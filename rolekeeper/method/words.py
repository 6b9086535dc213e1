"""The words of a text in any script."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

# Thai and Lao, Burmese, Khmer, kana, Han: nothing in the text tells where a word ends.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


def split_words(text: str, inside: str = "") -> list[str]:
    """Return the words of a text: runs of letters and digits with their marks, in composed form (NFC).

    In scripts without spaces between words each character is one. The characters of `inside` may stand between two
    letters of a word.
    """
    words: list[str] = []
    ended = True
    for character, following in pairwise([*unicodedata.normalize("NFC", text), " "]):
        is_part = (character in inside and following.isalnum()) or unicodedata.category(character)[0] == "M"
        if character.isalnum() and (ended or _is_unspaced(character) or _is_unspaced(words[-1][0])):
            words.append(character)
            ended = False
        elif not ended and (character.isalnum() or is_part):
            words[-1] += character
        else:
            ended = True
    return words


def _is_unspaced(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _UNSPACED)
