"""What the API answered when it refused a call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import httpx
from pydantic import ValidationError

from rolekeeper.contracts.problems import ErrorItem, Problem
from rolekeeper.errors import InvalidInput, RolekeeperError, Unavailable

MAX_RETRY_AFTER_SECONDS = 60.0
MAX_BODY_CHARS = 300
TRANSIENT = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ApiError(RolekeeperError):
    """The API refused a call. `problems` says which item is wrong; quote `request_id` when you report it."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        request_id: str | None = None,
        problems: Sequence[ErrorItem] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code)
        self.status = status
        self.request_id = request_id
        self.problems = tuple(problems)
        self.retry_after = retry_after

    def __str__(self) -> str:
        lines = [f"{self.message} (HTTP {self.status}, {self.code})"]
        lines += [_problem_line(problem) for problem in self.problems]
        if self.request_id:
            lines.append(f"request id: {self.request_id}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[ApiError], tuple[object, ...]]:
        return (type(self), (self.status, self.message, self.code, self.request_id, self.problems, self.retry_after))


def is_transient(error: RolekeeperError) -> bool:
    """Whether the same call may succeed in a while."""
    return isinstance(error, Unavailable) or (isinstance(error, ApiError) and error.status in TRANSIENT)


@contextlib.contextmanager
def network_errors(base_url: str) -> Iterator[None]:
    """Turn the errors of the network into ours.

    Raises:
        InvalidInput: the URL or the key can't be sent at all.
        Unavailable: there was no answer, or it broke off.
    """
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise InvalidInput(f"can't call {base_url!r}: {error}; check the URL and the key") from error
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"{base_url} does not answer ({reason}); check the URL, and that the gateway runs") from error


def raise_for_answer(response: httpx.Response) -> None:
    """Raise what the answer says went wrong. Its body has been read.

    Raises:
        ApiError: the status is neither a success nor "not modified".
    """
    if response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED:
        return
    request_id = response.headers.get("x-request-id")
    retry_after = _retry_after(response)
    try:
        problem = Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        message = response.text.strip()[:MAX_BODY_CHARS] or response.reason_phrase
        raise ApiError(response.status_code, message, None, request_id, (), retry_after) from None
    raise ApiError(
        response.status_code,
        problem.detail,
        problem.error.code,
        problem.request_id or request_id,
        problem.errors,
        retry_after,
    )


def _problem_line(problem: ErrorItem) -> str:
    line = "" if problem.line is None else f" (line {problem.line})"
    return f"  {problem.pointer}{line}: {problem.detail}"


def _retry_after(response: httpx.Response) -> float | None:
    # The header may also hold a date; then the back-off alone decides.
    value = response.headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isdecimal() else None
