"""Another evaluation of an adapter that is there already, as a job of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import func
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import Job, StageName, Status
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import Conflict, InvalidInput
from rolekeeper.jobs import repository
from rolekeeper.jobs.repository import lock_owned
from rolekeeper.jobs.rows import ArtifactRow, JobRow, StageRow

MADE_BEFORE = {StageName.SCORE: ArtifactKind.SCORES, StageName.TRAIN: ArtifactKind.ADAPTER}


class Again(NamedTuple):
    """How to evaluate again. What `options` does not set is as before.

    `files` are the digests of the uploaded suites that it names, by their keys.
    """

    options: EvaluationOptions
    files: Mapping[str, str] = MappingProxyType({})
    request_id: str | None = None


def evaluate_again(session: Session, owner: str, job_id: str, again: Again) -> Job:
    """Queue a job whose scores and adapter are those of `job_id`, and which only evaluates.

    The caller sends a hint for the evaluate stage.

    Raises:
        NotFound: there is no such job.
        Conflict: it has no adapter yet.
        InvalidInput: other dialogues would be held out than were kept from its training.
    """
    source = lock_owned(session, JobRow, owner, job_id)  # it can't be deleted before its artifacts are named again
    made = {stage: session.get(ArtifactRow, (job_id, kind.value)) for stage, kind in MADE_BEFORE.items()}
    if made[StageName.TRAIN] is None:
        raise Conflict(f"job {job_id} has no adapter: it is {source.status}; evaluate it again once it is trained")
    root = source.options.get("evaluates") or source.id
    evaluation = _merge(EvaluationOptions.model_validate(source.options["evaluation"]), again.options)
    job = JobRow(
        id=repository.new_id("job"),
        owner=owner,
        character_id=source.character_id,
        base_model=source.base_model,
        options=source.options
        | {
            "evaluation": evaluation.model_dump(mode="json"),
            "evaluates": root,
            "files": source.options.get("files", {}) | again.files,
        },
        status=Status.QUEUED,
        harmful_share=source.harmful_share,
        request_id=again.request_id,
    )
    session.add(job)
    session.flush()
    session.add_all(
        ArtifactRow(job_id=job.id, kind=row.kind, sha256=row.sha256, bytes=row.bytes, attempt=0)
        for row in made.values()
        if row is not None
    )
    _add_stages(session, source, job)
    repository.add_event(session, job.id, "job.created", f"the adapter of {root} is queued for another evaluation")
    session.flush()
    return repository.to_job(session, job)


def _merge(before: EvaluationOptions, asked: EvaluationOptions) -> EvaluationOptions:
    given = asked.model_dump(mode="json", exclude_unset=True)
    stored = before.model_dump(mode="json")
    problems = [
        ErrorItem(pointer=f"/{name}", detail=f"must stay {stored[name]}: it chose what was kept from training")
        for name in ("held_out_share", "split_seed")
        if given.get(name, stored[name]) != stored[name]
    ]
    if problems:
        text = "; ".join(f"{problem.pointer} {problem.detail}" for problem in problems)
        raise InvalidInput(text, problems=problems)
    return EvaluationOptions.model_validate(stored | given)


def _add_stages(session: Session, source: JobRow, job: JobRow) -> None:
    """No worker takes the first two stages here: they have no attempt and no times, and the progress of the source."""
    for name, row in repository.stage_rows(session, source.id).items():
        if name in MADE_BEFORE:
            session.add(StageRow(job_id=job.id, name=name, status=Status.SUCCEEDED, progress=row.progress))
        else:
            session.add(StageRow(job_id=job.id, name=name, status=Status.QUEUED, hinted_at=func.clock_timestamp()))
