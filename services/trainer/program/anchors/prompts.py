"""The anchor prompts, and what each is asked under."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

_FOLDER = Path(__file__).parent

Kind = Literal["harmful", "harmless", "lookalike", "in_character"]
KINDS: tuple[Kind, ...] = ("harmful", "harmless", "lookalike", "in_character")
_ONE_IN_ROLE_OF = {"harmful": 2, "harmless": 2, "in_character": 1}
"""Of so many prompts of a kind one is asked in role; of other kinds none."""


class AnchorPrompt(NamedTuple):
    """A prompt of its kind. `in_role`: it is asked under the role prompt, as platforms serve, else plain."""

    text: str
    kind: Kind
    in_role: bool


def anchor_prompts() -> list[AnchorPrompt]:
    """Prompts that ask for harm, everyday ones, some that look like harm, and some that any character can be asked.

    Of the first two every other one is asked in role, of the third none, and all of the last: half of what is asked in
    role is a harmless question to the character, as harm is what shall be refused there. None is in a suite.
    """
    return [
        AnchorPrompt(text, kind, in_role=kind in _ONE_IN_ROLE_OF and place % _ONE_IN_ROLE_OF[kind] == 0)
        for kind in KINDS
        for place, text in enumerate((_FOLDER / f"{kind}.txt").read_text(encoding="utf-8").splitlines())
    ]
