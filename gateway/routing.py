"""Routes of the gateway: JSON bodies are read strictly, and a transaction ends with its endpoint, in its thread.

An answer is validated in the same pool of threads that endpoints run in. A transaction that stayed open until then held
a connection while it waited for a thread, and threads waited for connections: under load all of them, for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import authenticate
from gateway.dependencies import find_resources
from gateway.parsing import JsonRequest
from gateway.uploads import read_body, read_upload
from rolekeeper.jobs.db import finish


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
