"""The end of whoever started this process is its own end."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that it never keeps an accelerator for nobody.

    A parent that is gone before is not noticed here; then the pipes to it are closed, which ends the program too.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
