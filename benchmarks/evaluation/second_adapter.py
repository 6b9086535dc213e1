"""Two adapters on one base model, measured by the evaluator's own code: the second finds the base answers kept."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.characters import Message, RoleProfile
from rolekeeper.contracts.verdicts import VerdictItem, VerdictRequest
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.resident import ResidentModels
from services.evaluator.adapters import Adapters
from services.evaluator.kept import KeptAnswers
from services.evaluator.respond import Responder

_PROJECTIONS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
_RANK = 16


class Evaluator(NamedTuple):
    """A responder with an empty folder of kept answers, and a store that holds two random adapters."""

    responder: Responder
    alias: str
    adapters: tuple[str, str]

    def seconds_each(self, questions: Sequence[str], max_new_tokens: int) -> tuple[float, float]:
        """Seconds to ask base and tuned model, for the first adapter and for the second."""
        first, second = (self._evaluate(sha256, questions, max_new_tokens) for sha256 in self.adapters)
        return first, second

    def _evaluate(self, sha256: str, questions: Sequence[str], max_new_tokens: int) -> float:
        items = tuple(
            VerdictItem(id=str(number), messages=(Message(role="user", content=text),))
            for number, text in enumerate(questions)
        )
        started_at = time.perf_counter()
        for adapter in (None, sha256):
            request = VerdictRequest(
                base_model=self.alias,
                profile=RoleProfile(name="Isaura", profile="You keep a light on the coast."),
                adapter_sha256=adapter,
                items=items,
                max_new_tokens=max_new_tokens,
            )
            self.responder.answer(request)
        return time.perf_counter() - started_at


@contextmanager
def evaluator(alias: str) -> Iterator[Evaluator]:
    """Yield an evaluator with the base model in memory, in a folder of its own."""
    models = ResidentModels(load_catalog())
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder, "store"))
        with models.use(alias) as loaded:
            shas = tuple(store.put(random_adapter(loaded, seed)).sha256 for seed in (1, 2))
        adapters = Adapters(store)
        yield Evaluator(Responder(models, adapters, KeptAnswers(Path(folder, "answers"))), alias, (shas[0], shas[1]))
        adapters.close()


def random_adapter(loaded: LoadedModel, seed: int) -> bytes:
    """A tar as the training program makes it, with small random weights: answers stay about as long as the base's."""
    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=_PROJECTIONS, task_type="CAUSAL_LM")
    policy = get_peft_model(loaded.model, config)
    shapes = {name: tensor.shape for name, tensor in get_peft_model_state_dict(policy).items() if "lora" in name}
    policy.unload()
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    adapter_config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": loaded.entry.public_id,
        "r": _RANK,
        "lora_alpha": 2 * _RANK,
        "target_modules": _PROJECTIONS,
    }
    manifest = {"base_model": {"alias": loaded.entry.alias, "digest": loaded.digest}}
    return _tar(
        {
            "MANIFEST.json": json.dumps(manifest).encode(),
            "adapter_config.json": json.dumps(adapter_config).encode(),
            "adapter_model.safetensors": save(tensors),
        }
    )


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
