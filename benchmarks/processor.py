"""The processor that figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """Its name as Linux has it, and the number of cores that this process may use."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
