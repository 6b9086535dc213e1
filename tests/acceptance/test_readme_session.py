"""The curl session of README.md, word for word, against a stack with all five processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.plan import make_plan
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.contracts.evaluation import SafetyReport
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
        timeout=400,
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
