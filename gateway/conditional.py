"""ETags, conditional requests and downloads of artifacts."""

from __future__ import annotations

import base64

from fastapi import Request
from starlette.responses import FileResponse, Response

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact


def is_current(request: Request, etag: str) -> bool:
    """Whether the caller has this version already (RFC 9110, 13.1.2: compared weakly, `*` is any)."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag in tags or "*" in tags


def not_modified(headers: dict[str, str]) -> Response:
    """Return 304 with the headers that a 200 would have had."""
    return Response(status_code=304, headers=headers)


def version_headers(version: int) -> dict[str, str]:
    """Return the headers of something that is told by a version: its ETag, and that it is asked for each time."""
    return {"etag": f'"{version}"', "cache-control": "private, no-cache"}


def artifact_headers(artifact: Artifact) -> dict[str, str]:
    """Return the headers that name the bytes: a strong ETag, and the digest of the whole (RFC 9530)."""
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "etag": f'"sha256-{artifact.sha256}"',
        "repr-digest": f"sha-256=:{digest}:",
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }


def download(request: Request, store: Store, artifact: Artifact, filename: str, media_type: str) -> Response:
    """Return an artifact as a download that can be resumed by ranges, or 304. Raises NotFound."""
    headers = artifact_headers(artifact)
    if is_current(request, headers["etag"]):
        return not_modified(headers)
    path = store.path(artifact.sha256)
    return FileResponse(path, headers=headers, filename=filename, media_type=media_type, stat_result=path.stat())
