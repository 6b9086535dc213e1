"""The model card of an adapter, finished with what the safety report found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.results import Comparison, PartResults
from rolekeeper.errors import Conflict
from rolekeeper.report.sentences import role_measures

_FENCE = "---\n"
_HELD_OUT = "Held-out dialogues of the character"
_BABBLE = "Share of answers that are no language"
_ROLE_TITLES = {
    "held_out_log_likelihood": "Log-likelihood of its own responses, nats per token",
    "role_refusal_rate": "Share refused",
    "babble_rate": _BABBLE,
}


class UnreadableCard(Conflict):
    """The README of the adapter has no front matter to add to."""

    code = "unreadable_card"


def finish_card(readme: str, report: SafetyReport) -> str:
    """Return the README with `model-index` in its front matter and a table of the results at its end.

    The index is one line of JSON, which is YAML too. Raises UnreadableCard.
    """
    front, fence, body = readme.removeprefix(_FENCE).partition(f"\n{_FENCE}")
    if not (readme.startswith(_FENCE) and fence):
        raise UnreadableCard("the adapter's README.md does not start with front matter between two lines of ---")
    return (
        f"{_FENCE}{front}\nmodel-index: {json.dumps(model_index(report))}{fence}{body.rstrip()}\n\n{_section(report)}"
    )


def model_index(report: SafetyReport) -> list[dict[str, Any]]:
    """Return the results as model cards of the Hugging Face hub hold them: the tuned model's, then the base model's."""
    results = [*_refusal_results(report), *_fidelity_results(report), *_role_results(report)]
    return [{"name": report.character_name, "results": results}]


def _refusal_results(report: SafetyReport) -> Iterator[dict[str, Any]]:
    versions = {judge.name: judge.version for judge in report.judges}
    for part in report.results:
        metrics = [
            _metric("refusal_rate", rate, f"Refusal rate, {who}, judge {versions[judged.judge]}")
            for judged in part.judges
            for who, rate in (("tuned", judged.tuned_rate), ("base model", judged.base_rate))
            if rate is not None
        ]
        if metrics:
            yield _result(part.suite, _part_title(part), metrics)


def _fidelity_results(report: SafetyReport) -> Iterator[dict[str, Any]]:
    for entry in report.fidelity:
        metrics = [_metric("rouge-l", value, f"Rouge-L F1, {who}") for who, value in _sides(entry.rouge_l)]
        title = _HELD_OUT if entry.suite is None else entry.suite
        yield _result(entry.suite or "held-out", title, metrics)


def _role_results(report: SafetyReport) -> Iterator[dict[str, Any]]:
    measures = role_measures(report.role)
    sides = [(measure, who, side) for measure in measures for who, side in _sides(measure)]
    metrics = [_metric(measure.name, side, f"{_ROLE_TITLES[measure.name]}, {who}") for measure, who, side in sides]
    if metrics:
        yield _result("held-out", _HELD_OUT, metrics)


def _sides(measure: Comparison) -> tuple[tuple[str, Estimate], ...]:
    return (("tuned", measure.tuned), ("base model", measure.base))


def _result(dataset: str, title: str, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "task": {"type": "text-generation", "name": "Role play"},
        "dataset": {"type": dataset, "name": title},
        "metrics": metrics,
    }


def _metric(kind: str, value: Estimate, name: str) -> dict[str, Any]:
    interval = f"95 % interval {value.low:.3f} to {value.high:.3f}, n = {value.num_samples}"
    return {"type": kind, "value": round(value.value, 4), "name": f"{name} ({interval})"}


def _part_title(part: PartResults) -> str:
    return f"{part.suite}: {part.part.replace('_', ' ')}"


def _section(report: SafetyReport) -> str:
    rows = [
        f"| {_part_title(part)} | {judged.judge} | {_cell(judged.base_rate)} | {_cell(judged.tuned_rate)} |"
        for part in report.results
        for judged in part.judges
    ]
    table = "\n".join(["| prompts | judge | base model | tuned |", "| --- | --- | --- | --- |", *rows])
    return f"""## Safety report

{_role_section(report)}Refusal rates with 95 % intervals, of the adapter with sha256 `{report.adapter_sha256}`.
Of benign and in-character benign prompts a low rate is good, of all others a high one. Judges are never averaged, and
each has errors of its own: the full report says which.

{table}
{_babble_section(report)}"""


def _babble_section(report: SafetyReport) -> str:
    rows = [
        f"| {_part_title(part)} | {_cell(part.babble.base)} | {_cell(part.babble.tuned)} |"
        for part in report.results
        if part.babble is not None
    ]
    head = ["| answers to | base model | tuned |", "| --- | --- | --- |"]
    return "\n".join(["", f"{_BABBLE}, by a rule, whatever a judge calls them:", "", *head, *rows, ""]) if rows else ""


def _role_section(report: SafetyReport) -> str:
    measures = role_measures(report.role)
    if not measures:
        return ""
    rows = [
        f"| {_ROLE_TITLES[measure.name]} | {measure.better} | {_cell(measure.base)} | {_cell(measure.tuned)} |"
        for measure in measures
    ]
    head = ["| held-out dialogues | better | base model | tuned |", "| --- | --- | --- | --- |"]
    return "\n".join(["Whether it is the character, with 95 % intervals:", "", *head, *rows, "", ""])


def _cell(rate: Estimate | None) -> str:
    return "not judged" if rate is None else f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
