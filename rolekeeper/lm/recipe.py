"""What a base model was trained on, as its recipe says: digests of prompts, so that suites can leave these out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rolekeeper.lm.catalog import BadCatalog, ModelEntry


class Recipe(BaseModel):
    """The part of a recipe.json that is read here; what else it holds is for people."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompts_sha256: frozenset[str] = frozenset()


def trained_prompts(catalog: Mapping[str, ModelEntry]) -> dict[str, frozenset[str]]:
    """Return the digests of the prompts that each base model was trained on, by its alias.

    Models without a recipe have none. Raises BadCatalog for a recipe that can't be read.
    """
    return {
        alias: frozenset() if entry.recipe is None else _read(entry, Path(entry.recipe)).prompts_sha256
        for alias, entry in catalog.items()
    }


def prompt_digest(text: str) -> str:
    """Return the sha256 of a prompt's words: lower case, letters and digits only, with single spaces."""
    words = "".join(character if character.isalnum() else " " for character in text.lower()).split()
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _read(entry: ModelEntry, path: Path) -> Recipe:
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadCatalog(f"the recipe of base model {entry.alias!r} ({path}) can't be read: {error}") from error
