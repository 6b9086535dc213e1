"""/v1/files, in OpenAI's shape."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from gateway.conditional import download
from gateway.dependencies import (
    AfterQuery,
    DeletionDep,
    IdPath,
    LimitQuery,
    OwnerDep,
    ResourcesDep,
    SessionDep,
    StoreDep,
)
from gateway.documents import BODY_ERRORS, DOWNLOAD_ERRORS, FILE_BODY
from gateway.routing import GatewayRoute
from gateway.uploads import UploadDep, keep_file
from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.contracts.characters import UploadedFile
from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.problems import Page
from rolekeeper.jobs import deletion, service
from rolekeeper.web.errors import problem_responses

router = APIRouter(
    prefix="/v1/files", tags=["files"], responses=problem_responses(*DOWNLOAD_ERRORS), route_class=GatewayRoute
)


@router.post(
    "",
    status_code=201,
    operation_id="create_file",
    summary="Upload dialogues or a suite",
    responses=problem_responses(*BODY_ERRORS, 507),
    openapi_extra=FILE_BODY,
)
def create_file(session: SessionDep, resources: ResourcesDep, owner: OwnerDep, upload: UploadDep) -> UploadedFile:
    """Upload dialogues as JSONL: one `{"messages": [...]}` per line, at most 256 KiB each and 256 MiB in all
    (purpose `fine-tune`). Or your own suite of prompts, as JSONL or CSV with the fields `prompt`, `part` (`harmful`,
    `benign`, `in_character` or `in_character_benign`), `category` and, if you like, `id`; at most 10,000 prompts
    (purpose `suite`).

    The whole file is checked before anything is kept; what is wrong comes back with its line.
    """
    artifact = keep_file(resources, owner, upload)
    return service.create_file(session, owner, upload.filename, upload.purpose, artifact)


@router.get("", operation_id="list_files", summary="List files, newest first")
def list_files(
    session: SessionDep, owner: OwnerDep, after: AfterQuery = None, limit: LimitQuery = 20
) -> Page[UploadedFile]:
    """One page of the files of this key's owner."""
    return service.list_files(session, owner, after, limit)


@router.get("/{file_id}", operation_id="get_file", summary="Get a file's description")
def get_file(session: SessionDep, owner: OwnerDep, file_id: IdPath) -> UploadedFile:
    """Name, size and digest of one file."""
    return service.get_file(session, owner, file_id)


@router.get(
    "/{file_id}/content",
    operation_id="get_file_content",
    summary="Download a file",
    response_class=FileResponse,
    responses={200: {"content": {"application/jsonl": {}}}, 206: {"description": "The range that was asked for"}},
)
def get_file_content(
    request: Request, session: SessionDep, store: StoreDep, owner: OwnerDep, file_id: IdPath
) -> Response:
    """The bytes as they were uploaded. Ranges and If-None-Match work."""
    file = service.get_file(session, owner, file_id)
    artifact = Artifact(sha256=file.sha256, bytes=file.bytes)
    return download(request, store, artifact, file.filename, "application/jsonl")


@router.delete("/{file_id}", operation_id="delete_file", summary="Delete a file")
def delete_file(session: SessionDep, by: DeletionDep, file_id: IdPath) -> Deleted:
    """Delete an uploaded file. Characters and jobs keep what they took from it."""
    return deletion.delete_file(session, by, file_id)
