"""Bearer key to caller."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from gateway.resources import Resources
from rolekeeper.errors import Unauthorized
from rolekeeper.jobs import keys
from rolekeeper.jobs.keys import Caller

Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(scheme_name="API key", description="A key such as rk_...", auto_error=False)),
]


CALLER = "rolekeeper.caller"


def authenticate(request: Request) -> None:
    """Find out who sends a request before its body is read. Raises Unauthorized."""
    key = bearer_key(request)
    credentials = None if key is None else HTTPAuthorizationCredentials(scheme="Bearer", credentials=key)
    request.scope[CALLER] = find_caller(request, credentials)


def bearer_key(request: Request) -> str | None:
    """The key that a request carries, if it does."""
    scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
    return key if scheme.lower() == "bearer" and key else None


def find_caller(request: Request, credentials: Credentials) -> Caller:
    """Return who sent the bearer key. Raises Unauthorized.

    It uses a session of its own, so that no connection is held while a body is uploaded.
    """
    if CALLER in request.scope:
        known: Caller = request.scope[CALLER]
        return known
    if credentials is None:
        raise Unauthorized("send your API key as `Authorization: Bearer rk_...`")
    resources: Resources = request.app.state.resources
    with resources.database.look() as session:
        return keys.find_caller(session, credentials.credentials)
