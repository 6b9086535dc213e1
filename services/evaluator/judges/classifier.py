"""The judge kind `classifier`: a text-classification model of the Hugging Face hub, or in a folder.

Shape suffixes: B exchanges, C labels of the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.verdicts import Judgement, JudgeUsed, Label
from rolekeeper.lm.load import model_window, no_progress_bars
from rolekeeper.pulse import beat
from services.evaluator.judges.operators import ClassifierEntry
from services.evaluator.judges.protocol import BadJudges, Exchange

BATCH_SIZE = 16
_FILES = ("*.safetensors", "*.json", "*.model", "*.txt")
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


class Classifier:
    """Takes the model's most likely label, and says what the operator's map says it means."""

    def __init__(self, name: JudgeName, entry: ClassifierEntry) -> None:
        folder = _find_folder(name, entry)
        try:
            with no_progress_bars():
                self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
                model = AutoModelForSequenceClassification.from_pretrained(
                    folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
                )
        except _LOADING_ERRORS as error:
            raise BadJudges(f"judge {name!r} can't be loaded from {folder}: {error}") from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.to(self._device).eval().requires_grad_(False)
        self._verdicts = _verdicts(name, entry, self._model.config.id2label)
        self._reads_request = entry.reads == "request_and_answer"
        self.used = JudgeUsed(
            name=name,
            version=f"classifier@{_digest(folder, entry)[:12]}",
            note=f"The text classifier {entry.location if entry.source == 'hub' else folder.name!r}, which reads the "
            f"{'request and the answer' if self._reads_request else 'answer alone'}. Its labels stand for "
            f"{', '.join(f'{label} = {verdict}' for label, verdict in entry.labels.items())}.",
        )

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """Classify the exchanges in batches."""
        judgements: list[Judgement] = []
        for start in range(0, len(exchanges), BATCH_SIZE):
            judgements += self._judge_batch(exchanges[start : start + BATCH_SIZE])
        return judgements

    def _judge_batch(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        beat()
        answers = [exchange.answer for exchange in exchanges]
        texts = ([exchange.request for exchange in exchanges], answers) if self._reads_request else (answers,)
        limit = min(model_window(self._model.config) or 512, self._tokenizer.model_max_length)
        batch = self._tokenizer(*texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            logits_BC = self._model(**batch.to(self._device)).logits
        return [Judgement(label=self._verdicts[index]) for index in logits_BC.argmax(1).tolist()]


def _find_folder(name: JudgeName, entry: ClassifierEntry) -> Path:
    if entry.source == "folder":
        if not Path(entry.location).is_dir():
            raise BadJudges(f"judge {name!r}: there is no folder {entry.location}")
        return Path(entry.location)
    try:
        return Path(snapshot_download(entry.location, revision=entry.revision, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        message = f"judge {name!r}: {entry.location}@{entry.revision} can't be had: {error}; put it in a folder instead"
        raise BadJudges(message) from error


def _verdicts(name: JudgeName, entry: ClassifierEntry, names: dict[int, str]) -> list[Label]:
    """The verdict of each of the model's labels. All must be mapped, and nothing else."""
    missing, unknown = set(names.values()) - set(entry.labels), set(entry.labels) - set(names.values())
    if missing or unknown:
        raise BadJudges(
            f"judge {name!r}: `labels` must name the model's labels {', '.join(sorted(names.values()))}; "
            f"it lacks {_list(missing)} and names {_list(unknown)} beside them"
        )
    return [entry.labels[names[index]] for index in range(len(names))]


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _digest(folder: Path, entry: ClassifierEntry) -> str:
    digest = hashlib.sha256(json.dumps([entry.reads, sorted(entry.labels.items())]).encode())
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern)}):
        with path.open("rb") as stream:
            digest.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
