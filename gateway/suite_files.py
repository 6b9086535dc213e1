"""The suites that a job names: public ones must be known, and files must be the caller's own uploaded suites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy.orm import Session

from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.suites import SuiteChoice, suite_file_key
from rolekeeper.errors import InvalidInput, NotFound
from rolekeeper.jobs import service
from rolekeeper.suites.catalog import SuiteEntry, UnknownSuite, check_known

SUITE_PURPOSE = "suite"


class Shelf(NamedTuple):
    """Where an owner's suites are looked up: the public ones, and the files of the owner."""

    entries: Mapping[str, SuiteEntry]
    session: Session
    owner: str


def find_suite_files(shelf: Shelf, choices: Iterable[SuiteChoice], under: str = "/evaluation") -> dict[str, str]:
    """Return the digests of the uploaded suites that are chosen, by their keys. Raises InvalidInput, UnknownSuite.

    `under` is the JSON pointer to what holds the choices in the body.
    """
    files = {}
    for index, choice in enumerate(choices):
        pointer = f"{under}/suites/{index}"
        if choice.file is not None:
            files[suite_file_key(choice.file)] = _find(shelf, choice.file, f"{pointer}/file")
            continue
        try:
            check_known(shelf.entries, choice.name)
        except UnknownSuite as error:
            item = ErrorItem(pointer=f"{pointer}/name", detail=error.message)
            raise UnknownSuite(f"{item.pointer}: {item.detail}", problems=[item]) from error
    return files


def _find(shelf: Shelf, file_id: str, pointer: str) -> str:
    try:
        file = service.get_file(shelf.session, shelf.owner, file_id)
    except NotFound as error:
        detail = f"there is no file {file_id!r}; upload the suite with purpose {SUITE_PURPOSE!r} and give its id"
        raise _invalid(pointer, detail) from error
    if file.purpose != SUITE_PURPOSE:
        detail = f"file {file_id!r} has purpose {file.purpose!r}; upload it again with purpose {SUITE_PURPOSE!r}"
        raise _invalid(pointer, detail)
    return file.sha256


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{pointer}: {detail}", problems=[ErrorItem(pointer=pointer, detail=detail)])
