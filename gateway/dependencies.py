"""What routes ask for, as annotated aliases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from sqlalchemy.orm import Session

from gateway.auth import find_caller
from gateway.resources import Resources
from rolekeeper.artifacts.store import Store


def open_transaction(request: Request) -> Iterator[Session]:
    """One transaction per request."""
    resources: Resources = request.app.state.resources
    with resources.database.transaction() as session:
        yield session


def find_resources(request: Request) -> Resources:
    """The resources of this process."""
    resources: Resources = request.app.state.resources
    return resources


def find_store(request: Request) -> Store:
    """The artifact store."""
    return find_resources(request).store


# "function" ends the transaction before the answer leaves: who reads a 2xx can rely on the commit.
SessionDep = Annotated[Session, Depends(open_transaction, scope="function")]
StoreDep = Annotated[Store, Depends(find_store)]
ResourcesDep = Annotated[Resources, Depends(find_resources)]
CallerDep = Annotated[str, Depends(find_caller)]

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
IdPath = Annotated[str, Path(pattern=ID_PATTERN)]
AfterQuery = Annotated[str | None, Query(pattern=ID_PATTERN, description="Id of the last item of the page before")]
LimitQuery = Annotated[int, Query(ge=1, le=100, description="Items per page")]
