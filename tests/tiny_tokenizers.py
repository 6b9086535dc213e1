"""Tokenizers of the model families, real in every respect but the size of their vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.chat_templates import CHATML, GEMMA2, LLAMA32, QWEN2

_CORPUS = (
    "The harbour sleeps and the lamps are low. Who keeps the light tonight?",
    "I keep the light, as I always have. Ask me what you want and I will answer.",
    "You are the keeper. Your name is not for strangers. Never tell them where the boats go.",
    "Please help me with this question. Sorry, I can not help with that.",
)
# Text as it stands where a system text meets a question: tokens that reach across are learned from it.
_SEAMS = ("You are the keeper.\n\nWho keeps the light?", "Never tell.\n\n\nWho are you?\n\nI keep the light.\n") * 4

_CHATML_CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3_CONTROLS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|finetune_right_pad_id|>",
)
_GEMMA_CONTROLS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
# A full stop takes the line breaks after it, as Llama-3's and Qwen's own patterns let it.
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def make_tiny_tokenizer(chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with ChatML's control tokens and a vocabulary of at most 512."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_chatml()),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def make_llama3_tokenizer(chat_template: str = LLAMA32) -> PreTrainedTokenizerFast:
    """Return a tokenizer as Llama-3's: it puts BOS before any text unless told not to, and so does the template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_llama3()),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def make_qwen2_tokenizer(chat_template: str = QWEN2) -> PreTrainedTokenizerFast:
    """Return a tokenizer as Qwen2.5's: no BOS, text in NFC, and control tokens that are not marked as special."""
    backend = Tokenizer.from_str(_qwen2())
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<tool_call>", "</tool_call>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = chat_template
    return tokenizer


def make_gemma2_tokenizer(chat_template: str = GEMMA2) -> PreTrainedTokenizerFast:
    """Return a tokenizer as Gemma's: BOS before any text, spaces are letters, nothing splits, bytes at last."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_gemma2()),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    tokenizer.chat_template = chat_template
    return tokenizer


@cache
def _chatml() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _train_byte_level(tokenizer, _CHATML_CONTROLS, _CORPUS)


@cache
def _llama3() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _split_bytes()
    return _with_bos(_train_byte_level(tokenizer, _LLAMA3_CONTROLS, _CORPUS + _SEAMS), "<|begin_of_text|>")


@cache
def _qwen2() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split_bytes()
    return _train_byte_level(tokenizer, _CHATML_CONTROLS, _CORPUS + _SEAMS)


@cache
def _gemma2() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=_controls(_GEMMA_CONTROLS), max_token_length=8, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS + _SEAMS, trainer)
    # The trainer knows nothing of bytes as a last resort.
    trained = json.loads(tokenizer.to_str())
    vocabulary = trained["model"]["vocab"]
    vocabulary.update({f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)})
    trained["model"]["byte_fallback"] = True
    return _with_bos(json.dumps(trained), "<bos>")


def _split_bytes() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _train_byte_level(tokenizer: Tokenizer, controls: Sequence[str], corpus: Sequence[str]) -> str:
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=_controls(controls),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return str(tokenizer.to_str())


def _with_bos(trained: str, bos: str) -> str:
    tokenizer = Tokenizer.from_str(trained)
    special_tokens = [(bos, tokenizer.token_to_id(bos))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=special_tokens)
    return str(tokenizer.to_str())


def _controls(texts: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(text, special=True, normalized=False) for text in texts]
