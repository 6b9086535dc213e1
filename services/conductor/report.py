"""The safety report: what is asked of both models, and what their answers amount to. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.characters import Context, Dialogue, Message
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.jobs import StageName
from rolekeeper.contracts.report import AnswerPair, JudgedAnswer, SafetyReport, SuiteUsed
from rolekeeper.contracts.results import Comparison
from rolekeeper.contracts.suites import TO_THE_CHARACTER, Part, Suite, SuiteChoice, SuitePrompt
from rolekeeper.contracts.training import TrainingRecord
from rolekeeper.contracts.verdicts import Verdict, VerdictItem, VerdictResponse
from rolekeeper.errors import StageFailed, StageInterrupted
from rolekeeper.jobs.claims import Work
from services.conductor.attacks import attack_results
from services.conductor.fidelity import fidelities
from services.conductor.results import (
    Better,
    Pair,
    babble_measure,
    each_prompt_once,
    errors_of,
    judged_pairs,
    part_results,
    refusal_measure,
    share_estimate,
)
from services.conductor.role import role_results
from services.conductor.scores import Scored

HELD_OUT = "held_out"

_MEASURES: tuple[tuple[Part, str, str, Better], ...] = (
    (Part.HARMFUL, "refusal_rate", "Share of harmful requests refused", "higher"),
    (Part.BENIGN, "over_refusal_rate", "Share of harmless look-alike requests refused", "lower"),
    (
        Part.IN_CHARACTER,
        "in_character_refusal_rate",
        "Share of harmful requests refused, asked of the character under its role profile",
        "higher",
    ),
    (
        Part.IN_CHARACTER_BENIGN,
        "in_character_over_refusal_rate",
        "Share of harmless questions refused, asked of the character under its role profile",
        "lower",
    ),
)
_BABBLE = (
    (Part.BENIGN, "lookalike_babble_rate", "Share of answers to harmless look-alike requests that are no language"),
    (
        Part.IN_CHARACTER_BENIGN,
        "in_character_babble_rate",
        "Share of answers to harmless questions, asked of the character under its role profile, that are no language",
    ),
)


class AskedSuite(NamedTuple):
    """A suite and what is asked of it, in its order."""

    choice: SuiteChoice
    suite: Suite
    items: Sequence[VerdictItem]


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from. Verdicts are on the items of the suites, and then on the held-out dialogues."""

    work: Work
    suites: Sequence[AskedSuite]
    held_out: Sequence[VerdictItem]
    scored: Scored
    training: TrainingRecord
    base: VerdictResponse
    tuned: VerdictResponse


def suite_items(choice: SuiteChoice, suite: Suite, name: str, trained: Context = Context.PLAIN) -> list[VerdictItem]:
    """Return what to ask of the character `name`, in the context of the choice or else of each prompt's part.

    Role fidelity is asked as it was `trained`.
    """
    contexts = {**dict.fromkeys(TO_THE_CHARACTER, Context.ROLE), Part.ROLE_FIDELITY: trained}
    return [
        VerdictItem(
            id=f"{choice.label}:{prompt.id}",
            messages=(*prompt.turns, Message(role="user", content=_named(prompt, name))),
            context=choice.context or contexts.get(prompt.part, Context.PLAIN),
            references=prompt.references,
            goal=prompt.goal,
            encoding=prompt.encoding,
        )
        for prompt in suite.prompts
    ]


def _named(prompt: SuitePrompt, name: str) -> str:
    return prompt.prompt.replace("{name}", name) if prompt.part in TO_THE_CHARACTER else prompt.prompt


def held_out_items(dialogues: Sequence[Dialogue], context: Context) -> list[VerdictItem]:
    """Return the turns before each response, to be answered, with the response as reference."""
    return [
        VerdictItem(
            id=f"held-out-{number:03d}",
            messages=dialogue.messages[:-1],
            context=context,
            references=(dialogue.messages[-1].content,),
        )
        for number, dialogue in enumerate(dialogues, start=1)
    ]


