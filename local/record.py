"""What is known of a running stack: a lock that says whether it runs, and `stack.json` that says where.

The lock goes with its holder, however that ends, so a stale `stack.json` is never taken for a running stack.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from local import family
from local.failures import StackFailed


class ProcessRecord(BaseModel):
    """A process by pid and by its start time (Unix seconds), since pids are used again."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: float


class StackRecord(BaseModel):
    """A running stack."""

    model_config = ConfigDict(frozen=True)

    supervisor: ProcessRecord
    processes: dict[str, ProcessRecord]
    ports: dict[str, int]
    url: str
    api_key: str | None = None


def describe(pid: int) -> ProcessRecord:
    """The record of a living process."""
    return ProcessRecord(pid=pid, started=psutil.Process(pid).create_time())


class StateFolder:
    """The folder of one stack."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._record_path = self.path / "stack.json"
        self._lock_path = self.path / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that runs a stack in this folder. Raises StackFailed if another does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackFailed(f"a stack runs in {self.path} already; `make down` stops it") from error
            yield

    @property
    def is_running(self) -> bool:
        """Whether a stack runs in this folder."""
        if not self._lock_path.exists():
            return False
        with contextlib.suppress(StackFailed), self.locked():
            return False
        return True

    def write(self, record: StackRecord) -> None:
        """Keep the record, whole or not at all; only for its owner, since it has a key."""
        draft = self._record_path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(record.model_dump_json(indent=1))
        draft.replace(self._record_path)

    def read(self) -> StackRecord | None:
        """The record, or None if there is none."""
        if not self._record_path.exists():
            return None
        return StackRecord.model_validate_json(self._record_path.read_bytes())

    @property
    def temporary(self) -> Path:
        """Where the processes of the stack have their temporary files."""
        return self.path / "tmp"

    def forget(self) -> None:
        """Drop the record and the temporary files."""
        self._record_path.unlink(missing_ok=True)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def clean_up_after_crash(self) -> None:
        """End what is left of a stack whose supervisor was killed. Call it with the lock held."""
        record = self.read()
        for process in record.processes.values() if record else ():
            if not _is_used_again(process):
                family.end(family.family(process.pid), signal.SIGKILL, grace_seconds=0)
        self.forget()


def _is_used_again(record: ProcessRecord) -> bool:
    try:
        return abs(psutil.Process(record.pid).create_time() - record.started) > 1.0
    except psutil.NoSuchProcess:
        return False
