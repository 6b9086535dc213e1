"""Adapters: nothing but a whole adapter of ours for this very base model gets past."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save

from rolekeeper.artifacts.store import Store
from rolekeeper.errors import NotFound
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from services.evaluator.adapters import Adapter, Adapters, BadAdapter, check_fit, unpack_adapter
from tests.unit.services.evaluator.adapter_tars import PEFT_ASKS_BY_AN_OLD_NAME, make_config, make_tensors, pack, write

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

Files = dict[str, bytes]


def unpack(tar: bytes, folder: Path) -> Adapter:
    path = write(folder / "adapter.tar", tar)
    target = folder / "unpacked"
    target.mkdir()
    return unpack_adapter(path, hashlib.sha256(tar).hexdigest(), target)


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_an_adapter_is_unpacked_without_its_card(loaded: LoadedModel, adapter_files: Files, tmp_path: Path) -> None:
    adapter = unpack(pack(adapter_files), tmp_path)
    assert {path.name for path in adapter.folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert (adapter.folder / "adapter_model.safetensors").read_bytes() == adapter_files["adapter_model.safetensors"]
    assert (adapter.base_alias, adapter.base_digest) == ("tiny", loaded.digest)
    check_fit(adapter, loaded)


def test_peft_gets_only_the_config_that_we_know(adapter_files: Files, tmp_path: Path) -> None:
    config = make_config(megatron_config={"a": 1}, megatron_core="evil.module")
    adapter = unpack(pack({**adapter_files, "adapter_config.json": json.dumps(config).encode()}), tmp_path)
    assert "megatron" not in (adapter.folder / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "PREFIX_TUNING"},
        {"use_rslora": True},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"alpha_pattern": {"q_proj": 64}},
        {"bias": "all"},
        {"target_modules": "all-linear"},
        {"r": 0},
    ],
)
def test_a_config_that_means_something_else_is_refused(
    adapter_files: Files, tmp_path: Path, changes: dict[str, Any]
) -> None:
    files = {**adapter_files, "adapter_config.json": json.dumps(make_config(**changes)).encode()}
    with pytest.raises(BadAdapter, match=next(iter(changes))):
        unpack(pack(files), tmp_path)


@pytest.mark.parametrize(
    ("tar", "reason"),
    [
        (lambda files: pack({**files, "../evil.py": b"x"}), "must not"),
        (lambda files: pack({**files, "adapter_model.bin": b"x"}), "must not"),
        (lambda files: pack(files, member("README.md", tarfile.REGTYPE)), "not twice"),
        (lambda files: pack(without(files, "README.md"), member("README.md", tarfile.DIRTYPE)), "not a plain file"),
        (
            lambda files: pack(without(files, "README.md"), member("README.md", tarfile.SYMTYPE, "/etc/passwd")),
            "not a plain file",
        ),
        (lambda files: pack({**files, "README.md": b"x" * ((1 << 20) + 1)}), "1048577 bytes; 1 to 1048576"),
        (lambda files: pack({**files, "README.md": b""}), "0 bytes"),
        (lambda files: pack(without(files, "MANIFEST.json")), r"lacks MANIFEST\.json"),
        (lambda files: pack(without(files, "adapter_model.safetensors")), r"lacks adapter_model\.safetensors"),
        (lambda files: pack({**files, "MANIFEST.json": b"{}"}), "base_model"),
        (lambda files: pack({**files, "adapter_config.json": b"\xff"}), "not one that Rolekeeper made"),
        (lambda files: pack(files)[:-20_000], "not a whole tar"),
        (lambda files: gzip.compress(pack(files)), "not a whole tar"),
        (lambda _: b"", "not a whole tar"),
        (lambda _: b"\0" * 10_240, "lacks"),
    ],
)
def test_a_tar_that_is_not_an_adapter_is_refused(
    adapter_files: Files, tmp_path: Path, tar: Callable[[Files], bytes], reason: str
) -> None:
    with pytest.raises(BadAdapter, match=reason):
        unpack(tar(adapter_files), tmp_path)
    assert not (tmp_path / "evil.py").exists()


def without(files: Files, name: str) -> Files:
    return {other: content for other, content in files.items() if other != name}


def test_an_adapter_for_another_base_model_is_refused(catalog_path: Path, adapter_files: Files, tmp_path: Path) -> None:
    twin = load_base(load_catalog(catalog_path)["twin"])
    with pytest.raises(BadAdapter, match=r"made for base model 'tiny'.*but 'twin' here"):
        check_fit(unpack(pack(adapter_files), tmp_path), twin)


def test_weights_that_are_missing_are_named(loaded: LoadedModel, adapter_files: Files, tmp_path: Path) -> None:
    tensors = load(adapter_files["adapter_model.safetensors"])
    dropped = sorted(tensors)[0]
    del tensors[dropped]
    files = {**adapter_files, "adapter_model.safetensors": save(tensors)}
    with pytest.raises(BadAdapter, match=f"1 weights .* {dropped}: the adapter has none"):
        check_fit(unpack(pack(files), tmp_path), loaded)


def test_weights_of_another_shape_are_named(loaded: LoadedModel, adapter_files: Files, tmp_path: Path) -> None:
    files = {**adapter_files, "adapter_model.safetensors": save(make_tensors(loaded, rank=4))}
    with pytest.raises(BadAdapter, match=r"the adapter has \(4, .*the model needs \(8, "):
        check_fit(unpack(pack(files), tmp_path), loaded)


def test_weights_that_are_not_safetensors_are_refused(
    loaded: LoadedModel, adapter_files: Files, tmp_path: Path
) -> None:
    files = {**adapter_files, "adapter_model.safetensors": b"not weights at all"}
    with pytest.raises(BadAdapter, match="can't be read"):
        check_fit(unpack(pack(files), tmp_path), loaded)


def test_the_last_adapter_is_kept_and_the_one_before_removed(store: Store, adapter_files: Files) -> None:
    first, second = (store.put(pack({**adapter_files, "README.md": text})).sha256 for text in (b"1", b"2"))
    adapters = Adapters(store)
    adapter = adapters.get(first)
    assert adapters.get(first) is adapter
    other = adapters.get(second)
    assert not adapter.folder.exists()
    adapters.close()
    assert not other.folder.exists()


def test_bytes_that_changed_in_the_store_are_refused(store: Store, adapter_files: Files) -> None:
    sha256 = store.put(pack(adapter_files)).sha256
    store.path(sha256).write_bytes(pack({**adapter_files, "README.md": b"another"}))
    adapters = Adapters(store)
    with pytest.raises(BadAdapter, match="the artifact store is damaged"):
        adapters.get(sha256)
    adapters.close()


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "AB" * 32, ""])
def test_a_digest_that_is_none_is_refused(store: Store, sha256: str) -> None:
    with pytest.raises(BadAdapter, match="64 lower-case"):
        Adapters(store).get(sha256)


def test_an_absent_adapter_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        Adapters(store).get("0" * 64)
