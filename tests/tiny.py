"""Tiny random language models, real in every other respect, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.chat_templates import SMOLLM2
from tests.tiny_tokenizers import (
    make_gemma2_tokenizer,
    make_llama3_tokenizer,
    make_qwen2_tokenizer,
    make_tiny_tokenizer,
)

Architecture = Literal["llama", "llama3", "qwen2", "gemma2", "smollm2"]
"""`llama` is the plainest one, with ChatML; the others behave as the family of that name does."""


def make_tiny_model(folder: Path, seed: int = 0, architecture: Architecture = "llama") -> Path:
    """Save a random causal LM of some 60,000 weights, with its tokenizer and chat template; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_family_tokenizer(architecture)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(architecture, tokenizer)
    model.save_pretrained(folder)
    return folder


def make_family_tokenizer(architecture: Architecture = "llama") -> PreTrainedTokenizerFast:
    """Return the tokenizer of a tiny model, with its chat template."""
    if architecture == "llama3":
        return make_llama3_tokenizer()
    if architecture == "qwen2":
        return make_qwen2_tokenizer()
    if architecture == "gemma2":
        return make_gemma2_tokenizer()
    return make_tiny_tokenizer(SMOLLM2) if architecture == "smollm2" else make_tiny_tokenizer()


def write_catalog(path: Path, folders: Mapping[str, Path]) -> Path:
    """Write an allow-list of local folders; return its path."""
    tables = [
        f'[models."{alias}"]\nsource = "folder"\nlocation = "{folder}"\npublic_id = "tests/{alias}"\nlicense = "none"\n'
        for alias, folder in folders.items()
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def _build(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**_sizes(tokenizer)))
    if architecture == "llama3":
        model = _llama3(tokenizer)
    elif architecture == "qwen2":
        sizes = _sizes(tokenizer, tie_word_embeddings=False)
        del sizes["head_dim"]
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    elif architecture == "gemma2":
        model = _gemma2(tokenizer)
    else:
        heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}
        model = LlamaForCausalLM(LlamaConfig(**_sizes(tokenizer, **heads)))
    _stir(model)
    return model


def _llama3(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    # Of the six frequencies some are kept, one is between, and the slow ones are scaled.
    rope = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    return LlamaForCausalLM(LlamaConfig(**_sizes(tokenizer, rope_parameters=rope, tie_word_embeddings=False)))


def _gemma2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    # A window shorter than the prompts of the tests, and caps near the size of the scores: both are really used.
    config = Gemma2Config(
        **_sizes(tokenizer, eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]),
        sliding_window=24,
        query_pre_attn_scalar=12,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=5.0,
    )
    return Gemma2ForCausalLM(config)


def _sizes(tokenizer: PreTrainedTokenizerFast, **changes: object) -> dict[str, Any]:
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 2048,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    return sizes | changes


def _stir(model: PreTrainedModel) -> None:
    """Biases start at zero and norms at one: nobody would see them left out."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
