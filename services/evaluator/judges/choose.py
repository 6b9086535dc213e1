"""The judges of a deployment, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.errors import InvalidInput
from services.evaluator.judges.calibrated import with_calibration
from services.evaluator.judges.classifier import Classifier
from services.evaluator.judges.kept import KeptVerdicts
from services.evaluator.judges.llm import Llm
from services.evaluator.judges.local import Local
from services.evaluator.judges.operators import ClassifierEntry, LlmEntry, OperatorFile, read_operator_file
from services.evaluator.judges.phrases import Phrases
from services.evaluator.judges.protocol import Judge
from services.evaluator.judges.spending import Spending
from services.evaluator.kept import KeptAnswers

OWN = ("local", "phrases")


def load_judges(
    path: Path | None = None, cache_dir: Path | None = None, calibrated: bool = True
) -> dict[JudgeName, Judge]:
    """Return every judge of this deployment by its name: our own ones, and those of the operator's file at `path`.

    Verdicts of the operator's judges cost time or money; where there is a `cache_dir`, they are kept in it. Unless they
    shall be `calibrated`, the file's calibrations are not read: they may be about to be made.
    Raises BadJudges, which says what to change.
    """
    own: list[Judge] = [Local(cache_dir), Phrases()]
    stated = OperatorFile({}, {}) if path is None else read_operator_file(path, OWN)
    judges = {judge.used.name: judge for judge in own}
    for name, entry in stated.entries.items():
        judge = _make(name, entry, cache_dir)
        judges[name] = judge if cache_dir is None else KeptVerdicts(judge, KeptAnswers(cache_dir / "verdicts"))
    files = stated.calibrations if calibrated else {}
    return judges | {name: with_calibration(judges[name], file) for name, file in files.items()}


def _make(name: JudgeName, entry: ClassifierEntry | LlmEntry, cache_dir: Path | None) -> Judge:
    if isinstance(entry, ClassifierEntry):
        return Classifier(name, entry)
    return Llm(name, entry, Spending(entry, None if cache_dir is None else cache_dir / "spent" / f"{name}.json"))


class UnknownJudge(InvalidInput):
    """No judge of this deployment has the name."""

    code = "unknown_judge"


def find_judges(judges: Mapping[JudgeName, Judge], names: Sequence[JudgeName]) -> list[Judge]:
    """Return the judges of these names, in their order. Raises UnknownJudge, which lists the names there are."""
    unknown = [name for name in names if name not in judges]
    if unknown:
        known = ", ".join(sorted(judges))
        raise UnknownJudge(f"there is no judge {unknown[0]!r}; known are {known}")
    return [judges[name] for name in names]