def build_report(inputs: ReportInputs) -> SafetyReport:
    """Return the report. The same inputs give the same bytes: it is dated to the start of its evaluate stage.

    Raises:
        StageFailed: the verdicts are not those of the items.
        StageInterrupted: base and tuned answers were not made the same way.
    """
    _check(inputs)
    work, pairs = inputs.work, _pairs(inputs)
    started_at = next(stage.started_at for stage in work.job.stages if stage.name is StageName.EVALUATE)
    scored, num_held_out = inputs.scored, len(inputs.scored.held_out)
    judges, fidelity = [judge.name for judge in inputs.base.judges], fidelities(pairs)
    attacks = [(asked.choice.label, asked.suite.attack) for asked in inputs.suites if asked.suite.attack is not None]
    return SafetyReport(
        job=work.job.id,
        character=work.job.character,
        character_name=work.profile.name,
        created_at=started_at or work.job.created_at,
        base_model=inputs.base.base_model,
        base_digest=inputs.base.base_digest,
        adapter_sha256=work.artifacts[ArtifactKind.ADAPTER].sha256,
        dialogues_sha256=work.dialogues_sha256,
        scores_sha256=work.artifacts[ArtifactKind.SCORES].sha256,
        suites=tuple(_suite_used(asked) for asked in inputs.suites),
        judges=inputs.base.judges,
        decoding=inputs.base.decoding,
        software=inputs.base.software,
        num_training_samples=scored.num_samples - num_held_out,
        num_held_out=num_held_out,
        harmful_share=share_estimate(scored.num_harmful, scored.num_samples),
        method=work.job.method,
        hyperparameters=work.job.hyperparameters,
        training=inputs.training,
        evaluation=work.job.evaluation,
        measures=(*_measures(pairs, judges[0]), *(entry.rouge_l for entry in fidelity)),
        results=part_results(pairs, judges, errors_of(inputs.base.judges)),
        fidelity=fidelity,
        role=role_results([pair for pair in pairs if pair.part == HELD_OUT], judges[0]),
        attacks=attack_results(attacks, pairs, judges),
        points=scored.points,
        answers=tuple(_answer_pair(pair) for pair in pairs),
    )


def _check(inputs: ReportInputs) -> None:
    ids = [item.id for asked in inputs.suites for item in asked.items] + [item.id for item in inputs.held_out]
    for response in (inputs.base, inputs.tuned):
        if [verdict.id for verdict in response.verdicts] != ids:
            raise StageFailed("the evaluator's verdicts are not those of the items it was asked", code="bad_answer")
    base, tuned = inputs.base, inputs.tuned
    if _made_with(base) != _made_with(tuned):
        raise StageInterrupted(
            f"base answers were made with {_made_with(base)}, but tuned ones with {_made_with(tuned)}; both are asked "
            "again",
            code="evaluator_changed",
        )


def _made_with(response: VerdictResponse) -> str:
    versions = [judge.version for judge in response.judges]
    versions += [f"{name} {version}" for name, version in sorted(response.software.items())]
    return ", ".join([response.base_digest, *versions, response.decoding])


def _suite_used(asked: AskedSuite) -> SuiteUsed:
    suite = asked.suite
    return SuiteUsed(
        label=asked.choice.label,
        name=suite.name,
        sha256=suite.sha256,
        licence=suite.licence,
        source=suite.source,
        num_prompts=len(suite.prompts),
        num_total=suite.num_total,
        num_left_out=suite.num_left_out,
        attack=suite.attack,
    )


def _pairs(inputs: ReportInputs) -> list[Pair]:
    both = iter(zip(inputs.base.verdicts, inputs.tuned.verdicts, strict=True))
    pairs = []
    for asked in inputs.suites:
        for prompt, item in zip(asked.suite.prompts, asked.items, strict=True):
            place = (asked.choice.label, prompt.part.value, prompt.category)
            pairs.append(_pair(place, item, *next(both)))
    for item in inputs.held_out:
        pairs.append(_pair((None, HELD_OUT, "dialogue"), item, *next(both)))
    return pairs


def _pair(place: tuple[str | None, str, str], item: VerdictItem, base: Verdict, tuned: Verdict) -> Pair:
    reference = next(iter(item.references), None)
    *turns, prompt = item.messages
    return Pair(*place, prompt.content, reference, base, tuned, item.goal, item.context, tuple(turns))


def _measures(pairs: Sequence[Pair], judge: JudgeName) -> Iterator[Comparison]:
    """Refusals by one judge, where it judged answers, and babble. A prompt of several suites counts once."""
    distinct = each_prompt_once(pairs)
    for part, name, description, better in _MEASURES:
        chosen = judged_pairs((pair for pair in distinct if pair.part == part), judge)
        if chosen:
            yield refusal_measure(chosen, judge, name, description, better)
    for part, name, description in _BABBLE:
        babble = babble_measure((pair for pair in distinct if pair.part == part), name, description)
        if babble is not None:
            yield babble


def _answer_pair(pair: Pair) -> AnswerPair:
    return AnswerPair(
        id=pair.base.id,
        suite=pair.suite,
        part=pair.part,
        category=pair.category,
        prompt=pair.prompt,
        goal=pair.goal,
        base=_judged_answer(pair.base),
        tuned=_judged_answer(pair.tuned),
        own=None if pair.base.reference is None else pair.base.reference.judgement,
    )


def _judged_answer(verdict: Verdict) -> JudgedAnswer:
    return JudgedAnswer(
        response=verdict.response,
        judgements=verdict.judgements,
        decoded=verdict.decoded,
        understood=verdict.understood,
        babble=verdict.babble,
        own_log_prob=None if verdict.reference is None else verdict.reference.log_prob,
    )
