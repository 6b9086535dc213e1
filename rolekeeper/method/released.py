"""The wording of the released SaRFT code, found in its own file of prompts.

The file is `sarft/config/prompt_v2.json` of github.com/yulinlp/SaRFT, one JSON object: for each character its two
finished prompts, `role` and `safe`. The one under `safe` is the *unsafe* prompt, in spite of its key. No prompt says
where the profile ends, but what all prompts of a kind end with is no profile: it is the instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple


class UnknownWording(ValueError):
    """The content is not the released file of prompts."""


class RolePrompts(NamedTuple):
    """The released prompts of one character."""

    role: str
    unsafe: str


class ReleasedWording(NamedTuple):
    """What the released prompts say beside name and profile: before the name, and after the profile."""

    before_name: str
    role_instruction: str
    unsafe_instruction: str

    def prompts(self, name: str, profile: str) -> RolePrompts:
        """Return the prompts of any character. The released profiles end with the instruction; it comes once."""
        description = profile.strip().removesuffix(self.role_instruction).rstrip()
        start = f"{self.before_name}{name.strip()}. {description}"
        return RolePrompts(f"{start} {self.role_instruction}", f"{start} {self.unsafe_instruction}")


def read_wording(content: Any) -> ReleasedWording:
    """Return the wording of the released file, parsed from its JSON. Raises UnknownWording, which says why not."""
    if not isinstance(content, Mapping) or len(content) < 2:
        raise UnknownWording("it is not a JSON object with the prompts of several characters")
    wording = ReleasedWording(
        _shared_words([_prompt(content, name, "role") for name in content]),
        shared_ending([_prompt(content, name, "role") for name in content]),
        shared_ending([_prompt(content, name, "safe") for name in content]),
    )
    if not all(wording) or wording.role_instruction == wording.unsafe_instruction:
        raise UnknownWording("its prompts do not begin and end alike, each kind with its own instruction")
    return wording


def shared_ending(texts: Sequence[str]) -> str:
    """Return the whole words that all texts end with."""
    ending = _shared_beginning([text[::-1] for text in texts])[::-1]
    # What stands before the first blank may be the end of a longer word.
    return next((ending[index + 1 :] for index, letter in enumerate(ending) if letter.isspace()), "")


def _shared_words(texts: Sequence[str]) -> str:
    """The whole words that all texts begin with, and the blank after them."""
    beginning = _shared_beginning(texts)
    blanks = [index for index, letter in enumerate(beginning) if letter.isspace()]
    return beginning[: blanks[-1] + 1] if blanks else ""


def _shared_beginning(texts: Sequence[str]) -> str:
    columns = zip(*texts, strict=False)
    return "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))


def _prompt(content: Mapping[Any, Any], name: object, kind: str) -> str:
    entry = content[name]
    prompt = entry.get(kind) if isinstance(entry, Mapping) else None
    if not isinstance(prompt, str):
        raise UnknownWording(f"{name!r} has no text under {kind!r}")
    return prompt
