"""The token with which our own processes call each other."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rolekeeper.errors import Unauthorized

Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(scheme_name="service token", description="ROLEKEEPER_SERVICE_TOKEN", auto_error=False)),
]


def require_service_token(token: str) -> Callable[[Credentials], None]:
    """Return a dependency that lets in only who sends `Authorization: Bearer <token>`.

    Raises:
        ValueError: `token` is empty, which would let everyone in.
    """
    if not token:
        raise ValueError("the service token is empty; set ROLEKEEPER_SERVICE_TOKEN")
    expected = token.encode()

    def check(credentials: Credentials) -> None:
        given = credentials.credentials.encode() if credentials else b""
        if not hmac.compare_digest(given, expected):
            raise Unauthorized("this route needs the service token: Authorization: Bearer <ROLEKEEPER_SERVICE_TOKEN>")

    return check
