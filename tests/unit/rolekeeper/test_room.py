"""A full disk, as the libraries that we write with say it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from rolekeeper.errors import StageFailed, StorageFull
from rolekeeper.room import lacks_room, room_in

FULL = "/dev/full"


def write_with_python() -> None:
    with Path(FULL).open("wb") as file:
        file.write(b"a")


def write_with_torch() -> None:
    torch.save({"weights": torch.zeros(1 << 18)}, FULL)


def write_with_safetensors() -> None:
    # Its words on a full file system; it can't write to a device.
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def write_over_quota() -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def wrap() -> None:
    try:
        write_with_python()
    except OSError as error:
        raise ValueError("can't be kept") from error


WRITERS = [write_with_python, write_with_torch, write_with_safetensors, write_over_quota, wrap]


@pytest.mark.parametrize("write", WRITERS)
def test_every_library_says_the_same_here(write: Callable[[], None]) -> None:
    with (
        pytest.raises(StorageFull, match=r"^the shelf has no room; free some, or try again later$"),
        room_in("the shelf"),
    ):
        write()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "no"),
        ValueError("input_value='No space left on device'"),
        StageFailed("the scorer refused: No space left on device"),
        RuntimeError("unexpected"),
        KeyError(28),
    ],
)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, room_in("the shelf"):
        raise error
    assert caught.value is error


def test_the_place_is_the_first_that_was_full() -> None:
    with pytest.raises(StorageFull, match=r"^the inner shelf"), room_in("the shelf"), room_in("the inner shelf"):
        write_with_python()


def test_a_ring_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert not lacks_room(first)
    assert not lacks_room(None)
