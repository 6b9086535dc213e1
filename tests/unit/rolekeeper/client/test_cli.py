"""The command line against a real HTTP server: output, exit codes, Ctrl-C, bars."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rolekeeper.client.cli import app
from rolekeeper.contracts.jobs import JobError, Progress, Status
from rolekeeper.report.render import render_page
from tests.unit.rolekeeper.client.api_server import ADAPTER, KEY, ApiState, problem
from tests.unit.rolekeeper.client.samples import make_job, make_scores, make_summary
from tests.unit.rolekeeper.reports import make_report

PENDING, QUEUED, RUNNING, SUCCEEDED = Status.PENDING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED
PROGRESS = Progress(done=40, total=66, unit="steps", eta_seconds=35.2, metrics={"loss": 2.104})
TRAINING = make_job(RUNNING, (SUCCEEDED, RUNNING, PENDING), PROGRESS)
DONE = make_job(SUCCEEDED, (SUCCEEDED, SUCCEEDED, SUCCEEDED))


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A character and its dialogues, as files."""
    character, dialogues = tmp_path / "character.json", tmp_path / "dialogues.jsonl"
    character.write_text(json.dumps({"name": "N", "profile": "P"}), encoding="utf-8")
    dialogues.write_text('{"messages": []}\n', encoding="utf-8")
    return [str(character), str(dialogues)]


def run(api: ApiState, *args: str, key: str = KEY) -> Result:
    """Run the command in this process, with the settings in the environment."""
    return CliRunner().invoke(app, args, env={"ROLEKEEPER_URL": api.url, "ROLEKEEPER_API_KEY": key, "COLUMNS": "200"})


