"""Releasing, withholding, the audit log, and a report made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekeeper.client.client import Client
from rolekeeper.client.comparison import differences
from rolekeeper.client.errors import ApiError
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import Status
from rolekeeper.contracts.release import Release, ReleaseStatus
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.results import Comparison
from rolekeeper.contracts.verdicts import Judgement, Label
from tests.unit.rolekeeper.client.api_server import ApiState, problem
from tests.unit.rolekeeper.client.samples import make_job
from tests.unit.rolekeeper.client.test_cli import DONE, lines, run
from tests.unit.rolekeeper.reports import make_report

WITHHELD = Release(status=ReleaseStatus.WITHHELD, reasons=("the refusal rate fell",))

AGAIN = DONE.model_copy(update={"id": "job_2", "evaluates": "job_1"})


def changed(report: SafetyReport) -> SafetyReport:
    """Another answer of the tuned model, and another verdict on it."""
    first = report.answers[0]
    judgements = {**first.tuned.judgements, "phrases": Judgement(label=Label.DEFLECTED)}
    tuned = first.tuned.model_copy(update={"response": "Not today.", "judgements": judgements})
    answers = (first.model_copy(update={"tuned": tuned}), *report.answers[1:])
    return report.model_copy(update={"answers": answers})


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A report in a file."""
    path = tmp_path / "report.json"
    path.write_text(make_report().model_dump_json(), encoding="utf-8")
    return path


def test_release_and_withhold(api: ApiState) -> None:
    assert run(api, "release", "job_1", "--note", "looked at it").stdout == "job_1  adapter approved\n"
    assert run(api, "withhold", "job_1", "--note", "a complaint").stdout == "job_1  adapter withheld\n"
    assert lines(run(api, "release", "job_1", "--note", "x", "--json"))[0]["release"]["note"] == "x"
    assert run(api, "release", "job_1").exit_code == 2
    assert [json.loads(request.body) for request in api.requests[:2]] == [
        {"note": "looked at it"},
        {"note": "a complaint"},
    ]
    api.failures.append(lambda: problem(403, "this key lacks the scope safety:approve"))
    refused = run(api, "release", "job_1", "--note", "x")
    assert (refused.exit_code, "safety:approve" in refused.stderr) == (3, True)


def test_audit(api: ApiState) -> None:
    printed = run(api, "audit", "--limit", "2").stdout
    assert printed.count("adapter.released") == 2
    assert "looked at it" in printed
    assert [entry["id"] for entry in lines(run(api, "audit", "--job", "job_7", "--json", "--limit", "3"))] == [
        150,
        149,
        148,
    ]
    assert api.paths()[-1] == "GET /v1/audit?limit=3&job=job_7"


def test_all_pages_of_the_log(client: Client) -> None:
    assert [entry.id for entry in client.audit()] == list(range(150, 0, -1))


def test_watch_says_that_the_adapter_is_withheld(api: ApiState) -> None:
    api.states = [DONE.model_copy(update={"release": WITHHELD})]
    result = run(api, "watch", "job_1")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "job_1 succeeded, but its adapter is withheld",
        "  the refusal rate fell",
        "next: rolekeeper report job_1; an approver can let it out: rolekeeper release job_1 --note ...",
    ]


def test_watch_says_that_the_gate_could_not_tell(api: ApiState) -> None:
    undecided = WITHHELD.model_copy(update={"decided_by": "gate", "verdict": "undecided", "reasons": ("few prompts",)})
    api.states = [DONE.model_copy(update={"release": undecided})]
    assert run(api, "watch", "job_1").stdout.splitlines()[:2] == [
        "job_1 succeeded, but its adapter is withheld: the release gate could not tell whether it is safe",
        "  few prompts",
    ]


