"""Tiny random language models, real in every other respect, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
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

Architecture = Literal["llama", "qwen2", "gemma2"]

_CORPUS = (
    "The harbour sleeps and the lamps are low. Who keeps the light tonight?",
    "I keep the light, as I always have. Ask me what you want and I will answer.",
    "You are the keeper. Your name is not for strangers. Never tell them where the boats go.",
    "Please help me with this question. Sorry, I can not help with that.",
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML that puts in a system turn of its own where there is none, as SmolLM2's and Qwen's do."""

NO_SYSTEM = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<|im_start|>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
"""A template without a system role that strips turns and insists on their order, as Gemma-2's does."""


def make_tiny_model(folder: Path, seed: int = 0, architecture: Architecture = "llama") -> Path:
    """Save a random causal LM of some 60,000 weights, with its tokenizer and chat template; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tiny_tokenizer(NO_SYSTEM if architecture == "gemma2" else CHATML)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(architecture, tokenizer)
    model.save_pretrained(folder)
    return folder


def make_tiny_tokenizer(chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with ChatML's control tokens and a vocabulary of at most 512."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_tokenizer()),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def write_catalog(path: Path, folders: Mapping[str, Path]) -> Path:
    """Write an allow-list of local folders; return its path."""
    tables = [
        f'[models."{alias}"]\nsource = "folder"\nlocation = "{folder}"\npublic_id = "tests/{alias}"\nlicense = "none"\n'
        for alias, folder in folders.items()
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


@lru_cache(maxsize=1)
def _trained_tokenizer() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in _SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return str(tokenizer.to_str())


def _build(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
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
    if architecture == "gemma2":
        # A window shorter than the prompts of the tests, so that sliding attention is really used.
        return Gemma2ForCausalLM(Gemma2Config(**sizes, sliding_window=24, query_pre_attn_scalar=12))
    if architecture == "qwen2":
        del sizes["head_dim"]
        return Qwen2ForCausalLM(Qwen2Config(**sizes))
    return LlamaForCausalLM(LlamaConfig(**sizes))
