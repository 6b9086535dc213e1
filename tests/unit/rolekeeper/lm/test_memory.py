from __future__ import annotations

import subprocess
import sys

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
