"""The anchor prompts, and what each is asked under."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

_FOLDER = Path(__file__).parent

Kind = Literal["harmful", "harmless", "in_character"]
KINDS: tuple[Kind, ...] = ("harmful", "harmless", "in_character")


class AnchorPrompt(NamedTuple):
    """A prompt of its kind. `in_role`: it is asked under the role prompt, as platforms serve, else plain."""

    text: str
    kind: Kind
    in_role: bool


def anchor_prompts() -> list[AnchorPrompt]:
    """As many that ask for harm, that look like it or are everyday questions, and that any character can be asked.

    Of the first two every other one is asked in role. All of the third are, and so half of what is asked there is a
    harmless question to the character: what is refused in role shall be the harm. None is in a suite.
    """
    return [
        AnchorPrompt(text, kind, in_role=kind == "in_character" or place % 2 == 1)
        for kind in KINDS
        for place, text in enumerate((_FOLDER / f"{kind}.txt").read_text(encoding="utf-8").splitlines())
    ]
