"""The one table from errors to HTTP statuses, and the one body that every error has.

The body is RFC 9457 problem details with OpenAI's `error` object beside them, so both kinds of client can read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper.contracts.problems import ErrorItem, OpenAiError, Problem
from rolekeeper.errors import (
    AdapterWithheld,
    ClientGone,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RolekeeperError,
    StorageFull,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unavailable,
)
from rolekeeper.room import lacks_room
from rolekeeper.web.openapi import find_methods
from rolekeeper.web.validation import request_items

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True)
class Answer:
    """How an error class is answered. `detail` and `code` replace the error's own words, which may be internal."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str | None = None
    code: str | None = None


UNAVAILABLE = Answer(
    503,
    {"retry-after": "2"},
    detail="a part of the service does not answer now; send the same request again in a few seconds",
    code=Unavailable.code,
)
INTERNAL = Answer(500, detail="something went wrong on our side; quote the request id when you report it")

ANSWERS: Mapping[type[Exception], Answer] = {
    InvalidInput: Answer(422),
    NotFound: Answer(404),
    # Stock OpenAI clients retry a 409 by themselves, which can't change the state of a resource.
    Conflict: Answer(409, {"x-should-retry": "false"}),
    Unauthorized: Answer(401, {"www-authenticate": "Bearer"}),
    Forbidden: Answer(403),
    QuotaExceeded: Answer(429, {"retry-after": "60"}),
    TooLarge: Answer(413),
    TooSlow: Answer(408, {"connection": "close"}),
    Unavailable: Answer(503, {"retry-after": "2"}),
    StorageFull: Answer(507, {"retry-after": "60"}),
    # Nobody reads it: it is for the log and the metrics, under the number that nginx gave it.
    ClientGone: Answer(CLIENT_CLOSED_REQUEST),
    # The rest of the tree belongs to the workers; one that gets here is our mistake, not the caller's.
    RolekeeperError: INTERNAL,
}


def problem_response(
    request_id: str | None, answer: Answer, detail: str, code: str, errors: Sequence[ErrorItem] = ()
) -> Response:
    """Return the error body."""
    problem = Problem(
        title=_phrase(answer.status),
        status=answer.status,
        detail=answer.detail or detail,
        request_id=request_id,
        errors=tuple(errors),
        error=OpenAiError(
            message=answer.detail or detail,
            type="server_error" if answer.status >= 500 else "invalid_request_error",
            param=_param(errors[0].pointer) if errors else None,
            code=answer.code or code,
        ),
    )
    return Response(problem.model_dump_json(), answer.status, dict(answer.headers), MEDIA_TYPE)


def error_response(request_id: str | None, error: Exception, answers: Mapping[type[Exception], Answer]) -> Response:
    """Return the answer to an error of the table."""
    answer = next(answers[kind] for kind in type(error).__mro__ if kind in answers)
    errors = error.problems if isinstance(error, InvalidInput | AdapterWithheld) else ()
    return problem_response(request_id, answer, str(error), getattr(error, "code", "internal_error"), errors)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can answer with these statuses, for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install_error_handlers(app: FastAPI, answers: Mapping[type[Exception], Answer]) -> None:
    """Render every error of the table, and FastAPI's own ones, as a problem."""

    async def answer_known(request: Request, error: Exception) -> Response:
        response = error_response(_request_id(request), error, answers)
        _log_failure(response.status_code, error)
        return response

    methods_of = find_methods(app)

    async def answer_http(request: Request, error: Exception) -> Response:
        cause = error.__cause__
        if isinstance(cause, Exception) and isinstance(cause, tuple(answers)):
            return await answer_known(request, cause)
        response = _http_error(request, error)
        if response.status_code == 405 and (methods := methods_of(request.url.path)):
            response.headers["allow"] = ", ".join(sorted(methods))
        return response

    for kind in answers:
        app.add_exception_handler(kind, answer_known)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


class CatchUnexpected:
    """ASGI middleware, the edge of the process: what nobody foresaw is logged whole and answered with an id only."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            structlog.get_logger().error("unexpected_error", error=type(error).__name__, exc_info=error)
            if started:  # the server must cut the connection, or the client would take the stump for the whole
                raise
            response = _unexpected(_request_id(Request(scope)), error)
            await response(scope, receive, send)


def _unexpected(request_id: str | None, error: Exception) -> Response:
    if lacks_room(error):
        return error_response(request_id, StorageFull("a disk has no room; try again later"), ANSWERS)
    return problem_response(request_id, INTERNAL, "", "internal_error")


def decode_position(document: bytes, error: UnicodeDecodeError) -> str:
    """Say where a document is not UTF-8."""
    line = document.count(b"\n", 0, error.start) + 1
    return f"byte {error.start} (line {line}) is not valid UTF-8 (0x{document[error.start]:02x}); send UTF-8"


def json_position(error: JSONDecodeError) -> str:
    """Say where a document stops being JSON. The byte counts from 0, line and column from 1."""
    byte = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
    return f"not valid JSON at byte {byte} (line {error.lineno}, column {error.colno}): {error.msg}"


def _log_failure(status: int, error: Exception) -> None:
    log = structlog.get_logger()
    if status == 503:  # something else is down, and its own log says more; the first line holds no caller's data
        log.warning("unavailable", error=type(error).__name__, reason=str(error).partition("\n")[0])
    elif status >= 500:
        log.error("request_failed", error=type(error).__name__, exc_info=error)


def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    answer = Answer(status, getattr(error, "headers", None) or {})
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        detail = f"the body can't be read: {decode_position(cause.object, cause)}"
        return problem_response(_request_id(request), Answer(422), detail, "invalid_encoding")
    if isinstance(cause, RecursionError):
        return problem_response(_request_id(request), Answer(422), "the JSON is nested too deeply", "invalid_json")
    phrase = HTTPStatus(status).phrase
    details = {
        404: f"there is nothing at {request.url.path}; /docs lists the routes",
        405: f"{request.method} is not possible at {request.url.path}",
    }
    given = str(getattr(error, "detail", phrase))
    detail = details.get(status, given) if given == phrase else given
    return problem_response(_request_id(request), answer, detail, phrase.lower().replace(" ", "_"))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's validation error, also raised for malformed JSON."""
    cause = error.__cause__
    if isinstance(cause, JSONDecodeError):
        detail = f"the body is {json_position(cause)}"
        return problem_response(_request_id(request), Answer(422), detail, "invalid_json")
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    items = request_items(errors)
    first = f"{items[0].pointer or 'the body'} {items[0].detail}" if items else "the request is not valid"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return problem_response(_request_id(request), Answer(422), first + more, InvalidInput.code, items)


def _phrase(status: int) -> str:
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase


def _param(path: str) -> str | None:
    """`/dialogues/3/messages/1` as OpenAI's clients know it: `dialogues[3].messages[1]`."""
    return re.sub(r"/(\d+)(?=/|$)", r"[\1]", path).replace("/", ".").lstrip(".") or None


def _request_id(request: Request) -> str | None:
    request_id = request.scope.get("state", {}).get("request_id")
    return None if request_id is None else str(request_id)
