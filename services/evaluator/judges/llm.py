"""The judge kind `llm`: a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import httpx
import structlog
from pydantic import ValidationError

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.verdicts import Judgement, JudgeUsed
from rolekeeper.pulse import beat
from services.evaluator.judges.llm_prompt import (
    INSTRUCTION,
    PROMPT_VERSION,
    READING_VERSION,
    Completion,
    read_verdict,
    write_question,
)
from services.evaluator.judges.operators import LlmEntry
from services.evaluator.judges.protocol import BadJudges, Exchange, JudgeUnavailable
from services.evaluator.judges.spending import Spending
from services.evaluator.settings import read_secret

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 8.0
CHARACTERS_PER_TOKEN = 4
# About this one exchange, not about the judge: another try would end the same.
_UNJUDGEABLE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})


class Llm:
    """Asks the model about each exchange, several at once. An outage raises; nonsense is a judgement without label."""

    def __init__(self, name: JudgeName, entry: LlmEntry, spending: Spending) -> None:
        self._entry = entry
        self._spending = spending
        self._http = httpx.Client(headers=_headers(name, entry), timeout=httpx.Timeout(entry.timeout_seconds))
        # A new model or other words are another judge; where it runs is not.
        asked = [entry.model, INSTRUCTION, entry.answer_format, READING_VERSION]
        words = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self.used = JudgeUsed(
            name=name,
            version=f"llm@{words[:12]}",
            note=f"The language model {entry.model!r}, asked by prompt {PROMPT_VERSION}. What its maker changes "
            "under that name changes its verdicts. An answer that it judged unreadably has no verdict.",
        )

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """Ask about each exchange. Raises JudgeUnavailable when the endpoint does not answer in the tries it has."""
        with ThreadPoolExecutor(self._entry.concurrency, thread_name_prefix=self.used.name) as pool:
            try:
                return list(pool.map(self._judge_one, exchanges))
            except JudgeUnavailable:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _judge_one(self, exchange: Exchange) -> Judgement:
        question = write_question(self._entry.model, exchange, self._entry.answer_format)
        pause = FIRST_PAUSE_SECONDS
        reason = ""
        for tried in range(self._entry.tries):
            if tried:
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            spent = self._spending.begin_call()
            if spent is not None:
                return Judgement(label=None, note=spent)
            beat()  # an endpoint may take its time, and each try has a deadline of its own
            try:
                return self._ask(question)
            except _NoAnswer as error:
                reason, pause = str(error), max(pause, error.pause)
        raise JudgeUnavailable(f"the judge {self.used.name!r} did not answer ({self._entry.tries} tries): {reason}")

    def _ask(self, question: dict[str, object]) -> Judgement:
        try:
            response = self._http.post(f"{self._entry.url.rstrip('/')}/chat/completions", json=question)
        except httpx.TransportError as error:
            raise _NoAnswer(str(error) or type(error).__name__) from error
        if response.status_code in _UNJUDGEABLE:
            self._spending.add_tokens(_guess_tokens(question))
            return Judgement(label=None, note=f"the judge's endpoint turned it away: {response.status_code}")
        if not response.is_success:
            structlog.get_logger().warning("judge_failed", judge=self.used.name, status=response.status_code)
            raise _NoAnswer(f"it answered {response.status_code}", _retry_after(response))
        try:
            completion = Completion.model_validate_json(response.content)
        except ValidationError as error:
            raise _NoAnswer("its answer is no chat completion") from error
        used = completion.usage.total_tokens if completion.usage else 0
        self._spending.add_tokens(used or _guess_tokens(question))
        return read_verdict(completion)


class _NoAnswer(Exception):
    """One try failed. `pause`: how long the endpoint wants to be left alone, seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def _headers(name: JudgeName, entry: LlmEntry) -> dict[str, str]:
    if entry.key_variable is None:
        return {}
    key = read_secret(entry.key_variable)
    if not key:
        raise BadJudges(f"judge {name!r}: the variable {entry.key_variable} is not set; it must hold the key")
    return {"authorization": f"Bearer {key}"}


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), MAX_PAUSE_SECONDS) if value.isdecimal() else 0.0


def _guess_tokens(question: dict[str, object]) -> int:
    return len(json.dumps(question)) // CHARACTERS_PER_TOKEN
