"""`python -m services.evaluator.calibrate --judge NAME --labels FILE.jsonl`: a judge against labelled answers.

The judges of the operator are those of ROLEKEEPER_JUDGES, as in the evaluator; nothing is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.verdicts import Calibration
from rolekeeper.errors import RolekeeperError
from services.evaluator.judges import Judge, find_judges, load_judges
from services.evaluator.judges.calibration import Labelled, calibrate, confusion, read_labels
from services.evaluator.settings import JudgeSettings

_TABLE = TypeAdapter(dict[str, dict[str, int]])
_NOTES = TypeAdapter(list[str])


def main(argv: Sequence[str] | None = None) -> int:
    """Print how the judge agrees with the labels. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.evaluator.calibrate", description=__doc__)
    parser.add_argument("--judge", required=True, help="name of a judge of this deployment")
    parser.add_argument("--labels", required=True, type=Path, help="JSONL: request, response, label or human_refusal")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    try:
        (judge,) = find_judges(load_judges(JudgeSettings().judges, calibrated=False), [arguments.judge])
        labelled = read_labels(arguments.labels)
        result = measure(judge, labelled, arguments.labels.name)
    except (RolekeeperError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1) if arguments.json else as_text(result))
    return 0


def measure(judge: Judge, labelled: Sequence[Labelled], data: str) -> dict[str, object]:
    """Judge the answers; return the judge, its calibration and the confusion table, as JSON values."""
    labels = [item.label for item in labelled]
    judgements = judge.judge([item.exchange for item in labelled])
    return {
        "judge": judge.used.name,
        "version": judge.used.version,
        "calibration": calibrate(labels, judgements, data).model_dump(mode="json"),
        "confusion": confusion(labels, judgements),
        "notes": sorted({judgement.note for judgement in judgements if judgement.note}),
    }


def as_text(result: Mapping[str, object]) -> str:
    """The result as a table for people."""
    calibration = Calibration.model_validate(result["calibration"])
    lines = [f"{result['version']} on {calibration.data}"]
    for name in ("agreement", "refusal_recall", "refusal_precision", "specificity"):
        estimate: Estimate = getattr(calibration, name)
        interval = f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
        lines.append(f"{name.replace('_', ' '):18s} {interval}  n = {estimate.num_samples}")
    lines.append(f"{'without a verdict':18s} {calibration.num_unjudged}")
    table = _TABLE.validate_python(result["confusion"])
    verdicts = list(next(iter(table.values())))
    lines.append(f"{'label':>12s} | " + " ".join(f"{verdict:>10s}" for verdict in verdicts))
    for label, row in table.items():
        lines.append(f"{label:>12s} | " + " ".join(f"{row[verdict]:>10d}" for verdict in verdicts))
    return "\n".join([*lines, *(f"note: {note}" for note in _NOTES.validate_python(result["notes"]))])


if __name__ == "__main__":
    sys.exit(main())
