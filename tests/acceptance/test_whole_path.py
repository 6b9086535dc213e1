"""From a character to an adapter that others can load, over HTTP, through all five processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx

from local.plan import HTTP_PROCESSES, WORKERS
from rolekeeper.client.client import Client
from rolekeeper.contracts.jobs import Job, Status
from tests.acceptance.conftest import Platform

# Run where nothing of ours can be imported by chance; what it prints is the largest difference of the logits.
PEFT_ALONE = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base_folder, adapter_folder = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base_folder)
ids = tokenizer("Who keeps the light tonight?", return_tensors="pt").input_ids
model = AutoModelForCausalLM.from_pretrained(base_folder)
with torch.no_grad():
    base = model(ids).logits
    tuned = PeftModel.from_pretrained(model, adapter_folder)(ids).logits
ours = [name for name in sys.modules if name.split(".")[0] in ("rolekeeper", "services", "gateway", "local")]
assert not ours, ours
print(float((tuned - base).abs().max()))
"""


def test_the_job_succeeds_with_a_report_about_its_adapter(undisturbed: Job, client: Client, tmp_path: Path) -> None:
    assert undisturbed.status == Status.SUCCEEDED
    report = client.report(undisturbed.id)
    adapter = client.download_adapter(undisturbed.id, tmp_path)
    sha256 = hashlib.sha256(adapter.read_bytes()).hexdigest()
    assert sha256 == report.adapter_sha256 == undisturbed.adapter_sha256
    assert {measure.name for measure in report.measures} >= {"refusal_rate", "over_refusal_rate", "role_fidelity"}
    for measure in report.measures:
        for estimate in (measure.base, measure.tuned):
            assert estimate.low <= estimate.value <= estimate.high
    assert report.num_training_samples + report.num_held_out == 20
    assert report.training.hyperparameters.epochs == undisturbed.hyperparameters.epochs
    assert report.training.num_steps > 0


def test_every_sample_has_a_score(undisturbed: Job, client: Client) -> None:
    scores = list(client.scores(undisturbed.id))
    assert [score.index for score in scores] == list(range(20))
    assert undisturbed.harmful_share == sum(score.harmful for score in scores) / len(scores)


def test_events_tell_the_story_in_order(undisturbed: Job, client: Client) -> None:
    events = list(client.events(undisturbed.id))
    assert len(events) >= 4
    assert [event.id for event in events] == sorted({event.id for event in events})


def test_plain_peft_loads_the_adapter(undisturbed: Job, client: Client, tiny_model: Path, tmp_path: Path) -> None:
    with tarfile.open(client.download_adapter(undisturbed.id, tmp_path)) as tar:
        tar.extractall(tmp_path / "tar", filter="data")
    (config,) = (tmp_path / "tar").rglob("adapter_config.json")
    done = subprocess.run(
        [sys.executable, "-I", "-c", PEFT_ALONE, str(tiny_model), str(config.parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 1e-3


def test_the_request_id_is_in_the_logs_of_every_process(platform: Platform) -> None:
    request_id = "req-that-is-looked-for"
    template = platform.submit()
    body = {"character": template.character, "base_model": "tiny", "hyperparameters": {"epochs": 1}}
    answer = httpx.post(
        f"{platform.stack.plan.url}/v1/jobs",
        headers={"authorization": f"Bearer {platform.stack.api_key}", "x-request-id": request_id},
        json=body | {"evaluation": {"max_new_tokens": 8}},
    )
    assert answer.status_code == 202
    assert answer.headers["x-request-id"] == request_id
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    platform.client.cancel(template.id)
    assert platform.wait_end(answer.json()["id"]).status == Status.SUCCEEDED
    for name in (*HTTP_PROCESSES, *WORKERS):
        assert request_id in platform.stack.plan.log_path(name).read_text(), f"{name} does not log the request id"


def test_a_second_run_gives_the_same_bytes(undisturbed: Job, platform: Platform) -> None:
    assert platform.wait_end(platform.submit().id).adapter_sha256 == undisturbed.adapter_sha256
