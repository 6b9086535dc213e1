"""The released wording, from the file that the operator names."""

from __future__ import annotations

import json
from pathlib import Path

from rolekeeper.errors import InvalidInput
from rolekeeper.method.released import ReleasedWording, read_wording

SETTING = "ROLEKEEPER_PAPER_PROMPTS"


class BadPaperPrompts(InvalidInput):
    """The file of the released prompts can't be used."""

    code = "bad_paper_prompts"


class PaperPromptsMissing(InvalidInput):
    """A request asks for the released prompts on a deployment that has none."""

    code = "paper_prompts_missing"

    def __init__(self) -> None:
        super().__init__(
            "prompt_set paper_v2 is the wording of the released SaRFT code, which this deployment does not have. Take "
            f"prompt_set contrast or append; or ask the operator to set {SETTING} of the scorer to a copy of the "
            "released prompt_v2.json (docs/reproduce.md says where it is published)"
        )


def load_wording(path: Path) -> ReleasedWording:
    """Read the released prompts. Raises BadPaperPrompts, which names the file."""
    try:
        return read_wording(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadPaperPrompts(f"{path} ({SETTING}) can't be read: {error.strerror}") from error
    except ValueError as error:
        raise BadPaperPrompts(
            f"{path} ({SETTING}) is not the released prompt_v2.json: {error}; docs/reproduce.md says where it is "
            "published"
        ) from error
