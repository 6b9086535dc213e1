from __future__ import annotations

import pytest

from gateway.readings import LARGE_BYTES, Readings
from rolekeeper.errors import Unavailable

LARGE = LARGE_BYTES + 1


def test_one_owner_leaves_room_for_others() -> None:
    readings = Readings(max_of_owner=2, max_in_all=3)
    with readings.enter("a", LARGE), readings.enter("a", LARGE):
        with pytest.raises(Unavailable, match="2 of your large uploads are being read") as refusal:
            readings.enter("a", LARGE).__enter__()
        assert refusal.value.code == "overloaded"
        with readings.enter("b", LARGE), pytest.raises(Unavailable, match=r"^3 large uploads are being read"):
            readings.enter("c", LARGE).__enter__()


def test_a_place_is_free_again_whatever_became_of_the_upload() -> None:
    readings = Readings(max_of_owner=1, max_in_all=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="not JSON"), readings.enter("a", LARGE):
            raise ValueError("not JSON")
    with readings.enter("b", LARGE):
        pass


def test_small_ones_are_not_counted() -> None:
    readings = Readings(max_of_owner=1, max_in_all=1)
    with readings.enter("a", LARGE), readings.enter("a", LARGE_BYTES), readings.enter("a", 0):
        pass
