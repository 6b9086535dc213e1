"""The artifact store: a folder of immutable files, each named by the sha256 of its bytes.

A file appears under its name only when it is complete and on disk, so a reader never sees half of one, and two writers
of the same bytes do no harm. The folder may be a volume that several machines share.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.errors import NotFound
from rolekeeper.room import room_in

CHUNK_BYTES = 1 << 20
CHECKED_BYTES = 4096
_DIGEST = re.compile("[0-9a-f]{64}")


class ArtifactWriter:
    """Collects the bytes of one artifact and their digest."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self._num_bytes = 0

    @property
    def artifact(self) -> Artifact:
        """Digest and size of what was written so far."""
        return Artifact(sha256=self._digest.hexdigest(), bytes=self._num_bytes)

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write(data)
        self._digest.update(data)
        self._num_bytes += len(data)

    def sync(self) -> None:
        """Bring the bytes to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Store:
    """A content-addressed folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> Artifact:
        """Keep `data`."""
        with self.publish() as writer:
            writer.write(data)
        return writer.artifact

    def put_file(self, path: Path) -> Artifact:
        """Keep a copy of the file at `path`."""
        with self.publish() as writer, path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                writer.write(chunk)
        return writer.artifact

    @contextlib.contextmanager
    def publish(self) -> Iterator[ArtifactWriter]:
        """Write an artifact piece by piece. It is published when the block ends, and dropped if the block raises.

        Raises StorageFull where the disk has no room.
        """
        with room_in("the artifact store"), self._draft() as (writer, draft):
            yield writer
            writer.sync()
            target = self._target(writer.artifact.sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.chmod(0o644)
            draft.replace(target)
            _sync_folder(target.parent)

    def check(self) -> None:
        """Write a file and remove it. Raises OSError."""
        with self._draft() as (writer, _):
            writer.write(b"\0" * CHECKED_BYTES)
            writer.sync()

    def sweep(self, age_seconds: float) -> int:
        """Remove what writers that were killed left behind, if it is older; returns how many files that were."""
        old = time.time() - age_seconds
        found = [path for path in self._incoming.glob("*") if _was_changed_at(path) < old]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def erase(self, sha256: str, age_seconds: float) -> bool:
        """Remove an artifact, unless it was put within `age_seconds`. Returns whether it is gone."""
        old, target = time.time() - age_seconds, self._target(sha256)
        if not target.exists() or _was_changed_at(target) >= old:
            return not target.exists()
        self._incoming.mkdir(parents=True, exist_ok=True)
        aside = self._incoming / f"erased-{sha256}"
        target.replace(aside)
        if _was_changed_at(aside) >= old:  # it was put again between the two lines before
            aside.replace(target)
            return False
        aside.unlink()
        _sync_folder(target.parent)
        return True

    @contextlib.contextmanager
    def _draft(self) -> Iterator[tuple[ArtifactWriter, Path]]:
        """A file that is gone when the block ends, unless it was moved."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        writer = ArtifactWriter(descriptor)
        try:
            try:
                yield writer, Path(name)
            finally:
                writer.close()  # it may write, and find no room
        finally:
            Path(name).unlink(missing_ok=True)

    @property
    def _incoming(self) -> Path:
        return self.folder / "incoming"

    def path(self, sha256: str) -> Path:
        """Where the bytes lie.

        Raises:
            NotFound: the store has no such artifact.
        """
        # Whatever is no digest may be a path to somewhere else.
        if not _DIGEST.fullmatch(sha256) or not self._target(sha256).is_file():
            raise NotFound(f"the artifact store has no bytes with sha256 {sha256}")
        return self._target(sha256)

    def lines(self, sha256: str) -> Iterator[bytes]:
        """The lines of a text artifact, without their line ends."""
        with self.path(sha256).open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def _target(self, sha256: str) -> Path:
        return self.folder / "sha256" / sha256[:2] / sha256


def _was_changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it has just been published
        return time.time()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
