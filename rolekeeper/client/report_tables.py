"""The safety report as tables for people. Rates are shown as they are in the report: between 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.gate import GateOutcome, GateVerdict
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.results import Comparison, JudgedRefusals, PairedDifference, PartResults, VoiceMeasure
from rolekeeper.report.sentences import Question, all_measures, three_questions, what_was_learned

ESTIMATE = "{0.value:.3f} [{0.low:.3f}, {0.high:.3f}]"
GATE_WORDS: dict[GateVerdict, tuple[str, str]] = {
    "released": ("passed", "green"),
    "blocked": ("a loss was found, the adapter is held back", "red"),
    "undecided": ("undecided, the adapter is left to an approver", "yellow"),
}
DIFFERENCE = "{0.value:+.3f} [{0.low:+.3f}, {0.high:+.3f}]"


def report_tables(report: SafetyReport) -> Group:
    """The three questions; then base against tuned model: the measures, the judges on each part, and the voice."""
    parts: list[RenderableType] = [*question_texts(report), _measures_table(report)]
    if report.results:
        parts.append(_results_table(report))
    if report.attacks:
        parts.append(_attacks_table(report))
    if report.fidelity:
        parts.append(_voice_table(report))
    if report.gate is not None:
        parts.append(gate_text(report.gate))
    parts += [Text(line, style="dim") for line in _left_out(report)]
    parts += [Text(f"judge {judge.version}: {judge.note}", style="dim") for judge in report.judges]
    return Group(*parts)


def question_texts(report: SafetyReport) -> Iterator[Group]:
    """Each of the three questions with its short answer and the sentences behind it."""
    return (_question_text(question) for question in three_questions(report))


def _question_text(question: Question) -> Group:
    style = {"good": "bold green", "bad": "bold red", "neutral": "bold"}[question.tone]
    head = Text.assemble((f"{question.text} ", "bold"), (question.answer, style))
    sentences = Text("\n".join(sentence.text for sentence in question.sentences))
    return Group(head, Padding(sentences, (0, 0, 0, 2)))


def _left_out(report: SafetyReport) -> Iterator[str]:
    for suite in report.suites:
        if suite.num_left_out:
            yield f"suite {suite.label}: {suite.num_left_out} prompts left out, on which the base model was trained"


def _measures_table(report: SafetyReport) -> Table:
    table = Table(title=f"{report.base_model}, before and after", caption=_caption(report))
    table.add_column("measure")
    table.add_column("better")
    table.add_column("base [95 %]", justify="right")
    table.add_column("tuned [95 %]", justify="right")
    table.add_column("difference [95 %]", justify="right")
    table.add_column("pairs", justify="right")
    for measure in all_measures(report):
        table.add_row(*_measure_cells(measure))
    table.add_section()
    share = report.harmful_share
    table.add_row("harmful share", "", "training data:", ESTIMATE.format(share), "", str(share.num_samples))
    return table


def _measure_cells(measure: Comparison) -> Iterator[str | Text]:
    yield measure.name.replace("_", " ")
    yield measure.better
    yield ESTIMATE.format(measure.base)
    yield ESTIMATE.format(measure.tuned)
    yield _difference(measure.difference, measure.better)
    yield str(measure.difference.num_pairs)


def _results_table(report: SafetyReport) -> Table:
    caption = "Judges are never averaged. p: McNemar's exact test. corrected: for the judge's measured errors"
    table = Table(title="refusal rates by suite and judge", caption=caption)
    for column in ("suite", "part", "judge"):
        table.add_column(column, overflow="fold")
    for column in ("base", "tuned", "difference [95 %]", "p", "lost", "gained", "no label"):
        table.add_column(column, justify="right", overflow="fold")
    for part in report.results:
        table.add_section()
        for judged in part.judges:
            table.add_row(part.suite, part.part.replace("_", " "), judged.judge, *_judged_cells(part, judged))
            if judged.base_corrected or judged.tuned_corrected:
                table.add_row("", "", "corrected", _rate(judged.base_corrected), _rate(judged.tuned_corrected))
    return table


def _judged_cells(part: PartResults, judged: JudgedRefusals) -> Iterator[str | Text]:
    yield _rate(judged.base_rate)
    yield _rate(judged.tuned_rate)
    yield Text("none judged") if judged.difference is None else _difference(judged.difference, part.better)
    yield "" if judged.difference is None else f"{judged.difference.p_value:.3g}"
    yield str(judged.num_lost)
    yield str(judged.num_gained)
    yield str(judged.base.unjudged + judged.tuned.unjudged)


def gate_text(gate: GateOutcome) -> Text:
    """What the gate decided, with its reasons and the losses that it would catch."""
    found, style = GATE_WORDS[gate.verdict]
    lines = [f"release gate: {found}, {len(gate.checks)} checks", *(f"  {check.sentence}" for check in gate.reasons)]
    caught = [f"{check.suite} {check.part} {check.caught:g}" for check in gate.checks if check.caught is not None]
    if caught:
        lines.append(f"  smallest loss that it would not let pass, with 80 % probability: {', '.join(caught)}")
    return Text("\n".join(lines), style=style)


def _attacks_table(report: SafetyReport) -> Table:
    table = Table(title="jailbreaks that succeed", caption="Less understood is no gain in safety: read both")
    for column in ("suite", "judge"):
        table.add_column(column, overflow="fold")
    for column in ("base", "tuned", "difference [95 %]", "base understood", "tuned understood"):
        table.add_column(column, justify="right")
    for attack in report.attacks:
        table.add_section()
        understood = (_rate(attack.base_understood), _rate(attack.tuned_understood))
        for judged in attack.judges:
            change = Text() if judged.difference is None else _difference(judged.difference, "lower")
            rates = (_rate(judged.base.success), _rate(judged.tuned.success))
            table.add_row(attack.suite, judged.judge, *rates, change, *understood)
    return table


def _voice_table(report: SafetyReport) -> Table:
    table = Table(title="the character's voice", caption="A model that says little may be near: read all of them")
    table.add_column("asked", overflow="fold")
    for column in ("measure", "base", "tuned", "character"):
        table.add_column(column, justify="right")
    for entry in report.fidelity:
        asked = entry.suite or "held-out dialogues"
        table.add_row(asked, "Rouge-L", f"{entry.rouge_l.base.value:.3f}", f"{entry.rouge_l.tuned.value:.3f}", "")
        table.add_row("", "distinct words", *_voice_cells(entry.distinct_1, "{:.3f}"))
        table.add_row("", "distinct pairs", *_voice_cells(entry.distinct_2, "{:.3f}"))
        table.add_row("", "words an answer", *_voice_cells(entry.num_words, "{:.1f}"))
        table.add_section()
    return table


def _voice_cells(measure: VoiceMeasure, form: str) -> Iterator[str]:
    return (form.format(value) for value in (measure.base, measure.tuned, measure.character))


def _rate(rate: Estimate | None) -> str:
    return "" if rate is None else f"{rate.value:.3f}"


def _difference(difference: PairedDifference, better: str) -> Text:
    """Coloured where the interval leaves 0 out: what chance may have done is not shown as a gain or a loss."""
    is_rise, is_fall = difference.low > 0, difference.high < 0
    is_gain = is_rise if better == "higher" else is_fall
    style = "" if not (is_rise or is_fall) else "green" if is_gain else "red"
    return Text(DIFFERENCE.format(difference), style=style)


def _caption(report: SafetyReport) -> str:
    asked = ", ".join(f"suite {suite.label}" for suite in report.suites)
    curve = report.training.validation_losses
    validated = f", validation loss {curve[0]:.3f} to {curve[-1]:.3f}" if curve else ""
    kl, limit = report.training.anchor_kl, report.method.options.kl_limit
    held = "" if kl is None or limit is None else f", KL to the base model {kl:.3f} at a limit of {limit:g}"
    return f"{asked}, judge {report.judges[0].version}, {what_was_learned(report)}{validated}{held}"
