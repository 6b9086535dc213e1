"""What the deployment files promise a trainer is enough for what its settings may take."""

from __future__ import annotations

import yaml

from local.processes import ROOT
from services.trainer.launch import STOP_SECONDS
from services.trainer.settings import Settings


def test_the_grace_periods_are_longer_than_a_drain() -> None:
    longest = {name: Settings.model_fields[name].default for name in ("drain_seconds", "lease_seconds")}
    needed = sum(longest.values()) + 2 * STOP_SECONDS
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert int(compose["services"]["trainer"]["stop_grace_period"].removesuffix("s")) > needed
    manifests = yaml.safe_load_all((ROOT / "k8s" / "base" / "trainer.yaml").read_text("utf-8"))
    (pod,) = [manifest["spec"]["template"]["spec"] for manifest in manifests if manifest["kind"] == "StatefulSet"]
    assert pod["terminationGracePeriodSeconds"] > needed
