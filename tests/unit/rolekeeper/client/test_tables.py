from __future__ import annotations

import io

from rich.console import Console

from rolekeeper.client.tables import jobs_table
from rolekeeper.contracts.jobs import Method, Status
from tests.unit.rolekeeper.client.samples import make_job


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
