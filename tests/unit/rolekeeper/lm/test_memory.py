from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from rolekeeper.lm.memory import _free_of_group, _free_of_machine, available_bytes

# In a process of its own, whose memory nothing else moves.
PROGRAM = """
import psutil, torch
from rolekeeper.lm.memory import release_memory
rss = lambda: psutil.Process().memory_info().rss / 2**20
before = rss()
# 200 MiB in blocks too small to be mapped one by one, with a block that lives at the end of the heap.
blocks = [torch.ones(16_384) for _ in range(3_200)]
last = torch.ones(16_384)
del blocks
held = rss()
release_memory()
print(held - before, rss() - before)
"""


def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    held, kept = map(float, done.stdout.split())
    assert held > 150
    assert kept < 30


def test_this_machine_tells_what_is_free() -> None:
    free = available_bytes(torch.device("cpu"))
    assert free is not None
    assert free > 1 << 20


def test_the_kernel_says_what_it_could_hand_out(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  90 kB\nMemAvailable:   12 kB\n")
    assert _free_of_machine(str(tmp_path / "meminfo")) == 12 * 1024
    assert _free_of_machine(str(tmp_path / "missing")) is None


def test_a_container_has_what_is_left_of_its_limit(tmp_path: Path) -> None:
    assert _free_of_group(str(tmp_path)) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert _free_of_group(str(tmp_path)) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_of_group(str(tmp_path)) is None
