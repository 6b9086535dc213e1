"""The store publishes whole artifacts or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.errors import NotFound


def test_bytes_are_found_under_their_digest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.put(b"one\ntwo\n")
    assert artifact.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert artifact.bytes == 8
    assert store.path(artifact.sha256).read_bytes() == b"one\ntwo\n"
    assert list(store.lines(artifact.sha256)) == [b"one", b"two"]


def test_a_copied_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    artifact = Store(tmp_path / "store").put_file(source)
    assert artifact.sha256 == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_the_same_bytes_twice_are_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.put(b"same") == store.put(b"same")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="cut"), store.publish() as writer:
        writer.write(b"half")
        raise RuntimeError("cut")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_unknown_digest_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="sha256 00"):
        Store(tmp_path).path("00")
