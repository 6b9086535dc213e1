"""The curl session of README.md, word for word, against a stack with all five processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from local.plan import make_plan
from local.stack import Stack
from rolekeeper.client.cli import app
from rolekeeper.client.client import Client
from rolekeeper.contracts.report import SafetyReport
from tests.readme import ROOT, curl_session
from tests.tiny import write_catalog


@pytest.fixture
def readme_stack(tmp_path: Path, tiny_model: Path) -> Iterator[Stack]:
    """What `make up` starts, with a tiny model under the name that the README gives."""
    catalog = write_catalog(tmp_path / "models.toml", {"smollm2-135m-aligned": tiny_model})
    with Stack(make_plan(tmp_path / "state", extra={"models": str(catalog)})) as stack:
        yield stack


def test_the_session_ends_with_a_report_and_an_adapter(readme_stack: Stack, tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    shutil.copytree(ROOT / "examples", desk / "examples")
    url, key = readme_stack.plan.url, readme_stack.api_key
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=curl_session(),
        cwd=desk,
        env=os.environ | {"ROLEKEEPER_URL": url, "ROLEKEEPER_API_KEY": key, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'data: {"status":"succeeded"}' in done.stdout
    report = SafetyReport.model_validate_json((desk / "report.json").read_bytes())
    assert hashlib.sha256((desk / "adapter.tar").read_bytes()).hexdigest() == report.adapter_sha256
    assert (desk / "adapter" / "adapter_config.json").is_file()
    with Client(url, key) as client:
        assert client.report(report.job) == report
        assert client.download_adapter(report.job, desk).read_bytes() == (desk / "adapter.tar").read_bytes()
    _check_command_line(report, {"ROLEKEEPER_URL": url, "ROLEKEEPER_API_KEY": key, "COLUMNS": "200"})


def _check_command_line(report: SafetyReport, environment: dict[str, str]) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, words, env=environment)

    assert json.loads(run("jobs", "--json").stdout)["id"] == report.job
    assert json.loads(run("watch", report.job, "--json").stdout)["status"] == "succeeded"
    num_dialogues = len((ROOT / "examples" / "dialogues.jsonl").read_bytes().splitlines())
    assert len(run("scores", report.job, "--json").stdout.splitlines()) == num_dialogues
    assert "over refusal rate" in run("report", report.job).stdout
    assert run("cancel", report.job).exit_code == 2
    assert run("report", "job_nothere").exit_code == 2
    assert run("jobs", "--api-key", "rk_wrong").exit_code == 3
