"""Downloading an adapter: resumed where it was cut, verified before it gets its name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import httpx

from rolekeeper.client.errors import ApiError
from rolekeeper.errors import RolekeeperError, Unavailable

OnBytes = Callable[[int, int], None]
OpenStream = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]


class Persist(Protocol):
    """Does an action until it succeeds or is given up."""

    def __call__(self, action: Callable[[], str | None], /) -> str | None:
        """What the action returned."""


class AdapterDownload:
    """Writes `<target>.part`, and renames it to `target` when its sha256 is the one that the API states.

    `open_stream(headers)` starts the answer. Adapters never change, so a part is always worth keeping.
    """

    def __init__(self, open_stream: OpenStream, target: Path) -> None:
        self._open_stream = open_stream
        self._target = target
        self._part = target.with_name(target.name + ".part")

    def run(self, persist: Persist, on_bytes: OnBytes | None = None) -> Path:
        """Download until the file is whole.

        Raises:
            RolekeeperError: the bytes that came are not those that the API stated.
        """
        self._target.parent.mkdir(parents=True, exist_ok=True)
        sha256: str | None = None
        while sha256 is None:
            sha256 = persist(lambda: self._continue(on_bytes))
        with self._part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            self._part.unlink()
            raise RolekeeperError(
                f"the adapter was damaged on its way: its sha256 is {found}, the API stated {sha256}; download it again"
            )
        return self._part.replace(self._target)

    def _continue(self, on_bytes: OnBytes | None) -> str | None:
        """Fetch what is missing. Returns the stated digest when all is there, None when it was cut after some bytes."""
        before = self._part_bytes()
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={before}-"} if before else {})
        try:
            with self._open_stream(headers) as response:
                start = before if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
                total = start + int(response.headers.get("content-length", 0))
                self._append(response.iter_raw(), start, total, on_bytes)
                return stated_digest(response.headers)
        except Unavailable:
            if self._part_bytes() <= before:
                raise
            return None
        except ApiError as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                raise
            self._part.unlink()
            return None

    def _part_bytes(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _append(self, chunks: Iterable[bytes], start: int, total: int, on_bytes: OnBytes | None) -> None:
        done = start
        with self._part.open("ab" if start else "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                done += len(chunk)
                if on_bytes is not None:
                    on_bytes(done, total)


def stated_digest(headers: httpx.Headers) -> str:
    """The sha256, in hex, of the whole file: from `Repr-Digest` (RFC 9530), else from the strong `ETag`.

    Raises:
        RolekeeperError: neither header states it.
    """
    digest = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", headers.get("repr-digest", ""))
    if digest is not None:
        try:
            return base64.b64decode(digest[1], validate=True).hex()
        except binascii.Error as error:
            raise RolekeeperError(f"the API stated a digest that is not base64: {digest[1]!r}") from error
    etag = re.search(r"\b[0-9a-f]{64}\b", headers.get("etag", ""))
    if etag is None:
        raise RolekeeperError("the API stated no sha256 for the adapter, so it can't be verified; check the URL")
    return etag[0]
