"""The public suites: where their files lie and what their columns mean. Knows no torch: the gateway asks it too."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rolekeeper.contracts.suites import Part, SuiteName
from rolekeeper.errors import InvalidInput

STARTER = "starter"
STARTER_SIZE = 444
PUBLIC = Path(__file__).parent / "public.toml"


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubFile(_Declared):
    """A file of a data set on the Hugging Face hub, at a revision."""

    repo: str
    file: str
    revision: str


class SuiteFile(_Declared):
    """One file of a suite, CSV or JSONL, and what its columns mean.

    `path` is below the folder of suites. Where all rows have one part, category or name, it is given itself; else the
    column that says it. `where` keeps the rows that have these values. A CSV without a header line has `columns`.
    """

    path: str
    url: str
    hub: HubFile | None = None
    columns: tuple[str, ...] = ()
    prompt: str
    id: str | None = None
    part: Part | None = None
    part_column: str | None = None
    parts: Mapping[str, Part] = {}
    category: str | None = None
    category_column: str | None = None
    where: Mapping[str, str] = {}
    role: str | None = None
    references: str | None = None


class SuiteEntry(_Declared):
    """One public suite. `categories` maps its own categories to OpenAI's names; those that fit none stay as they are.

    `answers_start` is how the set's target answers begin: prompts that begin so are the wrong column.
    """

    name: SuiteName
    title: str
    licence: str
    attribution: str
    size: int | None = None
    terms: str = ""
    answers_start: str | None = None
    files: tuple[SuiteFile, ...]
    categories: Mapping[str, str] = {}

    @property
    def by_role(self) -> bool:
        """Whether its questions belong to roles, one of which must be named."""
        return any(file.role is not None for file in self.files)


class UnknownSuite(InvalidInput):
    """No suite has the name."""

    code = "unknown_suite"


def load_entries(path: Path = PUBLIC) -> dict[str, SuiteEntry]:
    """Return the public suites by name."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["suites"]
    return {name: SuiteEntry.model_validate({"name": name, **table}) for name, table in tables.items()}


def check_known(entries: Mapping[str, SuiteEntry], name: str) -> None:
    """Raise UnknownSuite, which lists the names there are."""
    if name != STARTER and name not in entries:
        known = ", ".join(sorted([STARTER, *entries]))
        raise UnknownSuite(f"there is no suite {name!r}; known are {known}; or upload your own (purpose `suite`)")
