"""An adapter made weaker or stronger after training: the same tar with all its changes multiplied."""

from __future__ import annotations

import io
import tarfile

import safetensors.torch

from services.trainer.program.scale import scaled

_WEIGHTS = "adapter_model.safetensors"


def scaled_adapter(data: bytes, scale: float) -> bytes:
    """Return the tar of an adapter whose change to each weight, B A, is `scale` times that of `data`.

    B is multiplied, so that rank and alpha stay as they are. The same arguments always give the same bytes.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=packed, mode="w") as target:
        for member in source:
            file = source.extractfile(member)
            content = b"" if file is None else file.read()
            if member.name == _WEIGHTS:
                content = _scaled(content, scale)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _scaled(content: bytes, scale: float) -> bytes:
    return safetensors.torch.save(scaled(safetensors.torch.load(content), scale), metadata={"format": "pt"})
