"""Weights that come as a GGUF file: read once with care for time, and kept as safetensors where a folder is given.

Reading 135M weights from GGUF takes some ten seconds of Python, from safetensors about one, and the tensors are the
same bit for bit. Every process that loads the model, and every restart of one, gains by it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import gguf
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)

_PARTIAL = ".partial-"


def read_gguf(file: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer of a GGUF file, dequantised and marked so, for PEFT and save_pretrained."""
    with _read_once():
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=dtype, local_files_only=True
        )
    del model.config.quantization_config
    del model.hf_quantizer
    vars(model)["is_quantized"] = False
    return model, tokenizer


def count_gguf_weights(file: Path) -> int:
    """Return how many weights a GGUF file holds."""
    return sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(file).tensors)


def converted(file: Path, digest: str, cache_dir: Path) -> Path:
    """Return a folder with the model of a GGUF file as fp32 safetensors; made now if it is not there yet.

    Processes that ask at the same time wait for one of them to make it. It appears only when it is complete.
    """
    # The tokenizer's files depend on the version that wrote them.
    folder = cache_dir / f"{digest[:32]}-{transformers.__version__}"
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            for left in cache_dir.glob(f"{_PARTIAL}*"):
                shutil.rmtree(left)
            partial_folder = Path(mkdtemp(prefix=_PARTIAL, dir=cache_dir))
            model, tokenizer = read_gguf(file, torch.float32)
            model.save_pretrained(partial_folder)
            tokenizer.save_pretrained(partial_folder)
            partial_folder.rename(folder)
    return folder


@contextmanager
def _read_once() -> Iterator[None]:
    """Transformers parses the file three times and its name map once for each module: let it remember both.

    The bar of its reader is plain tqdm, which no switch of transformers turns off.
    """
    names = vars(gguf)
    bars = vars(modeling_gguf_pytorch_utils)
    reader, name_map, bar = names["GGUFReader"], names["get_tensor_name_map"], bars["tqdm"]
    names["GGUFReader"], names["get_tensor_name_map"] = cache(reader), cache(name_map)
    bars["tqdm"] = partial(bar, disable=True)
    try:
        yield
    finally:
        names["GGUFReader"], names["get_tensor_name_map"] = reader, name_map
        bars["tqdm"] = bar
