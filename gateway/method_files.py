"""The uploaded files that a method's options name: checked when the job is asked for, and kept as canonical JSONL."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from gateway.dialogues import Intake, Problems
from gateway.doorway import outside
from gateway.resources import Resources
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import FileOption
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput
from rolekeeper.jobs import service

MAX_DIALOGUES = 2000
_LEAST_DIALOGUES = {"bi_selection": {"safe_file": 2}}
_OPTIONS: tuple[FileOption, ...] = ("safe_file", "harmful_file")


def keep_method_files(session: Session, resources: Resources, owner: str, method: Method) -> dict[str, str]:
    """Return the digests of the files that the method needs. Raises InvalidInput, Unavailable, and NotFound."""
    problems = Problems()
    problems.add(*_wrong_files(method))
    problems.raise_if_any()
    return {option: _keep(session, resources, owner, method, option) for option in method.needed_files}


def _wrong_files(method: Method) -> Iterator[ErrorItem]:
    needed = method.needed_files
    for option in _OPTIONS:
        given = getattr(method.options, option) is not None
        if option in needed and not given:
            detail = f"is missing: {method.name} needs the id of an uploaded file of dialogues here"
            yield ErrorItem(pointer=_pointer(option), detail=detail)
        if given and option not in needed:
            with_what = " with anchors: prompts" if method.options.anchors == "prompts" else ""
            yield ErrorItem(pointer=_pointer(option), detail=f"is not used by {method.name}{with_what}; remove it")


def _keep(session: Session, resources: Resources, owner: str, method: Method, option: FileOption) -> str:
    file = service.get_file(session, owner, getattr(method.options, option))
    session.rollback()  # no connection waits while the file is read
    intake = Intake()
    with (
        outside(),
        resources.readings.enter(owner, file.bytes),
        resources.store.publish() as writer,
        resources.store.path(file.sha256).open("rb") as source,
    ):
        for line in intake.take_file(source):
            writer.write(line + b"\n")
            if intake.num_dialogues > MAX_DIALOGUES:
                raise _error(option, f"holds more than {MAX_DIALOGUES} dialogues; a few dozen are enough")
        intake.finish(_pointer(option))
    least = _LEAST_DIALOGUES.get(method.name, {}).get(option, 1)
    if intake.num_dialogues < least:
        raise _error(option, f"holds {intake.num_dialogues} dialogue(s); {method.name} needs at least {least}")
    return writer.artifact.sha256


def _error(option: FileOption, detail: str) -> InvalidInput:
    return InvalidInput(f"{_pointer(option)} {detail}", problems=[ErrorItem(pointer=_pointer(option), detail=detail)])


def _pointer(option: FileOption) -> str:
    return f"/method/options/{option}"
