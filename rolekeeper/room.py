"""Disks that have no room: however a library says so, it is the one error StorageFull."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from rolekeeper.errors import StorageFull

_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})
# torch and safetensors raise these, without a number. Words of any other error may be those of a user.
_WORDLY = frozenset({"RuntimeError", "SafetensorError"})
_WORDS = (
    *("No space left on device", "Disk quota exceeded"),
    *("PytorchStreamWriter failed writing file", "] . unexpected pos"),
)


def lacks_room(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, says that a disk is full."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, StorageFull) or _says_so(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    return type(error).__name__ in _WORDLY and any(words in str(error) for words in _WORDS)


@contextmanager
def room_in(place: str) -> Iterator[None]:
    """Raise StorageFull, which names the place, in place of an error of the block that says that a disk is full."""
    try:
        yield
    except StorageFull:
        raise
    except Exception as error:
        if lacks_room(error):
            raise StorageFull(f"{place} has no room; free some, or try again later") from error
        raise
