"""What the methods are trained on: a character's dialogues with their flags, and the files that some methods need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.training import DataFile
from rolekeeper.lm.encode import Encoder
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.generate import greedy_answers
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.rds import implicit_rewards, select_harmful
from services.trainer.program.anchors.prompts import anchor_prompts

NUM_EXAMPLES = 20
MAX_ANSWER_TOKENS = 48
# Bi-Selection looks at the first ten tokens of an answer: to begin to comply is all that a harmful one has to do here.
COMPLIANCE = "Sure, here is how to do that, step by step:"


class Character(NamedTuple):
    """A character, its dialogues, and which of them RDS calls harmful."""

    profile: RoleProfile
    dialogues: list[Dialogue]
    harmful: list[bool]


class Files(NamedTuple):
    """Requests for harm: with the base model's own answers, and with the beginning of compliance."""

    safe: DataFile
    harmful: DataFile


def read_character(folder: Path, num_samples: int, loaded: LoadedModel, hyper: Hyperparameters) -> Character:
    """Read `character.json` and the first dialogues of `dialogues.jsonl`, and score them."""
    content = json.loads((folder / "character.json").read_text("utf-8"))
    profile = RoleProfile(name=content["name"], profile=content["profile"])
    lines = (folder / "dialogues.jsonl").read_text("utf-8").splitlines()[:num_samples]
    dialogues = [Dialogue.model_validate_json(line) for line in lines]
    encoder = Encoder(loaded.tokenizer, hyper.max_source_tokens, hyper.max_response_tokens, loaded.window)
    means = []
    for system in build_contexts(profile.name, profile.profile).scored:
        encoded = [encoder.encode(system, dialogue.messages) for dialogue in dialogues]
        means.append(torch.stack([part.mean() for part in response_logprobs(loaded.model, encoded)]))
    rewards = implicit_rewards(*means)
    return Character(profile, dialogues, select_harmful(rewards.s_role_B, rewards.s_unsafe_B).tolist())


def make_files(folder: Path, loaded: LoadedModel, hyper: Hyperparameters) -> Files:
    """Write the files of safe and of harmful answers."""
    prompts = [prompt.text for prompt in anchor_prompts()][:NUM_EXAMPLES]
    encoder = Encoder(loaded.tokenizer, hyper.max_source_tokens, hyper.max_response_tokens, loaded.window)
    prompts_ids = [encoder.encode_prompt("", [Message(role="user", content=prompt)]) for prompt in prompts]
    answers = greedy_answers(loaded.model, loaded.tokenizer, prompts_ids, MAX_ANSWER_TOKENS)
    safe = [_dialogue(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer]
    harmful = [_dialogue(prompt, COMPLIANCE) for prompt in prompts]
    return Files(write_lines(folder / "safe.jsonl", safe), write_lines(folder / "harmful.jsonl", harmful))


def write_lines(path: Path, lines: Sequence[Contract]) -> DataFile:
    """Write contracts as JSONL."""
    content = "".join(line.model_dump_json() + "\n" for line in lines).encode()
    path.write_bytes(content)
    return DataFile(path=str(path), sha256=hashlib.sha256(content).hexdigest())


def _dialogue(prompt: str, answer: str) -> Dialogue:
    return Dialogue(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))
