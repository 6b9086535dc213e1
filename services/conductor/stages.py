"""The two stages that the conductor runs: score and evaluate. Each reads top to bottom."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, NamedTuple, TypeVar

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.checks import EvaluationCheck
from rolekeeper.contracts.jobs import Job, Progress
from rolekeeper.contracts.suites import SuiteRequest, suite_file_key
from rolekeeper.contracts.verdicts import MAX_ITEMS, MAX_SOURCE_TOKENS, VerdictItem, VerdictRequest, VerdictResponse
from rolekeeper.jobs.claims import Outcome, Work
from rolekeeper.jobs.holding import Holding
from rolekeeper.policy import StatedPolicy
from services.conductor.gate.decide import pass_through_gate
from services.conductor.held_out import read_questions, split_held_out
from services.conductor.manifest import read_training
from services.conductor.remote import Remote
from services.conductor.report import AskedSuite, ReportInputs, build_report, held_out_items, suite_items
from services.conductor.scores import (
    Chosen,
    Drafted,
    choose_anchored,
    choose_harmful,
    publish_scores,
    read_dialogues,
    read_scored,
    score_request,
    to_line,
)

# A chunk takes seconds on a CPU: progress moves, a cancelled job stops soon, and a call never outlives its timeout.
SCORE_CHUNK = 32
VERDICT_CHUNK = 32
VERDICT_TOKENS = 8192
"""A chunk of verdicts is larger where answers are short, so that it has enough of them to fill the machine."""

Item = TypeVar("Item")


class Questions(NamedTuple):
    """What is asked of both models: the prompts of all suites, and then the held-out dialogues."""

    prompts: Sequence[VerdictItem]
    held_out: Sequence[VerdictItem]


class _Limits(NamedTuple):
    """Tokens of a prompt, and of the character's own response where that is measured."""

    source: int
    reference: int | None


