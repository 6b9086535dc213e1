"""What routes ask for, as annotated aliases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from sqlalchemy.orm import Session

from gateway.auth import find_caller
from gateway.resources import Resources
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs.deletion import Deletion
from rolekeeper.jobs.keys import Caller


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


def find_writer(caller: Annotated[Caller, Depends(find_caller)]) -> Caller:
    """Who calls, with a key that may do all with characters and jobs. Raises Forbidden."""
    caller.require(Scope.WRITE_JOBS)
    return caller


def find_owner(caller: Annotated[Caller, Depends(find_writer)]) -> str:
    """The owner of such a key. Raises Forbidden."""
    return caller.owner


def find_approver(caller: Annotated[Caller, Depends(find_caller)]) -> Caller:
    """Who calls, with a key that may decide on adapters. Raises Forbidden."""
    caller.require(Scope.APPROVE)
    return caller


def find_reader(caller: Annotated[Caller, Depends(find_caller)]) -> str:
    """The owner, of a key that may read jobs and what they made. Raises Forbidden."""
    caller.require(Scope.WRITE_JOBS, Scope.APPROVE)
    return caller.owner


def find_auditor(caller: Annotated[Caller, Depends(find_caller)]) -> str:
    """The owner, of a key that may read the audit log. Raises Forbidden."""
    caller.require(Scope.READ_AUDIT, Scope.APPROVE)
    return caller.owner


def find_deletion(request: Request, caller: Annotated[Caller, Depends(find_writer)]) -> Deletion:
    """Who deletes, for the audit log."""
    return Deletion(caller, request.state.request_id)


# Routes end it with their endpoint (routing.py); "function" ends it before the answer leaves where one failed.
SessionDep = Annotated[Session, Depends(open_transaction, scope="function")]
StoreDep = Annotated[Store, Depends(find_store)]
ResourcesDep = Annotated[Resources, Depends(find_resources)]
WriterDep = Annotated[Caller, Depends(find_writer)]
ApproverDep = Annotated[Caller, Depends(find_approver)]
DeletionDep = Annotated[Deletion, Depends(find_deletion)]
OwnerDep = Annotated[str, Depends(find_owner)]
ReaderDep = Annotated[str, Depends(find_reader)]
AuditorDep = Annotated[str, Depends(find_auditor)]

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
IdPath = Annotated[str, Path(pattern=ID_PATTERN)]
AfterQuery = Annotated[str | None, Query(pattern=ID_PATTERN, description="Id of the last item of the page before")]
LimitQuery = Annotated[int, Query(ge=1, le=100, description="Items per page")]
