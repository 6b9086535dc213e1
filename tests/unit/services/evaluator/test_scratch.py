"""Folders of what is unpacked, and what processes that were killed left of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from local.processes import ROOT
from services.evaluator.scratch import Scratch, sweep

LEAVE_ONE = """
import sys
from pathlib import Path
from services.evaluator.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.folder / "model.safetensors").write_bytes(b"weights")
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVE_ONE, str(tmp_path)]
    own = Scratch(tmp_path)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        age(theirs)
        age(own.folder)
        assert sweep(tmp_path) == 0
        other.kill()
    assert theirs.is_dir()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [own.folder]
    own.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_young_folder_and_what_is_not_ours_stay(tmp_path: Path) -> None:
    (tmp_path / "unpacked-young").mkdir()
    (tmp_path / "models").mkdir()
    age(tmp_path / "models")
    assert sweep(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2
    assert sweep(tmp_path / "nowhere") == 0
