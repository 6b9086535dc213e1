"""Shapes: T response tokens, V vocabulary."""

from __future__ import annotations

import tarfile
from pathlib import Path
from statistics import fmean

import pytest
import torch
from peft import PeftModel

from benchmarks.methods.outcome import measure_outcome
from rolekeeper.contracts.jobs import Method
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.method.rbo import KlDirection, ce_sum, token_kl
from services.trainer.program.run import Resident, run_spec
from tests.unit.services.trainer.program.runs import PEFT_ASKS_BY_AN_OLD_NAME, load_data, make_spec

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


def test_an_adapter_is_measured_on_all_samples_and_on_those_flagged(tmp_path: Path) -> None:
    """Against all logits, sample by sample."""
    spec, resident = make_spec(tmp_path, method=Method(name="sft")), Resident()
    loaded = resident.load(find_entry(load_catalog(Path(spec.models_path or "")), "tiny"), None)
    result = run_spec(spec, resident, lambda _progress: None)
    harmful = [index in (2, 5) for index in range(10)]
    outcome = measure_outcome(spec, result, loaded, harmful)
    with tarfile.open(result.adapter_path) as tar:
        tar.extractall(tmp_path / "adapter", filter="data")
    samples, ce, kls = load_data(spec, loaded).samples, 0.0, []
    with torch.no_grad():
        policy = PeftModel.from_pretrained(loaded.model, tmp_path / "adapter").eval()
        for index, sample in enumerate(samples):
            batch = collate([sample], pad_id=0, device="cpu")
            policy_TV = response_logits(policy, batch)
            ce += float(ce_sum(policy_TV, batch.labels_T))
            if harmful[index]:
                with policy.disable_adapter():
                    base_TV = response_logits(policy, batch)
                kls.append(float(token_kl(policy_TV, base_TV, KlDirection.REVERSE).mean()))
        policy.unload()
    num_tokens = sum(len(sample.response_ids) for sample in samples)
    assert outcome == pytest.approx((ce / num_tokens, fmean(kls)), rel=1e-4)
    assert outcome.kl > 0.01