class Meter:
    """Counts what is done and estimates the time that is left."""

    def __init__(self, total: int, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = time.monotonic()

    def advance(self, count: int) -> Progress:
        """Progress after `count` more."""
        self._done += count
        elapsed = time.monotonic() - self._started
        eta_seconds = elapsed / self._done * (self._total - self._done)
        return Progress(done=self._done, total=self._total, unit=self._unit, eta_seconds=round(eta_seconds, 1))


def score(holding: Holding, store: Store, scorer: Remote) -> None:
    """Score every dialogue of the character, choose which ones are anchored, and keep the scores as JSON lines."""
    job, sha256 = holding.work.job, holding.work.dialogues_sha256
    questions = read_questions(read_dialogues(store, sha256))
    held_out = split_held_out(questions, job.evaluation.held_out_share, split_seed(job))
    meter = Meter(questions.num_dialogues, "samples")
    with tempfile.TemporaryFile() as draft:
        drafted = score_all(holding, scorer, read_dialogues(store, sha256), meter, draft)
        harmful = choose_harmful(job.method, drafted)
        selected = choose_anchored(job, harmful, held_out)
        artifact = publish_scores(store, draft, Chosen(harmful, held_out, selected))
    message = (
        f"scored {len(harmful)} samples, {sum(harmful)} of them harmful for this role; "
        f"training anchors {len(selected)} of {len(harmful) - len(held_out)}"
    )
    share = sum(harmful) / len(harmful)
    warning = warning_of_cuts(sum(drafted.truncated), job.hyperparameters.max_response_tokens)
    holding.succeed(Outcome(ArtifactKind.SCORES, artifact, message, harmful_share=share, warning=warning))


def warning_of_cuts(num_truncated: int, limit: int) -> str | None:
    """What to tell about responses over the limit: training learns them without their end, and never that they end."""
    if not num_truncated:
        return None
    samples = "1 sample has" if num_truncated == 1 else f"{num_truncated} samples have"
    return (
        f"{samples} a response of more than max_response_tokens = {limit} tokens: it is learned up to there, without "
        "its end of turn, so the character may learn not to end; raise the limit in a new job to learn it whole"
    )


def split_seed(job: Job) -> int:
    """Return the seed that chooses the held-out dialogues: its own, or else that of training."""
    own = job.evaluation.split_seed
    return job.hyperparameters.seed if own is None else own


def score_all(
    holding: Holding, scorer: Remote, dialogues: Iterable[Dialogue], meter: Meter, draft: IO[bytes]
) -> Drafted:
    """Write the score of each dialogue to `draft`, a line each. Returns flags and margins."""
    drafted = Drafted(bytearray(), array("d"), bytearray())
    for chunk in chunks(dialogues, SCORE_CHUNK):
        for sample in scorer.score(score_request(holding.work, chunk)).scores:
            numbered = sample.model_copy(update={"index": len(drafted.harmful)})
            draft.write(to_line(numbered))
            drafted.harmful.append(sample.harmful)
            drafted.margins.append(sample.margin)
            drafted.truncated.append(sample.truncated)
        holding.report(meter.advance(len(chunk)))
    return drafted


def evaluate(holding: Holding, store: Store, evaluator: Remote, policy: StatedPolicy) -> None:
    """Ask the base and the tuned model the same prompts, judge the answers, and write the safety report.

    The gate goes by the `policy` of the deployment beside the job's own words.
    """
    work, job = holding.work, holding.work.job
    suites = ask_for_suites(work, evaluator)
    scored = read_scored(store, work)
    adapter_sha256 = work.artifacts[ArtifactKind.ADAPTER].sha256
    training = read_training(store, adapter_sha256)
    held_out = held_out_items(scored.held_out, job.hyperparameters.context)
    questions = Questions([item for suite in suites for item in suite.items], held_out)
    num_answers = 2 * (len(questions.prompts) + len(questions.held_out))
    meter = Meter(num_answers, "answers")
    base = ask(holding, evaluator, questions, None, meter)
    tuned = ask(holding, evaluator, questions, adapter_sha256, meter)
    report = build_report(ReportInputs(work, suites, held_out, scored, training, base, tuned))
    report = pass_through_gate(report, policy)
    artifact = store.put(report.model_dump_json(indent=1).encode())
    message = f"judged {num_answers} answers and wrote the report"
    holding.succeed(Outcome(ArtifactKind.REPORT, artifact, message, gate=report.gate))


def check_evaluation(work: Work, evaluator: Remote) -> None:
    """Ask whether every suite, attack and judge of the job can be had. Raises StageFailed, which says what is missing.

    This comes before scoring: what is missing is better heard of before training is paid for.
    """
    evaluator.check_evaluation(EvaluationCheck(suites=suite_requests(work), judges=work.job.evaluation.judges))


def ask_for_suites(work: Work, evaluator: Remote) -> list[AskedSuite]:
    """The prompts of every suite of the job, as what is asked of its character."""
    name, trained = work.profile.name, work.job.hyperparameters.context
    asked = []
    for request in suite_requests(work):
        suite = evaluator.suite(request)
        asked.append(AskedSuite(request.choice, suite, suite_items(request.choice, suite, name, trained)))
    return asked


def suite_requests(work: Work) -> tuple[SuiteRequest, ...]:
    """What to ask the evaluator for, one for each suite of the job."""
    options = work.job.evaluation
    return tuple(
        SuiteRequest(
            choice=choice,
            seed=options.seed,
            base_model=work.job.base_model,
            character=work.profile.name,
            file_sha256=None if choice.file is None else work.files[suite_file_key(choice.file)],
        )
        for choice in options.suites
    )


def ask(
    holding: Holding, evaluator: Remote, questions: Questions, adapter_sha256: str | None, meter: Meter
) -> VerdictResponse:
    """Verdicts on all items, asked in chunks, with the base model or with the adapter on it."""
    evaluation = holding.work.job.evaluation
    hyper = holding.work.job.hyperparameters
    answers: list[VerdictResponse] = []
    # Held-out dialogues are cut as in training. A suite's prompt is asked whole: attacks are longer than that allows.
    limits = (_Limits(MAX_SOURCE_TOKENS, None), _Limits(hyper.max_source_tokens, hyper.max_response_tokens))
    size = max(VERDICT_CHUNK, min(MAX_ITEMS, VERDICT_TOKENS // evaluation.max_new_tokens))
    pieces = ((limit, chunk) for limit, items in zip(limits, questions, strict=True) for chunk in chunks(items, size))
    for limit, chunk in pieces:
        request = VerdictRequest(
            base_model=holding.work.job.base_model,
            profile=holding.work.profile,
            adapter_sha256=adapter_sha256,
            items=tuple(chunk),
            judges=evaluation.judges,
            decoding=evaluation.decoding,
            max_new_tokens=evaluation.max_new_tokens,
            max_source_tokens=limit.source,
            max_reference_tokens=limit.reference,
        )
        answers.append(evaluator.verdicts(request))
        holding.report(meter.advance(len(chunk)))
    verdicts = tuple(verdict for answer in answers for verdict in answer.verdicts)
    return answers[0].model_copy(update={"verdicts": verdicts})


def chunks(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in pieces of at most `size`."""
    source = iter(items)
    while piece := tuple(islice(source, size)):
        yield piece
