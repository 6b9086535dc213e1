"""What can go wrong with the stack itself."""

from __future__ import annotations

from rolekeeper.errors import RolekeeperError


class StackFailed(RolekeeperError):
    """A part of the stack did not start, or does not stay up."""

    code = "stack_failed"
