"""The safety report, with numbers computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.characters import Context, Dialogue, Message, RoleProfile
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import AskedHyperparameters, Hyperparameters, Job, Method, Stage, StageName, Status
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.results import Comparison
from rolekeeper.contracts.suites import Part, Suite, SuiteChoice, SuitePrompt
from rolekeeper.contracts.training import TrainingRecord
from rolekeeper.contracts.verdicts import (
    Judgement,
    JudgeUsed,
    Label,
    ReferenceVerdict,
    Verdict,
    VerdictResponse,
)
from rolekeeper.errors import StageFailed, StageInterrupted
from rolekeeper.jobs.claims import Work
from services.conductor.report import (
    AskedSuite,
    ReportInputs,
    build_report,
    held_out_items,
    suite_items,
)
from services.conductor.scores import Scored

CREATED = datetime(2026, 1, 2, tzinfo=UTC)
STARTED = CREATED + timedelta(minutes=3)
PHRASES = JudgeUsed(name="phrases", version="phrases@1", note="a lower bound")
PARTS = [Part.HARMFUL] * 4 + [Part.BENIGN] * 2 + [Part.IN_CHARACTER] * 2 + [Part.IN_CHARACTER_BENIGN] * 2
SUITE = Suite(
    name="starter",
    sha256="5" * 64,
    licence="MIT",
    source="here",
    num_total=20,
    num_left_out=3,
    prompts=tuple(
        SuitePrompt(id=f"{part}-{number}", part=part, category="fraud", prompt=f"{{name}}, prompt {number}")
        for number, part in enumerate(PARTS)
    ),
)
DIALOGUES = [
    Dialogue(
        messages=(
            Message(role="user", content=f"Question {number}?"),
            Message(role="assistant", content="Well met."),
            Message(role="user", content=f"More {number}?"),
            Message(role="assistant", content=f"Answer {number}."),
        )
    )
    for number in (1, 2)
]
CHOICE = SuiteChoice(name="starter", max_prompts=10)
ASKED = AskedSuite(CHOICE, SUITE, suite_items(CHOICE, SUITE, "Isaura Kell"))
HELD_OUT = held_out_items(DIALOGUES, Context.PLAIN)
ITEMS = [*ASKED.items, *HELD_OUT]
TRAINING = TrainingRecord(
    hyperparameters=Hyperparameters(epochs=2, learning_rate=1e-4, validation_share=0.2),
    num_steps=4,
    first_loss=3.0,
    last_loss=2.0,
    validation_losses=(2.5, 2.25),
)


def make_work() -> Work:
    stages = [Stage(name=name, status=Status.RUNNING, attempt=1, started_at=STARTED) for name in StageName]
    job = Job(
        id="job_1",
        status=Status.RUNNING,
        character="char_1",
        base_model="tiny",
        method=Method(),
        hyperparameters=AskedHyperparameters(epochs="auto", learning_rate="auto", validation_share=0.2),
        evaluation=EvaluationOptions(),
        stages=tuple(stages),
        cancel_requested=False,
        created_at=CREATED,
    )
    artifacts = {
        ArtifactKind.SCORES: Artifact(sha256="c" * 64, bytes=1),
        ArtifactKind.ADAPTER: Artifact(sha256="a" * 64, bytes=1),
    }
    return Work(job, RoleProfile(name="Isaura Kell", profile="A keeper."), "d" * 64, artifacts, None)


def make_reference(who: str) -> ReferenceVerdict:
    judgement = Judgement(label=Label.COMPLIED)
    return ReferenceVerdict(log_prob=-4.0 if who == "base" else -3.5, num_tokens=4, judgement=judgement)


def make_response(refused: str, fidelities: tuple[float, float], who: str) -> VerdictResponse:
    """`refused` has one letter for each item of the suite, R or a dot."""
    outcomes = [(letter == "R", None) for letter in refused] + [(False, fidelity) for fidelity in fidelities]
    return VerdictResponse(
        base_model="tiny",
        base_digest="b" * 64,
        adapter_sha256=None if who == "base" else "a" * 64,
        judges=(PHRASES,),
        decoding="greedy, max_new_tokens=64",
        software={"torch": "2.13.0"},
        verdicts=tuple(
            Verdict(
                id=item.id,
                response=f"{who} {item.id}",
                judgements={"phrases": Judgement(label=Label.REFUSED if refused else Label.COMPLIED)},
                fidelity=fidelity,
                babble=False,
                reference=None if fidelity is None else make_reference(who),
            )
            for item, (refused, fidelity) in zip(ITEMS, outcomes, strict=True)
        ),
    )


BASE = make_response("RRR.R.R...", (0.1, 0.3), "base")
TUNED = make_response("RR....RRR.", (0.4, 0.8), "tuned")


def make_inputs(base: VerdictResponse = BASE, tuned: VerdictResponse = TUNED) -> ReportInputs:
    scored = Scored(num_samples=10, num_harmful=2, held_out=tuple(DIALOGUES))
    return ReportInputs(make_work(), [ASKED], HELD_OUT, scored, TRAINING, base, tuned)


def judged(response: str, label: Label) -> dict[str, object]:
    judgements = {"phrases": {"label": label, "note": None}}
    return {
        "response": response,
        "judgements": judgements,
        "decoded": None,
        "understood": None,
        "babble": False,
        "own_log_prob": None,
    }


def measure(report: SafetyReport, name: str) -> Comparison:
    return next(comparison for comparison in report.measures if comparison.name == name)


def test_rates_and_differences() -> None:
    report = build_report(make_inputs())
    values = {m.name: (m.base.value, m.tuned.value, m.difference.value, m.better) for m in report.measures}
    assert values == {
        "refusal_rate": (0.75, 0.5, -0.25, "higher"),
        "over_refusal_rate": (0.5, 0.0, -0.5, "lower"),
        "in_character_refusal_rate": (0.5, 1.0, 0.5, "higher"),
        "in_character_over_refusal_rate": (0.0, 0.5, 0.5, "lower"),
        "lookalike_babble_rate": (0.0, 0.0, 0.0, "lower"),
        "in_character_babble_rate": (0.0, 0.0, 0.0, "lower"),
        "role_fidelity": (pytest.approx(0.2), pytest.approx(0.6), pytest.approx(0.4), "higher"),
    }
    assert [m.base.num_samples for m in report.measures] == [4, 2, 2, 2, 2, 2, 2]


def test_rates_have_the_wilson_interval() -> None:
    """3 of 4: centre (0.75 + z2/8) / (1 + z2/4), half-width z sqrt(0.75 * 0.25 / 4 + z2/64) / (1 + z2/4)."""
    rate = measure(build_report(make_inputs()), "refusal_rate").base
    assert (rate.low, rate.high) == pytest.approx((0.300642, 0.954413), abs=1e-6)


def test_the_harmful_share_is_of_all_scored_dialogues() -> None:
    """2 of 10: centre 0.283260, half-width 0.226578."""
    report = build_report(make_inputs())
    share = report.harmful_share
    assert (share.value, share.num_samples) == (0.2, 10)
    assert (share.low, share.high) == pytest.approx((0.056682, 0.509838), abs=1e-6)
    assert (report.num_training_samples, report.num_held_out) == (8, 2)


def test_the_report_names_what_it_was_made_from() -> None:
    report = build_report(make_inputs())
    assert (report.job, report.character, report.base_model) == ("job_1", "char_1", "tiny")
    assert (report.base_digest, report.adapter_sha256) == ("b" * 64, "a" * 64)
    assert (report.dialogues_sha256, report.scores_sha256) == ("d" * 64, "c" * 64)
    (suite,) = report.suites
    assert (suite.label, suite.sha256, suite.num_prompts, suite.num_total) == ("starter", "5" * 64, 10, 20)
    assert suite.num_left_out == 3
    assert (report.judges, report.decoding) == ((PHRASES,), "greedy, max_new_tokens=64")
    assert (report.character_name, report.software) == ("Isaura Kell", {"torch": "2.13.0"})
    assert report.created_at == STARTED


def test_the_report_says_what_was_asked_for_and_how_it_was_trained() -> None:
    report = build_report(make_inputs())
    assert (report.hyperparameters.epochs, report.training.hyperparameters.epochs) == ("auto", 2)
    assert report.training.validation_losses == (2.5, 2.25)
    assert SafetyReport.model_validate_json(report.model_dump_json()) == report


def test_all_answers_are_in_the_report() -> None:
    answers = build_report(make_inputs()).answers
    assert [answer.id for answer in answers] == [item.id for item in ITEMS]
    assert answers[4].model_dump() == {
        "id": "starter:benign-4",
        "suite": "starter",
        "part": "benign",
        "category": "fraud",
        "prompt": "{name}, prompt 4",
        "goal": None,
        "base": judged("base starter:benign-4", Label.REFUSED),
        "tuned": judged("tuned starter:benign-4", Label.COMPLIED),
        "own": None,
    }
    assert (answers[-1].part, answers[-1].category, answers[-1].prompt) == ("held_out", "dialogue", "More 2?")


def test_the_role_is_measured_on_the_held_out_dialogues() -> None:
    report = build_report(make_inputs())
    assert report.role is not None
    assert report.role.log_likelihood is not None
    assert (report.role.num_held_out, report.role.log_likelihood.difference.value) == (2, 0.5)
    last = report.answers[-1]
    assert (last.base.own_log_prob, last.tuned.own_log_prob) == (-4.0, -3.5)
    assert last.own == Judgement(label=Label.COMPLIED)


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert build_report(make_inputs()).model_dump_json() == build_report(make_inputs()).model_dump_json()


def test_without_held_out_dialogues_there_is_no_fidelity() -> None:
    base, tuned = (response.model_copy(update={"verdicts": response.verdicts[:10]}) for response in (BASE, TUNED))
    inputs = ReportInputs(make_work(), [ASKED], [], Scored(2, 2, ()), TRAINING, base, tuned)
    report = build_report(inputs)
    assert [m.name for m in report.measures] == [
        "refusal_rate",
        "over_refusal_rate",
        "in_character_refusal_rate",
        "in_character_over_refusal_rate",
        "lookalike_babble_rate",
        "in_character_babble_rate",
    ]
    assert (report.num_held_out, report.role) == (0, None)


def test_each_part_of_the_suite_has_its_results_and_the_dialogues_theirs() -> None:
    report = build_report(make_inputs())
    assert [(part.suite, part.part, part.better, part.num_prompts) for part in report.results] == [
        ("starter", "harmful", "higher", 4),
        ("starter", "benign", "lower", 2),
        ("starter", "in_character", "higher", 2),
        ("starter", "in_character_benign", "lower", 2),
    ]
    assert report.results[0].judges[0].num_lost == 1
    assert [(entry.suite, entry.rouge_l.base.num_samples) for entry in report.fidelity] == [(None, 2)]


def test_answers_that_the_first_judge_could_not_judge_are_in_no_measure() -> None:
    unjudged = TUNED.verdicts[0].model_copy(
        update={"judgements": {"phrases": Judgement(label=None, note="it is down")}}
    )
    report = build_report(make_inputs(tuned=TUNED.model_copy(update={"verdicts": (unjudged, *TUNED.verdicts[1:])})))
    rate = measure(report, "refusal_rate")
    assert (rate.base.value, rate.tuned.value) == pytest.approx((2 / 3, 1 / 3))
    assert rate.difference.num_pairs == 3
    assert report.results[0].judges[0].num_unpaired == 1


def test_verdicts_on_other_items_are_refused() -> None:
    short = TUNED.model_copy(update={"verdicts": TUNED.verdicts[1:]})
    with pytest.raises(StageFailed, match="not those of the items"):
        build_report(make_inputs(tuned=short))


@pytest.mark.parametrize(
    "change",
    [
        {"base_digest": "e" * 64},
        {"judges": (PHRASES.model_copy(update={"version": "phrases@2"}),)},
        {"decoding": "sampled"},
        {"software": {"torch": "9.9"}},
    ],
)
def test_an_evaluator_that_changed_half_way_is_asked_again(change: dict[str, object]) -> None:
    with pytest.raises(StageInterrupted, match="both are asked again") as caught:
        build_report(make_inputs(tuned=TUNED.model_copy(update=change)))
    assert caught.value.code == "evaluator_changed"
