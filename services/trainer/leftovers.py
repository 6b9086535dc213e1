"""What is left in the work folder of jobs that have ended: checkpoints, and the dialogues that they were trained on."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import structlog

from rolekeeper.jobs import sweeps
from rolekeeper.jobs.db import Database

ROUND_SECONDS = 60.0
UNKNOWN_SECONDS = 86_400.0
"""The database of a folder this young may be another one than ours, by mistake."""

_JOB = re.compile("job_[0-9a-f]{24}")


class Leftovers:
    """Removes the folders of jobs that have ended or were deleted. Those of jobs that wait or are paused stay.

    So do those of jobs that the database never knew, for a day.
    """

    def __init__(self, work_dir: Path, database: Database) -> None:
        self._work_dir = work_dir
        self._database = database

    def remove(self) -> None:
        """Look at every folder once."""
        folders = {path.name: path for path in self._work_dir.glob("job_*") if _JOB.fullmatch(path.name)}
        if not folders:
            return
        with self._database.transaction() as session:
            found = sweeps.ended(session, list(folders))
        for job_id, folder in folders.items():
            if found[job_id] if job_id in found else _is_old(folder):
                shutil.rmtree(folder, ignore_errors=True)
                structlog.get_logger().info("removed what a job left", job_id=job_id)


def _is_old(folder: Path) -> bool:
    return folder.stat().st_mtime < time.time() - UNKNOWN_SECONDS
