"""`make demo` with a tiny model: the screen, the files, and nothing else left."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.processes import ROOT
from local.record import StackRecord, StateFolder
from rolekeeper.client.client import Client
from rolekeeper.contracts.report import SafetyReport
from tests.leftovers import wait_until_gone


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder for the demo's stack and results."""
    return tmp_path / "state"


@pytest.fixture
def tiny_demo(tiny_catalog: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of a demo with the tiny model."""
    monkeypatch.setenv("ROLEKEEPER_MODELS", str(tiny_catalog))
    return [sys.executable, "-m", "local", "demo", "--base-model", "tiny", "--state", str(state)]


def test_the_demo_prints_the_result_and_leaves_only_that(tiny_demo: list[str], state: Path) -> None:
    demo = run([*tiny_demo, "--epochs", "1"])
    assert demo.returncode == 0, demo.stderr
    for text in ("Did it learn the role?", "Did it stay safe?", "Does it still answer?", "before and after", "gate"):
        assert text in demo.stdout
    assert re.search(r"^wall time \d+ s, peak memory \d+\.\d GB$", demo.stdout, re.MULTILINE)
    assert "\r" not in demo.stderr, "no bars where there is no terminal"

    (adapter,) = (state / "out").glob("*.tar")
    (report_path,) = (state / "out").glob("*.report.json")
    sha256 = hashlib.sha256(adapter.read_bytes()).hexdigest()
    assert f"sha256  {sha256}\n" in demo.stdout
    assert SafetyReport.model_validate_json(report_path.read_bytes()).adapter_sha256 == sha256
    assert str(adapter) in demo.stdout
    assert str(report_path) in demo.stdout
    (page_path,) = (state / "out").glob("*.report.html")
    assert sha256 in page_path.read_text(encoding="utf-8")
    assert str(page_path) in demo.stdout

    assert wait_until_gone(state, seconds=0) == []
    assert {path.name for path in state.iterdir()} == {"cache", "out"}


def test_a_job_that_does_not_succeed_is_an_error_with_its_reason(tiny_demo: list[str], state: Path) -> None:
    demo = subprocess.Popen([*tiny_demo, "--epochs", "50"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with demo:
        record = wait_for_key(state / "demo")
        with Client(record.url, record.api_key or "") as client:
            while not (jobs := list(client.jobs())):
                time.sleep(0.1)
            client.cancel(jobs[0].id)
        _, stderr = demo.communicate(timeout=1000)
    assert demo.returncode == 1
    assert f"error: {jobs[0].id} did not succeed: it was cancelled" in stderr
    assert_stopped_with_logs(state, stderr)


def test_dialogues_that_can_not_be_used_are_named(tiny_demo: list[str], state: Path, tmp_path: Path) -> None:
    dialogues = tmp_path / "dialogues.jsonl"
    whole = (ROOT / "examples" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    dialogues.write_text("\n".join([*whole, '{"messages": [{"role": "user", "content": "Hello?"}]}']))
    demo = run([*tiny_demo, "--dialogues", str(dialogues)])
    assert demo.returncode == 1
    assert "assistant" in demo.stderr
    assert re.search(r"line 3|/2/", demo.stderr), demo.stderr
    assert_stopped_with_logs(state, demo.stderr)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1000, check=False)


def wait_for_key(state: Path) -> StackRecord:
    deadline = time.monotonic() + 240
    while (record := StateFolder(state).read()) is None or record.api_key is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return record


def assert_stopped_with_logs(state: Path, stderr: str) -> None:
    assert str(state / "demo" / "logs") in stderr
    assert (state / "demo" / "logs" / "trainer.log").is_file()
    assert wait_until_gone(state, seconds=0) == []
