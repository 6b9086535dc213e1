"""Routes of the gateway: JSON bodies are read strictly, and a transaction ends with its endpoint, in its thread.

An answer is validated in the same pool of threads that endpoints run in. A transaction that stayed open until then held
a connection while it waited for a thread, and threads waited for connections: under load all of them, for ever.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import authenticate, bearer_key
from gateway.conditional import is_current, not_modified, version_headers
from gateway.dependencies import find_resources
from gateway.parsing import JsonRequest
from gateway.polls import Poll, Polls
from gateway.uploads import read_body, read_upload
from rolekeeper.jobs.db import finish

_SANE = re.compile("[A-Za-z0-9_-]{1,256}")
"""Written as keys and ids are. One parameter that Postgres refuses would cost all others of the moment their answer."""


class GatewayRoute(APIRoute):
    """A route that reads JSON as JsonRequest does; its `session` ends, committed, when the endpoint returns.

    FastAPI reads a body before it solves the dependencies: where there is one, the caller is known before that, so that
    strangers can't make us hold and parse it.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _finishing(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with a JSON body read by JsonRequest, and from inside the doorway.

        Nobody is inside while a body comes in, which is as slow as its sender.
        """
        handle = super().get_route_handler()
        takes_upload = any(dependency.call in (read_body, read_upload) for dependency in self.dependant.dependencies)

        async def read_and_handle(request: Request) -> Response:
            request, doorway = JsonRequest(request.scope, request.receive), find_resources(request).doorway
            if self.body_field is not None or takes_upload:
                async with doorway.enter():
                    await run_in_threadpool(authenticate, request)
            if takes_upload:
                return await handle(request)
            if self.body_field is not None:
                await request.body()
            async with doorway.enter():
                return await handle(request)

        return read_and_handle


class PolledRoute(GatewayRoute):
    """A route to one job. Polls of an unchanged one are answered together, before all else; the rest goes its way."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that looks at the ETag first."""
        handle = super().get_route_handler()

        async def look_and_handle(request: Request) -> Response:
            unchanged = await _answer_poll(find_resources(request).polls, request)
            return await handle(request) if unchanged is None else unchanged

        return look_and_handle


def _finishing(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    def run(**arguments: Any) -> Any:
        session = arguments.get("session")
        if not isinstance(session, Session):
            return endpoint(**arguments)
        with session:  # rolled back, here and not on the event loop, where the endpoint raises
            answer = endpoint(**arguments)
            finish(session)
        return answer

    return run


async def _answer_poll(polls: Polls, request: Request) -> Response | None:
    """Return a 304, if the job is as the caller knows it already."""
    key, job_id = bearer_key(request), str(request.path_params["job_id"])
    if "if-none-match" not in request.headers or key is None:
        return None
    if not (_SANE.fullmatch(key) and _SANE.fullmatch(job_id)):
        return None
    version = await polls.version(Poll(key, job_id))
    if version is None:
        return None
    headers = version_headers(version)
    return not_modified(headers) if is_current(request, headers["etag"]) else None
