"""The store publishes whole artifacts or nothing."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.errors import NotFound, StorageFull


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "flush"])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Python writes when its buffer is full, or when it is told to; then it tries again when the file is closed."""

    class FullFile(io.BufferedWriter):
        pass

    def fail(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    setattr(FullFile, call, fail)
    monkeypatch.setattr("os.fdopen", lambda descriptor, _mode: FullFile(io.FileIO(descriptor, "wb")))
    store = Store(tmp_path)
    with pytest.raises(StorageFull, match="no room") as caught:
        store.put(b"some bytes")
    assert caught.value.code == "storage_full"
    with pytest.raises(OSError, match=os.strerror(number)):
        store.check()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"kept")
    left = tmp_path / "incoming" / "tmpabc"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    with store.publish() as writer:
        writer.write(b"new")
        assert store.sweep(60) == 1
    assert not left.exists()
    assert store.path(writer.artifact.sha256).read_bytes() == b"new"
    assert Store(tmp_path / "none").sweep(0) == 0


def test_a_store_that_works_is_left_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path).check()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("digest", ["../../secret", "..", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "/etc/passwd"])
def test_what_is_no_digest_leads_nowhere(tmp_path: Path, digest: str) -> None:
    (tmp_path / "secret").write_text("a key", "utf-8")
    store = Store(tmp_path / "store")
    store.put(b"some bytes")
    with pytest.raises(NotFound, match="has no bytes with sha256"):
        store.path(digest)


def test_unknown_digest_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="sha256 00"):
        Store(tmp_path).path("00")


def test_erasing_keeps_what_was_put_lately(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.put(b"a dialogue")
    assert not store.erase(artifact.sha256, 60)
    assert store.path(artifact.sha256).read_bytes() == b"a dialogue"
    os.utime(store.path(artifact.sha256), (0, 0))
    assert store.erase(artifact.sha256, 60)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.erase(artifact.sha256, 60)  # another sweeper was here before


def test_what_is_put_while_it_is_erased_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at its age and the move, somebody puts the same bytes."""
    store = Store(tmp_path)
    artifact = store.put(b"a dialogue")
    os.utime(store.path(artifact.sha256), (0, 0))
    replace = Path.replace

    def put_first(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        store.put(b"a dialogue")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", put_first)
    assert not store.erase(artifact.sha256, 60)
    assert store.path(artifact.sha256).read_bytes() == b"a dialogue"
    assert not list((tmp_path / "incoming").iterdir())
