"""Bodies in, artifacts out: what is wrong anywhere is refused whole, and leaves no byte behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, BinaryIO, NamedTuple

from fastapi import Depends, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from gateway.cutting import Cut
from gateway.dependencies import OwnerDep
from gateway.dialogues import MAX_DIALOGUES, Intake, Problems
from gateway.resources import Resources
from gateway.suite_files import SUITE_PURPOSE
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.contracts.characters import CharacterCreate, UploadedFile
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput
from rolekeeper.jobs import service
from rolekeeper.jobs.service import NewCharacter
from rolekeeper.suites.own import MAX_SUITE_BYTES, check_suite
from rolekeeper.web.body_limit import MEBIBYTE, BodyLimits
from rolekeeper.web.validation import error_items

MAX_FILE_BYTES = 256 * MEBIBYTE
# Room for the multipart headers around the file.
LIMITS = BodyLimits(
    max_bytes=MEBIBYTE, by_path={"/v1/characters": 64 * MEBIBYTE, "/v1/files": MAX_FILE_BYTES + 64 * 1024}
)
PURPOSES = ("fine-tune", SUITE_PURPOSE)
MAX_FILENAME_CHARS = 255


class Upload(NamedTuple):
    """An uploaded file that was not looked into yet."""

    filename: str
    purpose: str
    content: BinaryIO


async def read_body(request: Request, _owner: OwnerDep) -> bytes:
    """Return the body, once the caller is known: strangers can't make us hold megabytes."""
    return await request.body()


async def read_upload(request: Request, _owner: OwnerDep) -> AsyncIterator[Upload]:
    """Yield the uploaded file of a multipart body, once the caller is known; its parts go to a temporary file."""
    try:
        form = await request.form(max_files=1, max_fields=8)
    except HTTPException as error:  # Starlette's, a 400 for a body that it can't take apart
        raise InvalidInput(f"the body can't be read as multipart/form-data: {error.detail}") from error
    try:
        yield _find_upload(form)
    finally:
        await form.close()


BodyDep = Annotated[bytes, Depends(read_body)]
UploadDep = Annotated[Upload, Depends(read_upload)]


def keep_file(resources: Resources, owner: str, upload: Upload) -> Artifact:
    """Check a file of dialogues or a suite, and keep its bytes as they are. Raises InvalidInput, and Unavailable."""
    size = upload.content.seek(0, os.SEEK_END)
    upload.content.seek(0)
    with resources.readings.enter(owner, size):
        return _keep_file(resources.store, upload)


def _keep_file(store: Store, upload: Upload) -> Artifact:
    if upload.purpose == SUITE_PURPOSE:
        _check_suite(upload.content)
    else:
        intake = Intake()
        for _ in intake.take_file(upload.content):
            pass
        intake.finish("/file")
    upload.content.seek(0)
    with store.publish() as writer:
        while chunk := upload.content.read(MEBIBYTE):
            writer.write(chunk)
    return writer.artifact


def _check_suite(content: BinaryIO) -> None:
    data = content.read(MAX_SUITE_BYTES + 1)
    problems = Problems()
    if len(data) > MAX_SUITE_BYTES:
        detail = f"is larger than {MAX_SUITE_BYTES // MEBIBYTE} MiB, the limit of a suite; send fewer prompts"
        raise problems.with_more([ErrorItem(pointer="/file", detail=detail)])
    problems.add(*check_suite(data).problems)
    problems.raise_if_any()


def keep_character(session: Session, resources: Resources, owner: str, body: bytes) -> NewCharacter:
    """Check a character and keep its dialogues. Raises InvalidInput, Unavailable, and NotFound for an unknown file."""
    cut = Cut(body, "dialogues", MAX_DIALOGUES)
    given = cut.head()
    head = _check_head(given, given.pop("dialogues", None))
    file = None if head.dialogue_file is None else service.get_file(session, owner, head.dialogue_file)
    session.rollback()  # whatever is read now, no connection waits for it
    intake, store = Intake(), resources.store
    size = len(body) if file is None else file.bytes
    with resources.readings.enter(owner, size), store.publish() as writer:
        for line in intake.take_body(cut) if file is None else _lines_of(store, file, intake):
            writer.write(line + b"\n")
        intake.finish("/dialogue_file" if head.dialogue_file else "/dialogues")
    return NewCharacter(
        head.name, head.profile, writer.artifact, intake.num_dialogues, intake.num_messages, intake.notes
    )


def _lines_of(store: Store, file: UploadedFile, intake: Intake) -> Iterator[bytes]:
    with store.path(file.sha256).open("rb") as source:
        yield from intake.take_file(source)


def _check_head(given: dict[str, Any], dialogues: object) -> CharacterCreate:
    """Check all but the dialogues themselves, which may be many: those are taken in one by one. Raises InvalidInput."""
    problems = Problems()
    if (dialogues is None) == (given.get("dialogue_file") is None):
        detail = "send exactly one of `dialogues` and `dialogue_file` (the id of an uploaded file)"
        problems.add(ErrorItem(pointer="/dialogues", detail=detail))
    elif dialogues is not None and not isinstance(dialogues, list):
        problems.add(ErrorItem(pointer="/dialogues", detail="must be a list of {messages: [...]}"))
    elif dialogues:  # the first one was cut out
        problems.add(ErrorItem(pointer="/dialogues", detail="comes twice in the body; send one list"))
    for name in ("name", "profile"):
        problems.add(*_text_problems(name, given.get(name)))
    try:
        head = CharacterCreate.model_validate(given)
    except ValidationError as error:
        raise problems.with_more(error_items(error.errors(include_url=False))) from error
    problems.raise_if_any()
    return head


def _text_problems(name: str, text: object) -> Iterator[ErrorItem]:
    if isinstance(text, str) and text and not text.strip():
        yield ErrorItem(pointer=f"/{name}", detail="is blank; it needs text")
    if isinstance(text, str) and "\0" in text:
        yield ErrorItem(pointer=f"/{name}", detail="holds a NUL character (U+0000); remove it")


def _find_upload(form: FormData) -> Upload:
    problems = Problems()
    file, purpose = form.get("file"), form.get("purpose")
    if purpose not in PURPOSES:
        detail = "must be 'fine-tune' for dialogues as JSONL, or 'suite' for a suite of prompts as JSONL or CSV"
        problems.add(ErrorItem(pointer="/purpose", detail=detail))
    if not isinstance(file, UploadFile):
        detail = "is missing: send multipart/form-data with the parts `file` and `purpose`"
        raise problems.with_more([ErrorItem(pointer="/file", detail=detail)])
    problems.raise_if_any()
    return Upload(clean_filename(file.filename), str(purpose), file.file)


def clean_filename(given: str | None) -> str:
    """Return the last part of the name without control characters: it is shown and sent back, never opened."""
    last = (given or "").replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:MAX_FILENAME_CHARS] or "dialogues.jsonl"
