"""/v1/characters."""

from __future__ import annotations

from fastapi import APIRouter, Response

from gateway.dependencies import (
    AfterQuery,
    DeletionDep,
    IdPath,
    LimitQuery,
    OwnerDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
)
from gateway.documents import BODY_ERRORS, CHARACTER_BODY, DOWNLOAD_ERRORS
from gateway.routing import GatewayRoute
from gateway.uploads import BodyDep, keep_character
from rolekeeper.contracts.characters import Character
from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.problems import Page
from rolekeeper.jobs import deletion, service
from rolekeeper.web.errors import problem_responses

router = APIRouter(
    prefix="/v1/characters",
    tags=["characters"],
    responses=problem_responses(*DOWNLOAD_ERRORS),
    route_class=GatewayRoute,
)


@router.post(
    "",
    status_code=201,
    operation_id="create_character",
    summary="Submit a character",
    responses=problem_responses(*BODY_ERRORS, 507),
    openapi_extra=CHARACTER_BODY,
)
def create_character(
    session: SessionDep, resources: ResourcesDep, owner: OwnerDep, body: BodyDep, response: Response
) -> Character:
    """Send a role profile and its dialogues, or the id of an uploaded file of dialogues.

    System messages before the first turn are left out, since the profile takes their place; `notes` says how many.
    """
    new = keep_character(session, resources, owner, body)
    character = service.create_character(session, owner, new)
    response.headers["location"] = f"/v1/characters/{character.id}"
    return character


@router.get("", operation_id="list_characters", summary="List characters, newest first")
def list_characters(
    session: SessionDep, owner: ReaderDep, after: AfterQuery = None, limit: LimitQuery = 20
) -> Page[Character]:
    """One page of the characters of this key's owner."""
    return service.list_characters(session, owner, after, limit)


@router.get("/{character_id}", operation_id="get_character", summary="Get a character")
def get_character(session: SessionDep, owner: ReaderDep, character_id: IdPath) -> Character:
    """One character, without its dialogues."""
    return service.get_character(session, owner, character_id)


@router.delete(
    "/{character_id}", operation_id="delete_character", summary="Delete a character", responses=problem_responses(409)
)
def delete_character(session: SessionDep, by: DeletionDep, character_id: IdPath) -> Deleted:
    """Delete a character and its dialogues, once its jobs are deleted."""
    return deletion.delete_character(session, by, character_id)
