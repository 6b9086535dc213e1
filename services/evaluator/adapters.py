"""What training made, an adapter or a whole model: verified, unpacked and held against the base model first."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from rolekeeper.artifacts.store import Store
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.load import LOAD_SECONDS, LoadedModel
from rolekeeper.lm.whole import own_weights
from rolekeeper.pulse import steady
from services.evaluator.scratch import Scratch

_CONFIG, _WEIGHTS, _MANIFEST = "adapter_config.json", "adapter_model.safetensors", "MANIFEST.json"
_MAX_TEXT = 1 << 20
_MAX_BYTES: Mapping[str, int] = {_CONFIG: _MAX_TEXT, _WEIGHTS: 4 << 30, _MANIFEST: _MAX_TEXT, "README.md": _MAX_TEXT}
_CHUNK_BYTES = 1 << 20
_MODEL_WEIGHTS = "model.safetensors"
_MAX_TOKENIZER = 256 << 20
_MODEL_MAX_BYTES: Mapping[str, int] = {
    _MODEL_WEIGHTS: 1 << 40,
    "config.json": _MAX_TEXT,
    "generation_config.json": _MAX_TEXT,
    "README.md": _MAX_TEXT,
    _MANIFEST: _MAX_TEXT,
    "tokenizer.json": _MAX_TOKENIZER,
    "tokenizer_config.json": _MAX_TOKENIZER,
    "tokenizer.model": _MAX_TOKENIZER,
    "chat_template.jinja": _MAX_TEXT,
    "special_tokens_map.json": _MAX_TEXT,
    "added_tokens.json": _MAX_TOKENIZER,
    "vocab.json": _MAX_TOKENIZER,
    "merges.txt": _MAX_TOKENIZER,
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadAdapter(InvalidInput):
    """An adapter tar can't be used, or not with this base model."""

    code = "bad_adapter"


class AdapterConfig(BaseModel):
    """The part of adapter_config.json that Rolekeeper's adapters use. PEFT gets this and nothing else of the file."""

    model_config = ConfigDict(frozen=True)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"]
    base_model_name_or_path: str
    r: int = Field(ge=1, le=512)
    lora_alpha: int = Field(ge=1)
    target_modules: tuple[str, ...] = Field(min_length=1)
    bias: Literal["none"] = "none"
    use_rslora: Literal[False] = False
    use_dora: Literal[False] = False
    modules_to_save: None = None
    rank_pattern: dict[str, int] = Field(default={}, max_length=0)
    alpha_pattern: dict[str, int] = Field(default={}, max_length=0)


class _ManifestBase(BaseModel):
    alias: str
    digest: str


class _Manifest(BaseModel):
    base_model: _ManifestBase


@dataclass(frozen=True)
class Adapter:
    """An unpacked adapter: its folder, its config, and the base model that it was made for.

    Without a config it is a whole model: the base model's architecture with weights of its own, of which only they are
    unpacked; everything else is the base model's.
    """

    folder: Path
    config: AdapterConfig | None
    base_alias: str
    base_digest: str

    @property
    def weights(self) -> Path:
        """The file with the weights."""
        return self.folder / (_MODEL_WEIGHTS if self.config is None else _WEIGHTS)


