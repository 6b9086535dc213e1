"""What routes ask for, as annotated aliases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from sqlalchemy.orm import Session

from gateway.auth import find_caller
from gateway.resources import Resources
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs.deletion import Deletion
from rolekeeper.jobs.keys import Caller

# FastAPI runs a plain function in a thread of its pool, and each hop there and back costs more than these do. They are
# coroutines, and do nothing that waits.


async def open_session(request: Request) -> Session:
    """A session for one transaction: it connects when it is first used, and its route ends it."""
    return find_resources(request).database.session()


def find_resources(request: Request) -> Resources:
    """The resources of this process."""
    resources: Resources = request.app.state.resources
    return resources


async def give_resources(request: Request) -> Resources:
    """The resources of this process, as a dependency."""
    return find_resources(request)


async def find_store(request: Request) -> Store:
    """The artifact store."""
    return find_resources(request).store


async def find_writer(caller: Annotated[Caller, Depends(find_caller)]) -> Caller:
    """Who calls, with a key that may do all with characters and jobs. Raises Forbidden."""
    caller.require(Scope.WRITE_JOBS)
    return caller


async def find_owner(caller: Annotated[Caller, Depends(find_writer)]) -> str:
    """The owner of such a key. Raises Forbidden."""
    return caller.owner


async def find_approver(caller: Annotated[Caller, Depends(find_caller)]) -> Caller:
    """Who calls, with a key that may decide on adapters. Raises Forbidden."""
    caller.require(Scope.APPROVE)
    return caller


async def find_reader(caller: Annotated[Caller, Depends(find_caller)]) -> str:
    """The owner, of a key that may read jobs and what they made. Raises Forbidden."""
    caller.require(Scope.WRITE_JOBS, Scope.APPROVE)
    return caller.owner


async def find_auditor(caller: Annotated[Caller, Depends(find_caller)]) -> str:
    """The owner, of a key that may read the audit log. Raises Forbidden."""
    caller.require(Scope.READ_AUDIT, Scope.APPROVE)
    return caller.owner


async def find_deletion(request: Request, caller: Annotated[Caller, Depends(find_writer)]) -> Deletion:
    """Who deletes, for the audit log."""
    return Deletion(caller, request.state.request_id)


SessionDep = Annotated[Session, Depends(open_session)]
StoreDep = Annotated[Store, Depends(find_store)]
ResourcesDep = Annotated[Resources, Depends(give_resources)]
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
