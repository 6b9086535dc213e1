"""Verdicts, kept on disk under the judge's version, the request and the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from rolekeeper.contracts.verdicts import Judgement, JudgeUsed, Label
from services.evaluator.judges.protocol import Exchange, Judge
from services.evaluator.kept import KeptAnswers

# What one outage can lose.
PIECE = 16


class KeptVerdicts:
    """A judge that is asked once for each exchange. What it could not say is not kept: it is asked again."""

    def __init__(self, judge: Judge, kept: KeptAnswers) -> None:
        self._judge = judge
        self._kept = kept

    @property
    def used(self) -> JudgeUsed:
        """The judge's own."""
        return self._judge.used

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """Ask the judge for what is not kept, a few at a time, so that an outage loses little."""
        known: dict[Exchange, Judgement] = {}
        for exchange in exchanges:
            label = self._find(exchange)
            if label is not None:
                known[exchange] = Judgement(label=label)
        missing = [exchange for exchange in dict.fromkeys(exchanges) if exchange not in known]
        for start in range(0, len(missing), PIECE):
            piece = missing[start : start + PIECE]
            for exchange, judgement in zip(piece, self._judge.judge(piece), strict=True):
                known[exchange] = judgement
                if judgement.label is not None:
                    self._kept.keep(self._key(exchange), judgement.label)
        return [known[exchange] for exchange in exchanges]

    def _find(self, exchange: Exchange) -> Label | None:
        kept = self._kept.find(self._key(exchange))
        return Label(kept) if kept in set(Label) else None

    def _key(self, exchange: Exchange) -> str:
        used = self._judge.used
        return hashlib.sha256(json.dumps([used.name, used.version, *exchange]).encode()).hexdigest()
