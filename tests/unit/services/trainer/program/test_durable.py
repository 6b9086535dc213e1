from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from services.trainer.program import durable
from services.trainer.program.durable import (
    publish_file,
    publish_folder,
    remove,
    scratch_folder,
    sha256_of,
    take_folder,
    write_json,
)
from services.trainer.program.failures import FolderTaken


def test_taking_a_folder_makes_it_and_clears_what_was_left_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with take_folder(folder):
        (folder / "tmp-1").mkdir()
        (folder / "tmp-1" / "half").touch()
        (folder / "tmp-2").touch()
        (folder / "ckpt-1").mkdir()
    with take_folder(folder):
        assert [path.name for path in folder.iterdir()] == ["ckpt-1"]


def hold(folder: Path, held: Event) -> None:
    with take_folder(folder):
        held.set()
        multiprocessing.Event().wait()


def test_a_folder_is_held_by_one_process_until_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_TAKE_SECONDS", 0.3)
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path, held))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(FolderTaken, match="another training run works in this folder"), take_folder(tmp_path):
            pass
    finally:
        other.kill()
        other.join()
    with take_folder(tmp_path):
        pass


def test_scratch_goes_unless_it_was_published(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as dropped:
        (dropped / "file").touch()
    with scratch_folder(tmp_path) as kept:
        (kept / "file").write_text("x")
        publish_folder(kept, tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "x"


def test_a_published_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("old")
    (tmp_path / "tmp-x").write_text("new")
    publish_file(tmp_path / "tmp-x", tmp_path / "result")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert (tmp_path / "result").read_text() == "new"


def test_remove_is_content_with_nothing(tmp_path: Path) -> None:
    remove(tmp_path / "nothing")


def test_json_is_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "é"})
    write_json(tmp_path / "b", {"a": "é", "b": 1})
    assert (tmp_path / "a").read_text("utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")


def test_json_holds_no_number_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a", {"loss": float("nan")})
