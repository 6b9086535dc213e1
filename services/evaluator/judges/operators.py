"""The operator's own judges, from a TOML file: `[judges.NAME]` tables of the kinds `llm` and `classifier`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.protocol import BadJudges


class _Entry(BaseModel):
    # Never the input: somebody may have put a key where its variable's name belongs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())


class LlmEntry(_Entry):
    """Any endpoint that speaks OpenAI's chat completions."""

    kind: Literal["llm"]
    url: str = Field(pattern=r"^https?://", description="Up to /v1")
    model: str = Field(min_length=1)
    key_variable: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Variable with the key")
    answer_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    timeout_seconds: float = Field(default=30.0, gt=0, le=120)
    tries: int = Field(default=4, ge=1, le=10)
    concurrency: int = Field(default=4, ge=1, le=64)
    max_calls_a_day: int = Field(ge=1)
    max_tokens_a_day: int = Field(ge=1)


class ClassifierEntry(_Entry):
    """A text-classification model of the Hugging Face hub or in a folder, as safetensors."""

    kind: Literal["classifier"]
    source: Literal["hub", "folder"]
    location: str = Field(min_length=1, description="Hub id, or path relative to the file")
    revision: str | None = None
    reads: Literal["answer", "request_and_answer"]
    labels: Mapping[str, Label] = Field(min_length=1, description="The model's label to the verdict")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "hub" and not self.revision:
            raise ValueError("a hub model needs `revision`, or its verdicts could change under the same name")
        return self


JudgeEntry = LlmEntry | ClassifierEntry
_ENTRY: TypeAdapter[JudgeEntry] = TypeAdapter(Annotated[JudgeEntry, Field(discriminator="kind")])
_NAME = TypeAdapter(JudgeName)


def load_entries(path: Path, taken: Sequence[JudgeName]) -> dict[JudgeName, JudgeEntry]:
    """Return the operator's judges by name; `taken` are names that can't be given. Raises BadJudges."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("judges", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadJudges(f"{path}: the list of judges can't be read: {error}") from error
    if not isinstance(tables, dict) or not tables:
        raise BadJudges(f"{path}: no judge is listed; add a [judges.NAME] table, or unset ROLEKEEPER_JUDGES")
    entries = {name: _read(path, name, table) for name, table in tables.items()}
    for name in entries:
        if name in taken:
            raise BadJudges(f"{path}: {name!r} is one of Rolekeeper's own judges; give yours another name")
    return {name: _with_absolute_path(entry, path.parent) for name, entry in entries.items()}


def _read(path: Path, name: str, table: Any) -> JudgeEntry:
    try:
        _NAME.validate_python(name)
        return _ENTRY.validate_python(table)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        raise BadJudges(f"{path}: judge {name!r} is not well formed: {wrong}") from error


def _with_absolute_path(entry: JudgeEntry, folder: Path) -> JudgeEntry:
    if isinstance(entry, ClassifierEntry) and entry.source == "folder":
        return entry.model_copy(update={"location": str((folder / entry.location).resolve())})
    return entry
