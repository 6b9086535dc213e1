"""What one owner may ask for: ceilings of a job, judges that cost money, and jobs that are open at once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.evaluation import EvaluationOptions, JudgeName
from rolekeeper.contracts.jobs import Job
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.suites import MAX_SUITE_PROMPTS, SuiteChoice, suite_file_key
from rolekeeper.errors import InvalidInput, RolekeeperError
from rolekeeper.suites.catalog import STARTER, STARTER_SIZE, SuiteEntry

MEBIBYTE = 1 << 20


class BadQuotas(RolekeeperError):
    """The file with the quotas can't be used."""

    code = "bad_quotas"


class Quota(BaseModel):
    """What one owner may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_answers: int = Field(default=20_000, ge=1, description="Answers of one evaluation, of both models together")
    max_answer_tokens: int = Field(default=4_000_000, ge=1, description="Their tokens; those by ROSE count twice")
    max_learned: int = Field(default=1_000_000, ge=1, description="Dialogues of a training run, times its epochs")
    max_open_jobs: int | None = Field(default=None, ge=1, description="Jobs that have not ended; none: no bound")
    judges: tuple[JudgeName, ...] = Field(default=("local", "phrases"), description="Judges that a job may name")


class Quotas(NamedTuple):
    """The quotas of all owners: those that the file does not name have the default."""

    default: Quota = Quota()
    owners: Mapping[str, Quota] = {}

    def of(self, owner: str) -> Quota:
        """Return the quota of an owner."""
        return self.owners.get(owner, self.default)


def load_quotas(path: Path | None) -> Quotas:
    """Return the quotas in the operator's TOML file. Raises BadQuotas, which names the file and what is wrong.

    What an owner's table leaves out is as in the table `default`.
    """
    if path is None:
        return Quotas()
    try:
        tables = tomllib.loads(path.read_bytes().decode())
        default = tables.pop("default", {})
        owners = tables.pop("owners", {})
        if tables:
            raise BadQuotas(f"{path}: {', '.join(sorted(tables))}: the tables are `default` and `owners.NAME`")
        named = {owner: Quota.model_validate({**default, **table}) for owner, table in owners.items()}
        return Quotas(Quota.model_validate(default), named)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError, TypeError, AttributeError) as error:
        raise BadQuotas(f"{path}: the quotas can't be read: {error}") from error


class Demand(NamedTuple):
    """What a job takes, at most: answers of both models, their tokens, and what training goes through."""

    answers: int
    answer_tokens: int
    learned: int


def refuse_more(quota: Quota, job: Job, demand: Demand, also: JudgeName | None, under: str) -> None:
    """Raise InvalidInput, which points at all that the job asks for and its owner's quota does not allow.

    `also` is a judge that the operator wants in every job. `under` is the pointer to the evaluation in the body.
    """
    problems = [*_over(quota, job.evaluation, demand, under), *_judges(quota, job.evaluation, also, under)]
    if problems:
        said = "; ".join(f"{item.pointer} {item.detail}" for item in problems)
        raise InvalidInput(said, code="over_quota", problems=problems)


def demand_of(job: Job, num_dialogues: int, prompts: int) -> Demand:
    """Return what a job takes whose suites have so many prompts together."""
    evaluation, epochs = job.evaluation, job.hyperparameters.epochs
    answers = 2 * (prompts + math.ceil(num_dialogues * evaluation.held_out_share))
    times = 1 if evaluation.decoding.rose_weight is None else 2
    # `auto` takes fewer epochs of more dialogues.
    learned = 0 if job.evaluates is not None else num_dialogues * (1 if epochs == "auto" else epochs)
    return Demand(answers, times * answers * evaluation.max_new_tokens, learned)


def count_prompts(entries: Mapping[str, SuiteEntry], store: Store, job: Job, files: Mapping[str, str]) -> int:
    """Return how many prompts the suites of a job have at most. Of an uploaded file the lines are counted."""
    return sum(_most_prompts(entries, store, choice, files) for choice in job.evaluation.suites)


def _most_prompts(
    entries: Mapping[str, SuiteEntry], store: Store, choice: SuiteChoice, files: Mapping[str, str]
) -> int:
    most = choice.max_prompts or MAX_SUITE_PROMPTS
    if choice.file is not None:
        return min(most, _count_lines(store.path(files[suite_file_key(choice.file)])))
    size = STARTER_SIZE if choice.name == STARTER else entries[choice.name].size
    return most if size is None else min(most, size)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return 1 + sum(piece.count(b"\n") for piece in iter(lambda: file.read(MEBIBYTE), b""))


def _over(quota: Quota, evaluation: EvaluationOptions, demand: Demand, under: str) -> Iterator[ErrorItem]:
    twice = "" if evaluation.decoding.rose_weight is None else " (by ROSE they count twice)"
    checks = (
        (f"{under}/suites", "answers of both models together", demand.answers, quota.max_answers),
        (f"{under}/max_new_tokens", f"tokens of answers{twice}", demand.answer_tokens, quota.max_answer_tokens),
        ("/hyperparameters/epochs", "dialogues to learn, epochs counted", demand.learned, quota.max_learned),
    )
    for pointer, what, asked, most in checks:
        if asked > most:
            yield ErrorItem(pointer=pointer, detail=f"makes it {asked} {what}; your quota is {most}, so ask for less")


def _judges(quota: Quota, evaluation: EvaluationOptions, also: JudgeName | None, under: str) -> Iterator[ErrorItem]:
    allowed = {*quota.judges, also}
    for index, name in enumerate(evaluation.judges):
        if name not in allowed:
            names = ", ".join(quota.judges)
            detail = f"is {name!r}, which the operator does not name for you; your judges are {names}"
            yield ErrorItem(pointer=f"{under}/judges/{index}", detail=detail)
