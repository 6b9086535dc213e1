"""An adapter made weaker or stronger after training: the same tar with all its changes multiplied."""

from __future__ import annotations

import io
import tarfile

import safetensors.torch
import torch

_WEIGHTS = "adapter_model.safetensors"


def scaled_adapter(data: bytes, scale: float) -> bytes:
    """Return the tar of an adapter whose change to each weight, B A, is `scale` times that of `data`.

    B is multiplied, so that rank and alpha stay as they are. The same arguments always give the same bytes.
    """
    scaled = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=scaled, mode="w") as target:
        for member in source:
            file = source.extractfile(member)
            content = b"" if file is None else file.read()
            if member.name == _WEIGHTS:
                content = _scaled(content, scale)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return scaled.getvalue()


def _scaled(content: bytes, scale: float) -> bytes:
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    changed = {
        name: (tensor.float() * scale).to(tensor.dtype) if ".lora_B." in name else tensor
        for name, tensor in tensors.items()
    }
    return safetensors.torch.save(changed, metadata={"format": "pt"})
