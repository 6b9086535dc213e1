"""Files that are either complete and on disk, or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.trainer.program.failures import FolderTaken

SCRATCH_PREFIX = "tmp-"
"""Whatever begins with it is unfinished. The next run in the folder removes it."""

_TAKE_SECONDS = 10.0
_TAKE_PAUSE_SECONDS = 0.1


@contextlib.contextmanager
def take_folder(folder: Path) -> Iterator[None]:
    """Create `folder` if need be, hold it alone, and clear what a killed run left unfinished in it.

    The hold is a lock on the folder itself: it ends with the process, however that ends. A run that was just killed
    may take a moment to go, so it is waited for. Raises FolderTaken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        for left in folder.glob(f"{SCRATCH_PREFIX}*"):
            remove(left)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder under `parent`. It is removed at the end, unless it was renamed to something that stays."""
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        remove(folder)


def publish_folder(scratch: Path, target: Path) -> None:
    """Bring every file of `scratch` to disk, then give the folder its final name, which must be free."""
    for path in scratch.iterdir():
        sync(path)
    sync(scratch)
    scratch.replace(target)
    sync(target.parent)


def publish_file(scratch: Path, target: Path) -> None:
    """Bring a file to disk and give it its final name, in place of what had that name."""
    sync(scratch)
    scratch.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that is the same bytes for the same content."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def _lock(descriptor: int, folder: Path) -> None:
    until = time.monotonic() + _TAKE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise FolderTaken(f"{folder}: another training run works in this folder; end it first") from error
            time.sleep(_TAKE_PAUSE_SECONDS)
        else:
            return
