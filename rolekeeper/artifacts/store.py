"""The artifact store: a folder of immutable files, each named by the sha256 of its bytes.

A file appears under its name only when it is complete and on disk, so a reader never sees half of one, and two writers
of the same bytes do no harm. The folder may be a volume that several machines share.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.errors import NotFound

CHUNK_BYTES = 1 << 20


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
        """Write an artifact piece by piece. It is published when the block ends, and dropped if the block raises."""
        incoming = self.folder / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=incoming)
        writer = ArtifactWriter(descriptor)
        try:
            yield writer
            writer.sync()
            target = self._target(writer.artifact.sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            Path(name).chmod(0o644)
            Path(name).replace(target)
            _sync_folder(target.parent)
        finally:
            writer.close()
            Path(name).unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the bytes lie.

        Raises:
            NotFound: the store has no such artifact.
        """
        target = self._target(sha256)
        if not target.is_file():
            raise NotFound(f"the artifact store has no bytes with sha256 {sha256}")
        return target

    def lines(self, sha256: str) -> Iterator[bytes]:
        """The lines of a text artifact, without their line ends."""
        with self.path(sha256).open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def _target(self, sha256: str) -> Path:
        return self.folder / "sha256" / sha256[:2] / sha256


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
