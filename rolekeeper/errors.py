"""Everything that Rolekeeper raises on purpose.

RolekeeperError
├── InvalidInput            the caller sent something that can't be used; `problems` says which item and why
│   └── UnknownBaseModel    the base model is not on the allow-list
├── NotFound                no such resource for this caller
├── Conflict                the resource's state does not allow this
│   └── AdapterWithheld     the release gate or an approver holds the adapter back; `problems` says why
├── Unauthorized            no key, or a key that is not known
├── Forbidden               the key lacks the scope for this
├── QuotaExceeded           the owner has as much as may be; try again when some of it has ended
├── TooLarge                the body is over its limit
├── TooSlow                 the body comes in too slowly
├── Unavailable             a part that this needs does not answer now; try again later
├── ClientGone              the client closed its connection; stop, nobody reads the answer
├── ClaimLost               another worker holds the stage now; stop and write nothing
├── JobCancelled            the job was cancelled; stop and write nothing
├── StageYielded            the stage makes room and goes on later; keep what is done and stop
│   ├── JobPaused           the job's owner paused it
│   ├── WorkerDraining      the worker shuts down
│   ├── JudgeAway           a judge does not answer
│   └── StorageFull         a disk has no room
└── StageFailed             the stage can't succeed, and trying again would not help
    └── StageInterrupted    the stage may succeed when it is tried again

The message says what is wrong, where, and what to do. HTTP statuses are given in `rolekeeper.web.errors` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from rolekeeper.contracts.problems import ErrorItem


class RolekeeperError(Exception):
    """Base of all errors that are meant to reach a person. `code` is stable and machine-readable."""

    code = "internal_error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[type[RolekeeperError], tuple[object, ...]]:
        return (type(self), (self.message, self.code))


class InvalidInput(RolekeeperError):
    """The caller sent something that can't be used. `problems` points at every item that is wrong."""

    code = "invalid_input"

    def __init__(self, message: str, code: str | None = None, problems: Sequence[ErrorItem] = ()) -> None:
        super().__init__(message, code)
        self.problems = tuple(problems)


class UnknownBaseModel(InvalidInput):
    """The base model is not on this deployment's allow-list."""

    code = "unknown_base_model"


class NotFound(RolekeeperError):
    """No such resource for this caller. A resource of another owner is not found either."""

    code = "not_found"


class Conflict(RolekeeperError):
    """The state of the resource does not allow what was asked."""

    code = "conflict"


class AdapterWithheld(Conflict):
    """The adapter is not given out. `problems` points at what in the safety report speaks against it."""

    code = "adapter_withheld"

    def __init__(self, message: str, code: str | None = None, problems: Sequence[ErrorItem] = ()) -> None:
        super().__init__(message, code)
        self.problems = tuple(problems)


class Forbidden(RolekeeperError):
    """The key is known, but lacks the scope for this."""

    code = "missing_scope"


class Unauthorized(RolekeeperError):
    """No key was sent, or the key is not known."""

    code = "unauthorized"


class QuotaExceeded(RolekeeperError):
    """The owner has as much as its quota allows. The same call succeeds when some of it has ended."""

    code = "quota_exceeded"


class TooLarge(RolekeeperError):
    """The body is larger than its limit."""

    code = "too_large"


class TooSlow(RolekeeperError):
    """The body comes in more slowly than a working connection is."""

    code = "too_slow"


class Unavailable(RolekeeperError):
    """A part that is needed does not answer now. The same call may succeed later."""

    code = "unavailable"


class ClientGone(RolekeeperError):
    """The client closed its connection before it was answered: stop."""

    code = "client_gone"


class ClaimLost(RolekeeperError):
    """Another worker holds the stage now: stop, and write nothing."""

    code = "claim_lost"


class JobCancelled(RolekeeperError):
    """The job was cancelled: stop, and write nothing."""

    code = "cancelled"


class StageYielded(RolekeeperError):
    """The stage makes room and goes on later: keep what is done, and stop. It costs no attempt.

    It is taken up again after `pause` at the earliest.
    """

    code = "yielded"
    pause = timedelta(0)


class JobPaused(StageYielded):
    """The job's owner paused it."""

    code = "paused"


class WorkerDraining(StageYielded):
    """The worker shuts down, and another one is to go on."""

    code = "drained"


class JudgeAway(StageYielded):
    """A judge does not answer. However long that lasts, the stage waits for it in the queue."""

    code = "judge_unavailable"


class StorageFull(StageYielded):
    """A disk has no room. What is done is kept, and the stage waits until there is some."""

    code = "storage_full"
    pause = timedelta(seconds=30)


class StageFailed(RolekeeperError):
    """The stage can't succeed, and trying again would not help."""

    code = "stage_failed"


class StageInterrupted(StageFailed):
    """The stage was interrupted from outside and may succeed when it is tried again."""

    code = "stage_interrupted"
