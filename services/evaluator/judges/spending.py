"""What a judge that costs money may spend in a day (UTC), and what it has spent."""

from __future__ import annotations

import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from services.evaluator.judges.operators import LlmEntry


class Spent(BaseModel):
    """Calls and tokens of one day."""

    day: str = ""
    calls: int = 0
    tokens: int = 0


class Spending:
    """Counts calls and tokens of this process; with a `path`, a restart does not forget them."""

    def __init__(self, entry: LlmEntry, path: Path | None) -> None:
        self._max_calls = entry.max_calls_a_day
        self._max_tokens = entry.max_tokens_a_day
        self._path = path
        self._lock = threading.Lock()
        self._spent = self._read()

    def begin_call(self) -> str | None:
        """Count a call that is about to be made. Where it may not be made, the reason why."""
        with self._lock:
            today = datetime.now(UTC).date().isoformat()
            if self._spent.day != today:
                self._spent = Spent(day=today)
            if self._spent.calls >= self._max_calls:
                return f"the day's {self._max_calls} calls are spent (max_calls_a_day)"
            if self._spent.tokens >= self._max_tokens:
                return f"the day's {self._max_tokens} tokens are spent (max_tokens_a_day)"
            self._spent.calls += 1
            self._write()
            return None

    def add_tokens(self, count: int) -> None:
        """Count what a call cost."""
        with self._lock:
            self._spent.tokens += count
            self._write()

    def _read(self) -> Spent:
        try:
            return Spent() if self._path is None else Spent.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Spent()
        except (OSError, ValidationError) as error:
            structlog.get_logger().warning("spending_unreadable", path=str(self._path), reason=str(error))
            return Spent()

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._spent.model_dump_json())
            Path(draft).replace(self._path)
        except OSError as error:
            structlog.get_logger().warning("spending_not_written", path=str(self._path), reason=str(error))
