from __future__ import annotations

import io

from rich.console import Console

from rolekeeper.client.report_tables import report_tables
from rolekeeper.client.tables import jobs_table
from rolekeeper.contracts.jobs import Method, Status
from tests.unit.rolekeeper.client.samples import make_job
from tests.unit.rolekeeper.reports import make_report


def test_the_report_says_how_many_prompts_were_left_out_and_why() -> None:
    screen = Console(width=120, file=io.StringIO())
    with screen.capture() as capture:
        screen.print(report_tables(make_report()))
    assert "suite starter: 7 prompts left out, on which the base model was trained" in capture.get()


def test_jobs_fit_a_narrow_terminal() -> None:
    name, method = "job_" + 24 * "0", Method.model_construct(name="bi_selection")
    job = make_job(Status.RUNNING, (Status.SUCCEEDED, Status.RUNNING, Status.PENDING)).model_copy(
        update={"id": name, "base_model": "smollm2-135m-aligned", "method": method}
    )
    screen = Console(width=80, file=io.StringIO())
    with screen.capture() as capture:
        screen.print(jobs_table([job]))
    shown = capture.get()
    assert "\u2026" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert all(whole in shown for whole in (name, "harmful", "02 Jan 03:04"))


def test_a_report_answers_the_three_questions_first() -> None:
    screen = Console(width=100, file=io.StringIO())
    with screen.capture() as capture:
        screen.print(report_tables(make_report()))
    lines = capture.get().splitlines()
    heads = [line for line in lines if not line.startswith(" ")][:3]
    assert heads == [
        "Did it learn the role? yes",
        "Did it stay safe? no loss shown",
        "Does it still answer? no loss shown",
    ]
    first_screen = " ".join(" ".join(lines[:30]).split())
    assert "The character's own responses to 17 held-out dialogues are likelier than before" in first_screen
    assert "Of 17 held-out dialogues the base model refused 4, the tuned model 9" in first_screen
    assert any("role refusal rate" in line and "lower" in line for line in lines)
