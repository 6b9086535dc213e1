"""Base models into memory. The only place that chooses a device and a dtype."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.forward import check_projection
from rolekeeper.lm.gguf import converted, count_gguf_weights, read_gguf
from rolekeeper.lm.linear import use_onednn
from rolekeeper.lm.prefix import PrefixCache
from rolekeeper.lm.wheels import find_file
from rolekeeper.pulse import beat, steady

# Everything that scores depend on, and nothing that runs code or unpickles.
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")

LOAD_SECONDS = 3600
"""Reading weights says nothing of how far it is: for so long it counts as progress."""

_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


class BaseModelUnusable(RolekeeperError):
    """A base model of the allow-list, or an adapter, can't be loaded."""

    code = "base_model_unusable"


@dataclass(frozen=True)
class LoadedModel:
    """A frozen base model in memory. `digest` is the sha256 of the files that it was made from.

    `prefixes` are those of this model without any adapter; who uses them has the device's turn. A copy with another
    model (`dataclasses.replace`) starts without any.
    """

    entry: ModelEntry
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    digest: str
    prefixes: PrefixCache = field(default_factory=PrefixCache, init=False, repr=False, compare=False)

    @property
    def window(self) -> int | None:
        """How many tokens the model can read at once; None if it sets no limit."""
        return model_window(self.model.config)


def model_window(config: PreTrainedConfig) -> int | None:
    """Return the number of positions that a model was made for; None if its config names none."""
    window = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(window) if window is not None and window > 0 else None


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype_on(device: torch.device) -> torch.dtype:
    """What base models compute in: bf16 on CUDA, fp32 on the CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def count_weights(entry: ModelEntry) -> int:
    """Return how many weights the files of a base model hold, without reading them. Raises BaseModelUnusable."""
    folder, count = _find_folder(entry), 0
    for path in _files(folder, entry):
        if path.suffix == ".gguf":
            count += count_gguf_weights(path)
        elif path.suffix == ".safetensors" and path.parent == folder:
            with safe_open(path, "pt") as tensors:
                names = tensors.keys()  # it is no mapping, and can't be iterated over
                count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    return count


@steady(LOAD_SECONDS)
def load_base(
    entry: ModelEntry, device: str | None = None, cache_dir: Path | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a base model, frozen and in eval mode, on the default device or another, in the dtype of that or another.

    In `cache_dir`, weights that come as GGUF are kept as safetensors, which load several times faster. Each forward
    pass of the model is a beat of the process's pulse. Raises BaseModelUnusable.
    """
    chosen = default_device() if device is None else torch.device(device)
    dtype = dtype or dtype_on(chosen)
    folder = _find_folder(entry)
    digest = _digest(_files(folder, entry))
    try:
        with no_progress_bars():
            model, tokenizer = _read(folder, entry, dtype, cache_dir)
    except _LOADING_ERRORS as error:
        raise BaseModelUnusable(f"base model {entry.alias!r} can't be loaded from {folder}: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if entry.adapter is not None:
        model = _merged(model, Path(entry.adapter))
    model.name_or_path = model.config._name_or_path = entry.public_id
    nn.Module.to(model, chosen).eval().requires_grad_(False)
    use_onednn(model)
    check_projection(model)
    # Whatever part of the model is called, it looks its tokens up.
    model.get_input_embeddings().register_forward_hook(beat)
    return LoadedModel(entry=entry, model=model, tokenizer=tokenizer, device=chosen, dtype=dtype, digest=digest)


@contextmanager
def attach_adapter(loaded: LoadedModel, folder: Path) -> Iterator[PreTrainedModel]:
    """Yield the model with the PEFT adapter of `folder` merged into its weights; one at a time for each model.

    On exit the base model is the one it was, bit for bit: its own tensors are put back, not computed back.
    Raises BaseModelUnusable if the adapter can't be used with this model.
    """
    originals = [(parameter, parameter.data) for parameter in loaded.model.parameters()]
    try:
        yield _merged(loaded.model, folder).eval().requires_grad_(False)
    finally:
        for parameter, data in originals:
            parameter.data = data


def _merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    if not (folder / "adapter_model.safetensors").is_file():
        raise BaseModelUnusable(f"{folder}: no adapter_model.safetensors; adapters are PEFT folders in safetensors")
    try:
        # safe_merge gives the layers new tensors and leaves the old ones as they are; attach_adapter relies on it.
        return cast(PreTrainedModel, PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True))
    except _LOADING_ERRORS as error:
        _remove_adapter_layers(model)
        raise BaseModelUnusable(f"{folder}: the adapter can't be used with this base model: {error}") from error


def _remove_adapter_layers(model: PreTrainedModel) -> None:
    """Undo an injection that PEFT gave up half way."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())
    vars(model).pop("peft_config", None)


def _find_folder(entry: ModelEntry) -> Path:
    if entry.source == "folder":
        folder = Path(entry.location)
    elif entry.source == "hub":
        try:
            folder = Path(snapshot_download(entry.location, revision=entry.revision, allow_patterns=list(_FILES)))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            message = f"base model {entry.alias!r}: {entry.location}@{entry.revision} can't be had: {error}"
            raise BaseModelUnusable(message) from error
    else:
        try:
            folder = find_file(entry.location, entry.gguf_file or "").parent
        except FileNotFoundError as error:
            raise BaseModelUnusable(f"base model {entry.alias!r}: {error}") from error
    if not folder.is_dir():
        raise BaseModelUnusable(f"base model {entry.alias!r}: there is no folder {folder}")
    return folder


def _read(
    folder: Path, entry: ModelEntry, dtype: torch.dtype, cache_dir: Path | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if entry.gguf_file is None:
        return _from_pretrained(folder, dtype)
    if cache_dir is None:
        return read_gguf(folder / entry.gguf_file, dtype)
    digest = _digest([folder / entry.gguf_file])
    return _from_pretrained(converted(folder / entry.gguf_file, digest, cache_dir), dtype)


def _from_pretrained(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return model, tokenizer


def _files(folder: Path, entry: ModelEntry) -> list[Path]:
    """Files that the model is made from, in a fixed order."""
    patterns = (entry.gguf_file,) if entry.gguf_file else _FILES
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not any(path.suffix in {".safetensors", ".gguf"} for path in files):
        raise BaseModelUnusable(f"base model {entry.alias!r}: {folder} holds no weights in safetensors")
    return files + (sorted(Path(entry.adapter).glob("adapter_*")) if entry.adapter else [])


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars of its own on stderr."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()
