"""Folders for what is unpacked. Models are large, so they lie on a disk that the operator gave, not in `/tmp`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "unpacked-"
YOUNG_SECONDS = 60.0
"""A folder this young may have been made just now, and not be locked yet."""


class Scratch:
    """A new folder under `parent`. A lock on it says that its process lives, and ends with the process."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def sweep(parent: Path) -> int:
    """Remove the folders of processes that were killed; those of others who share `parent` stay. Returns how many."""
    return sum(_remove_if_left(folder) for folder in parent.glob(f"{PREFIX}*"))


def _remove_if_left(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # it is held, or another sweep was here first
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_mtime > time.time() - YOUNG_SECONDS:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            return True
        finally:
            os.close(descriptor)
    return False