class Adapters:
    """Unpacks adapters of the artifact store under `folder`, and keeps the last one. Not thread-safe."""

    def __init__(self, store: Store, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder or Path(tempfile.gettempdir())
        self._scratch: Scratch | None = None
        self._last: tuple[str, Adapter] | None = None

    def get(self, sha256: str) -> Adapter:
        """Return the adapter of a tar. Raises NotFound, and BadAdapter for anything but an adapter of ours."""
        if self._last is not None and self._last[0] == sha256:
            return self._last[1]
        if not _SHA256.fullmatch(sha256):
            raise BadAdapter("adapter_sha256 must be 64 lower-case hexadecimal digits")
        path = self._store.path(sha256)
        self.close()
        self._scratch = Scratch(self._folder)
        with steady(LOAD_SECONDS):  # a whole model is as large as the base model
            adapter = unpack_adapter(path, sha256, self._scratch.folder)
        self._last = (sha256, adapter)
        return adapter

    def close(self) -> None:
        """Remove what was unpacked."""
        self._last = None
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None


def unpack_adapter(path: Path, sha256: str, folder: Path) -> Adapter:
    """Unpack a tar whose bytes have this digest, and which holds the files of an adapter or a model, and nothing else.

    Raises BadAdapter.
    """
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise BadAdapter(f"the bytes kept as {sha256} have another sha256: the artifact store is damaged")
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = _check_members(tar)
                is_model = _MODEL_WEIGHTS in members
                config = None if is_model else AdapterConfig.model_validate_json(_read(tar, members[_CONFIG]))
                manifest = _Manifest.model_validate_json(_read(tar, members[_MANIFEST]))
                adapter = Adapter(folder, config, manifest.base_model.alias, manifest.base_model.digest)
                _copy(tar, members[adapter.weights.name], adapter.weights)
        except tarfile.TarError as error:
            raise BadAdapter(f"adapter {sha256} is not a whole tar: {error}") from error
        except ValidationError as error:
            raise BadAdapter(f"adapter {sha256} is not one that Rolekeeper made: {error}") from error
    if config is not None:
        (folder / _CONFIG).write_text(config.model_dump_json(), encoding="utf-8")
    return adapter


def check_fit(adapter: Adapter, loaded: LoadedModel) -> None:
    """Raise BadAdapter unless the adapter was made for this base model and has weights for all of its own modules.

    PEFT itself only warns of weights that are missing or left over, and then answers with half an adapter.
    """
    alias = loaded.entry.alias
    if adapter.base_digest != loaded.digest:
        raise BadAdapter(
            f"the adapter was made for base model {adapter.base_alias!r} with digest {adapter.base_digest}, but "
            f"{alias!r} here has digest {loaded.digest}; evaluate it with the base model that it was trained on"
        )
    expected = _model_shapes(loaded) if adapter.config is None else _expected_shapes(adapter.config, loaded)
    found = _found_shapes(adapter.weights)
    if found != expected:
        names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise BadAdapter(
            f"{len(names)} weights of the adapter do not fit base model {alias!r}, the first being {names[0]}: "
            f"the adapter has {found.get(names[0], 'none')}, the model needs {expected.get(names[0], 'none')}"
        )


def _check_members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    is_model = any(member.name == _MODEL_WEIGHTS for member in tar)
    max_bytes = _MODEL_MAX_BYTES if is_model else _MAX_BYTES
    for member in tar:
        if member.name not in max_bytes or member.name in members:
            raise BadAdapter(f"the adapter tar holds {member.name!r}, which it must not, or not twice")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise BadAdapter(f"{member.name!r} in the adapter tar is not a plain file")
        if not 0 < member.size <= max_bytes[member.name]:
            limit = max_bytes[member.name]
            raise BadAdapter(f"{member.name!r} in the adapter tar has {member.size} bytes; 1 to {limit} are allowed")
        members[member.name] = member
    needed = (_MODEL_WEIGHTS, _MANIFEST) if is_model else (_CONFIG, _WEIGHTS, _MANIFEST)
    missing = [name for name in needed if name not in members]
    if missing:
        raise BadAdapter(f"the adapter tar lacks {', '.join(missing)}")
    return members


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    return b"" if source is None else source.read()


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    with target.open("wb") as file:
        while source is not None and (chunk := source.read(_CHUNK_BYTES)):
            file.write(chunk)


def _expected_shapes(config: AdapterConfig, loaded: LoadedModel) -> dict[str, tuple[int, ...]]:
    """The shapes of A [r, in] and B [out, r] for each module that the adapter is for, under PEFT's names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in loaded.model.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in config.target_modules:
            num_out, num_in = module.weight.shape
            shapes[f"base_model.model.{name}.lora_A.weight"] = (config.r, num_in)
            shapes[f"base_model.model.{name}.lora_B.weight"] = (num_out, config.r)
    return shapes


def _model_shapes(loaded: LoadedModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in own_weights(loaded.model).items()}


def _found_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as weights:
            names = weights.keys()  # it is no mapping, and can't be iterated over
            return {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise BadAdapter(f"{path.name} in the adapter tar can't be read: {error}") from error
