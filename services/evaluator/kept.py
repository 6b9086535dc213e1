"""Answers of base models and their log-probs, computed once and kept on disk. The folder may be emptied at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
from pydantic import BaseModel, ValidationError

from rolekeeper.lm.encode import EncodedSample

_FORMAT = 3


class _Entry(BaseModel):
    """`sha256` is that of the answer: whatever damaged the file shows in it."""

    sha256: str
    answer: str


class KeptAnswers:
    """A folder of answers. An entry that can't be read counts as absent, and is written anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> str | None:
        """Return the answer kept under a key, or None."""
        path = self._path(key)
        try:
            entry = _Entry.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            structlog.get_logger().warning("kept_answer_unreadable", path=str(path), reason=str(error))
            return None
        if entry.sha256 != _sha256(entry.answer):
            structlog.get_logger().warning("kept_answer_damaged", path=str(path))
            return None
        return entry.answer

    def keep(self, key: str, answer: str) -> None:
        """Keep an answer. Where the disk does not take it, it is computed again the next time."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, _Entry(sha256=_sha256(answer), answer=answer).model_dump_json())
        except OSError as error:
            structlog.get_logger().warning("answer_not_kept", path=str(path), reason=str(error))

    def fill(self, keys: Mapping[int, str], make: Callable[[list[int]], Mapping[int, str]]) -> dict[int, str]:
        """Return the answer of each index: the kept one under its key, or else what `make` makes, which is kept."""
        known = {key: answer for key in keys.values() if (answer := self.find(key)) is not None}
        missing = [index for index, key in keys.items() if key not in known]
        for index, answer in make(missing).items():
            self.keep(keys[index], answer)
            known[keys[index]] = answer
        return {index: known[key] for index, key in keys.items()}

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


class Maker(NamedTuple):
    """What made an answer: the base model, the dtype that it ran in, and the software by version."""

    base_digest: str
    dtype: str
    software: Mapping[str, str]


def answer_key(maker: Maker, decoding: str, prompt: Sequence[Sequence[int]]) -> str:
    """Return the key of an answer: everything that it depends on, as one sha256. `prompt` are the ids of each branch.

    `decoding` tells the seed where there is one.
    """
    return _key("answer", maker, [decoding, [list(ids) for ids in prompt]])


def log_prob_key(maker: Maker, sample: EncodedSample) -> str:
    """Return the key of the mean log-prob of a response that is known. How answers are decoded does not change it."""
    return _key("log_prob", maker, [sample.prompt_ids, sample.response_ids])


def _key(kind: str, maker: Maker, rest: Sequence[object]) -> str:
    made_by = [maker.base_digest, maker.dtype, sorted(maker.software.items())]
    return _sha256(json.dumps([_FORMAT, kind, *made_by, *rest]))


def _publish(path: Path, text: str) -> None:
    # No fsync: what a power cut spoils is found by its digest and computed again.
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