def test_a_withheld_adapter_is_not_downloaded(client: Client, api: ApiState, tmp_path: Path) -> None:
    api.failures.append(lambda: problem(409, "the adapter is withheld"))
    with pytest.raises(ApiError, match="the adapter is withheld"):
        client.download_adapter("job_1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_sends_what_is_set(client: Client, api: ApiState) -> None:
    job = client.evaluate("job_1", EvaluationOptions(max_new_tokens=32))
    assert (job.evaluates, job.evaluation.max_new_tokens) == ("job_1", 32)
    client.evaluate("job_1")
    assert [json.loads(request.body) for request in api.requests] == [{"max_new_tokens": 32}, {}]


def test_a_report_made_again_is_the_same(api: ApiState, stored: Path) -> None:
    api.states = [AGAIN]
    result = run(api, "evaluate", "--report", str(stored))
    assert result.exit_code == 0, result.stderr
    made = stored.with_name("job_2.report.json")
    assert result.stdout == f"the same: {len(make_report().answers)} pairs of answers and all their verdicts; {made}\n"
    assert SafetyReport.model_validate_json(made.read_bytes()) == make_report()
    sent = next(request for request in api.requests if request.path.endswith("/evaluate"))
    assert EvaluationOptions.model_validate_json(sent.body) == make_report().evaluation


def test_a_report_made_again_that_differs_says_where(api: ApiState, stored: Path, tmp_path: Path) -> None:
    api.states, api.report = [AGAIN], changed(make_report())
    result = run(api, "evaluate", "--report", str(stored), "--out", str(tmp_path / "new.json"))
    assert result.exit_code == 1
    name = make_report().answers[0].id
    assert result.stdout.splitlines() == [
        f"2 differences; {tmp_path / 'new.json'}",
        f"  {name}: another answer of the tuned model",
        f"  {name}: phrases calls the tuned model's answer deflected, not complied",
    ]
    api.seen = 0
    (found,) = lines(run(api, "evaluate", "--report", str(stored), "--json"))
    assert (found["job"], found["same"], len(found["differences"])) == ("job_2", False, 2)


def test_an_evaluation_that_fails_and_a_file_that_is_no_report(api: ApiState, stored: Path) -> None:
    api.states = [make_job(Status.FAILED, (Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED))]
    failed = run(api, "evaluate", "--report", str(stored))
    assert (failed.exit_code, "job_1 failed" in failed.stderr) == (1, True)
    stored.write_text("{}", encoding="utf-8")
    assert "no safety report" in run(api, "evaluate", "--report", str(stored)).stderr


def test_what_differs() -> None:
    report = make_report()
    assert differences(report, report.model_copy(update={"job": "job_9", "answers": report.answers})) == []
    other = report.model_copy(update={"base_digest": "f" * 64, "answers": report.answers[1:]})
    assert differences(report, other) == [
        f"base_digest: {report.base_digest} became {'f' * 64}",
        f"{report.answers[0].id}: is not in the new report",
    ]
    assert differences(other, report)[1:] == [f"{report.answers[0].id}: is not in the old report"]
    first = report.answers[0].model_copy(update={"prompt": "Another?"})
    moved = report.model_copy(update={"answers": (first, *report.answers[1:])})
    assert differences(report, moved) == [f"{first.id}: another prompt"]
    fewer = report.answers[0].base.model_copy(update={"judgements": {}})
    unjudged = report.answers[0].model_copy(update={"base": fewer})
    lost = differences(report, report.model_copy(update={"answers": (unjudged, *report.answers[1:])}))
    assert f"{first.id}: phrases calls the base model's answer nothing, not refused" in lost


def test_log_likelihoods_are_the_same_up_to_rounding_and_rates_exactly() -> None:
    report = make_report()
    assert report.role is not None
    assert report.role.log_likelihood is not None
    assert report.role.babble is not None

    def with_role(**update: object) -> SafetyReport:
        return report.model_copy(update={"role": report.role and report.role.model_copy(update=update)})

    def moved(measure: Comparison, step: float) -> Comparison:
        base = measure.base.model_copy(update={"value": measure.base.value + step})
        return measure.model_copy(update={"base": base})

    assert differences(report, with_role(log_likelihood=moved(report.role.log_likelihood, 5e-5))) == []
    (line,) = differences(report, with_role(log_likelihood=moved(report.role.log_likelihood, 2e-4)))
    assert line.startswith("role.log_likelihood: ")
    (line,) = differences(report, with_role(babble=moved(report.role.babble, 1 / 17)))
    assert line.startswith("role.babble: ")
    assert len(differences(report, report.model_copy(update={"role": None}))) == 5
    other = report.answers[0].base.model_copy(update={"own_log_prob": -2.0})
    answers = (report.answers[0].model_copy(update={"base": other}), *report.answers[1:])
    (line,) = differences(report, report.model_copy(update={"answers": answers}))
    assert "another log-prob of the character's own response by the base model" in line
