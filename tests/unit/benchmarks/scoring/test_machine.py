from __future__ import annotations

import sys

import pytest

from benchmarks.scoring.machine import measure_peak_memory

MB = 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark")
def test_the_peak_is_that_of_the_run() -> None:
    bytearray(400 * MB)  # before the run, so it must not count
    memory = measure_peak_memory(lambda: bytearray(100 * MB))
    if memory.peak_mb is None or memory.before_mb is None:
        pytest.skip("this system does not let a process set its mark back")
    assert 90 < memory.peak_mb - memory.before_mb < 200
