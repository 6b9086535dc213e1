"""The operator's TOML file: judges (`[judges.NAME]`, of the kinds `llm` and `classifier`), and how judges err."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

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


class OperatorFile(NamedTuple):
    """What the file says: judges by name, and by a judge's name the file that says how it errs."""

    entries: Mapping[JudgeName, JudgeEntry]
    calibrations: Mapping[JudgeName, Path]


def read_operator_file(path: Path, taken: Sequence[JudgeName]) -> OperatorFile:
    """Read the file; `taken` are names that can't be given. Raises BadJudges."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadJudges(f"{path}: the list of judges can't be read: {error}") from error
    entries = _entries(path, tables.get("judges", {}), taken)
    calibrations = _calibrations(path, tables.get("calibrations", {}), [*taken, *entries])
    if not entries and not calibrations:
        raise BadJudges(f"{path}: no judge is listed; add a [judges.NAME] table, or unset ROLEKEEPER_JUDGES")
    return OperatorFile(entries, calibrations)


def _entries(path: Path, tables: Any, taken: Sequence[JudgeName]) -> dict[JudgeName, JudgeEntry]:
    if not isinstance(tables, dict):
        raise BadJudges(f"{path}: judges must be [judges.NAME] tables")
    entries = {name: _read(path, name, table) for name, table in tables.items()}
    for name in entries:
        if name in taken:
            raise BadJudges(f"{path}: {name!r} is one of Rolekeeper's own judges; give yours another name")
    return {name: _with_absolute_path(entry, path.parent) for name, entry in entries.items()}


def _calibrations(path: Path, files: Any, known: Sequence[JudgeName]) -> dict[JudgeName, Path]:
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise BadJudges(f'{path}: calibrations must be lines NAME = "FILE"')
    for name in files:
        if name not in known:
            raise BadJudges(f"{path}: calibrations: there is no judge {name!r}; known are {', '.join(sorted(known))}")
    return {name: path.parent / file for name, file in files.items()}


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