def lines(result: Result) -> list[Any]:
    """The JSON lines on stdout. There is nothing else there."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_submit_says_how_to_go_on(api: ApiState, inputs: list[str]) -> None:
    result = run(
        api,
        "submit",
        *inputs,
        "--base-model",
        "tiny",
        "--method",
        "flip",
        "--turns",
        "all",
        "--epochs",
        "2",
        "--seed",
        "7",
    )
    assert result.exit_code == 0
    assert "rolekeeper watch job_1" in result.stdout
    assert "note: an empty line was ignored" in result.stderr
    assert api.paths() == ["POST /v1/files", "POST /v1/characters", "POST /v1/jobs"]
    assert json.loads(api.requests[2].body) == {
        "character": "char_1",
        "base_model": "tiny",
        "method": {"name": "flip", "turns": "all"},
        "hyperparameters": {"epochs": 2, "seed": 7},
    }


def test_submit_is_measured_by_what_a_file_says(api: ApiState, inputs: list[str], tmp_path: Path) -> None:
    evaluation = {"suites": [{"name": "starter"}, {"name": "xstest", "max_prompts": 50}], "judges": ["local"]}
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    assert run(api, "submit", *inputs, "--evaluation", str(path)).exit_code == 0
    assert json.loads(api.requests[2].body)["evaluation"] == evaluation


def test_submit_and_watch_for_a_script(api: ApiState, inputs: list[str]) -> None:
    api.states = [TRAINING, DONE]
    result = run(api, "submit", *inputs, "--watch", "--json")
    assert result.exit_code == 0
    assert [job["status"] for job in lines(result)] == ["running", "succeeded"]
    assert result.stderr == "note: an empty line was ignored\n"


def test_submit_for_a_script_prints_the_job(api: ApiState, inputs: list[str]) -> None:
    assert lines(run(api, "submit", *inputs, "--json"))[0]["id"] == "job_1"


def test_watch_prints_the_stages_where_there_is_no_terminal(api: ApiState) -> None:
    api.states = [TRAINING, DONE]
    result = run(api, "watch", "job_1")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "score succeeded",
        "train running, 40/66 steps, loss 2.1, 35 s left",
        "train succeeded",
        "evaluate succeeded",
    ]
    assert result.stdout == "job_1 succeeded; next: rolekeeper report job_1, rolekeeper download job_1\n"


@pytest.mark.parametrize(("status", "word"), [(Status.FAILED, "failed: loss is NaN"), (Status.CANCELLED, "cancelled")])
def test_watch_fails_with_the_job(api: ApiState, status: Status, word: str) -> None:
    job = make_job(status, (SUCCEEDED, status, PENDING))
    api.states = [job.model_copy(update={"error": JobError(code="diverged", message="loss is NaN")})]
    result = run(api, "watch", "job_1")
    assert result.exit_code == 1
    assert word in result.stderr


def test_the_report_as_a_page(api: ApiState, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run(api, "report", "job_1", "--html", str(page)).stdout.strip() == str(page)
    assert page.read_text(encoding="utf-8") == render_page(make_report())


def test_a_stored_report_needs_no_server(tmp_path: Path) -> None:
    source, page = tmp_path / "report.json", tmp_path / "report.html"
    source.write_text(make_report().model_dump_json(), encoding="utf-8")
    alone = partial(CliRunner().invoke, app, env={"ROLEKEEPER_URL": None, "ROLEKEEPER_API_KEY": None, "COLUMNS": "160"})
    assert alone(["report", "--from", str(source), "--html", str(page)]).exit_code == 0
    assert page.read_text(encoding="utf-8") == render_page(make_report())
    assert "harmful share" in alone(["report", "--from", str(source)]).stdout
    assert lines(alone(["report", "--from", str(source), "--json"]))[0]["job"] == "job_1"
    source.write_text('{"object": "safety_report"}', encoding="utf-8")
    unreadable = alone(["report", "--from", str(source)])
    assert (unreadable.exit_code, "Run the job again" in unreadable.stderr) == (1, True)
    assert alone(["report", "--from", str(tmp_path / "nothing.json")]).exit_code == 1
    for asked in (["report"], ["report", "job_1"], ["report", "job_1", "--from", str(source)]):
        assert alone(asked).exit_code == 2


def test_the_card_is_printed_as_it_is(api: ApiState) -> None:
    assert run(api, "card", "job_1").stdout == "---\ntags: []\n---\n# Isaura Kell\n"


def test_jobs_scores_report_and_cancel(api: ApiState) -> None:
    api.states, api.scores = [TRAINING], make_scores(4)
    listed = run(api, "jobs", "--limit", "2").stdout
    assert "train 40/66 steps" in listed
    assert "job_1" in listed
    assert len(lines(run(api, "jobs", "--limit", "120", "--json"))) == 120
    assert run(api, "scores", "job_1").stdout.count("harmful") == 1 + 2
    assert [score["harmful"] for score in lines(run(api, "scores", "job_1", "--json"))] == [True, False, False, True]
    report = run(api, "report", "job_1").stdout
    assert "0.950 [0.830, 0.986]" in report
    assert "-0.050" in report
    assert "harmful share" in report
    assert "2.250" in report
    assert "KL to the base model 0.021 at a limit of 0.02" in " ".join(report.split())
    assert "none judged" in report
    assert "held back, " in report
    assert "checks\n  starter, harmful: refusals fell" in report
    assert "21.5" in report
    assert lines(run(api, "report", "job_1", "--json"))[0]["harmful_share"]["value"] == 0.3
    assert "stops at its next heartbeat" in run(api, "cancel", "job_1").stdout
    assert lines(run(api, "cancel", "job_1", "--json"))[0]["cancel_requested"] is True


def test_pause_and_resume(api: ApiState) -> None:
    assert run(api, "pause", "job_1").stdout == "job_1  running; it stops after its next heartbeat\n"
    assert lines(run(api, "pause", "job_1", "--json"))[0]["pause_requested"] is True
    assert run(api, "resume", "job_1").stdout == "job_1  running; follow it with: rolekeeper watch job_1\n"
    assert api.paths() == ["POST /v1/jobs/job_1/pause"] * 2 + ["POST /v1/jobs/job_1/resume"]


def test_delete(api: ApiState) -> None:
    printed = run(api, "delete", "char_1", "job_1", "file_1").stdout
    assert printed.startswith("job_1  deleted; its bytes are erased after 20")
    assert api.paths() == ["DELETE /v1/jobs/job_1", "DELETE /v1/characters/char_1", "DELETE /v1/files/file_1"]
    assert lines(run(api, "delete", "job_1", "--json"))[0]["deleted"] is True
    refused = run(api, "delete", "adapter_1")
    assert refused.exit_code == 2
    assert "'adapter_1' is no id of a job, a character or a file" in refused.stderr


def test_watch_tells_of_a_pause(api: ApiState) -> None:
    api.states = [make_job(Status.PAUSED, (SUCCEEDED, Status.QUEUED, PENDING)), DONE]
    assert "train paused" in run(api, "watch", "job_1").stderr


def test_a_summary_of_the_scores(api: ApiState) -> None:
    printed = run(api, "scores", "job_1", "--summary").stdout
    assert "harmful share 0.500 [0.150, 0.850]: 2 of 4 samples" in printed
    assert "1 anchored, 1 held out, 0 cut" in printed
    rows = [line.strip("│ ").split() for line in printed.splitlines()]
    assert ["0.05", "│", "│", "2"] in rows
    assert ["17", "│", "+0.5000", "│", "+0.2500", "│", "-0.2500"] in rows
    assert lines(run(api, "scores", "job_1", "--summary", "--json")) == [make_summary().model_dump(mode="json")]
    assert api.paths() == ["GET /v1/jobs/job_1/scores/summary"] * 2


def test_download_prints_the_path(api: ApiState, tmp_path: Path) -> None:
    path = tmp_path / "job_1.tar"
    assert run(api, "download", "job_1", "--out", str(tmp_path)).stdout == f"{path}\n"
    assert path.read_bytes() == ADAPTER
    result = run(api, "download", "job_1", "--out", str(tmp_path), "--json")
    assert lines(result) == [{"job": "job_1", "path": str(path), "bytes": len(ADAPTER)}]


def test_exit_codes(api: ApiState, inputs: list[str], tmp_path: Path) -> None:
    assert run(api, "jobs", key="rk_wrong").exit_code == 3
    assert run(api, "nonsense").exit_code == 2
    assert run(api, "submit", "missing.json", inputs[1]).exit_code == 2
    api.failures.append(lambda: problem(404, "no job job_9"))
    assert run(api, "report", "job_9").exit_code == 2
    api.failures.append(lambda: problem(500, "broken"))
    assert run(api, "report", "job_1").exit_code == 1
    (tmp_path / "file").write_bytes(b"")
    assert run(api, "download", "job_1", "--out", str(tmp_path / "file" / "x")).exit_code == 1
    result = CliRunner().invoke(
        app, ["jobs"], env={"ROLEKEEPER_URL": None, "ROLEKEEPER_API_KEY": None, "COLUMNS": "160"}
    )
    assert result.exit_code == 2
    assert "--url" in result.stderr


def test_wrong_input_is_found_before_anything_is_stored(api: ApiState, inputs: list[str], tmp_path: Path) -> None:
    result = run(api, "submit", *inputs, "--epochs", "0", "--method", "magic")
    assert result.exit_code == 2
    assert "/hyperparameters/epochs" in result.stderr
    assert "/method/name" in result.stderr
    Path(inputs[0]).write_text('{"name": "N"}', encoding="utf-8")
    result = run(api, "submit", *inputs)
    assert result.exit_code == 2
    assert "/profile: Field required" in result.stderr
    assert run(api, "submit", *inputs, "--evaluation", "missing.json").exit_code == 2
    Path(inputs[0]).write_text('{"name": "N", "profile": "P"}', encoding="utf-8")
    (tmp_path / "evaluation.json").write_text('{"suites": [{"name": "starter", "max_prompts": 0}]}', encoding="utf-8")
    result = run(api, "submit", *inputs, "--evaluation", str(tmp_path / "evaluation.json"))
    assert result.exit_code == 2
    assert "/suites/0/max_prompts" in result.stderr
    assert api.requests == []


def test_the_bars_are_on_stderr_of_a_terminal(api: ApiState) -> None:
    api.states = [TRAINING, DONE]
    with terminal_process(api, "watch", "job_1", "--json") as (process, screen):
        shown = read_all(screen)
        stdout, _ = process.communicate(timeout=30)
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["running", "succeeded"]
    assert "40/66 steps, loss 2.1, 35 s left" in shown
    assert "━" in shown


def test_ctrl_c_detaches(api: ApiState) -> None:
    api.states = [TRAINING]
    with terminal_process(api, "watch", "job_1", "--json") as (process, screen):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert "The job goes on; watch it again with: rolekeeper watch job_1" in read_all(screen)
        assert process.wait(timeout=30) == 130
    assert not any(path.startswith("POST") for path in api.paths())


def test_help_is_light() -> None:
    heavy = "{'httpx', 'pydantic', 'fastapi', 'torch'}"
    code = f"import sys, rolekeeper.client.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@contextlib.contextmanager
def terminal_process(api: ApiState, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command as a process whose stderr is a terminal, and our end of that terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"ROLEKEEPER_URL": api.url, "ROLEKEEPER_API_KEY": KEY, "COLUMNS": "200", "TERM": "xterm"}
    command = [sys.executable, "-m", "rolekeeper.client", *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        os.close(ours)


def read_all(screen: int) -> str:
    """What the ended process wrote to its terminal."""
    written = b""
    # Linux reports the other end's hang-up as an error.
    with contextlib.suppress(OSError):
        while block := os.read(screen, 4096):
            written += block
    return written.decode()
