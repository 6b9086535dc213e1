"""The deployment checks find what they are there to find."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import verify_deploy

CONTAINER: dict[str, Any] = {
    "image": "example/control:1",
    "ports": [{"containerPort": 8000}],
    "startupProbe": {},
    "livenessProbe": {},
    "readinessProbe": {},
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "resources": {"limits": {"memory": "1Gi"}},
    "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
}


def deployment(container: dict[str, Any]) -> dict[str, Any]:
    """A hardened Deployment around `container`."""
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True},
        "containers": [container],
    }
    return {"kind": "Deployment", "metadata": {"name": "gateway"}, "spec": {"template": {"spec": pod}}}


def test_a_hardened_pod_passes() -> None:
    assert list(verify_deploy.weak_pods(deployment(CONTAINER))) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("securityContext", "readOnlyRootFilesystem"), False, "root file system"),
        (("securityContext", "capabilities"), {"drop": ["NET_RAW"]}, "capabilities"),
        (("resources", "limits"), {"cpu": "1"}, "memory limit"),
        (("resources", "limits"), {"memory": "1Gi", "nvidia.com/gpu": "1"}, "tag 1 with a GPU"),
    ],
)
def test_a_weak_container_is_named(path: tuple[str, str], value: object, problem: str) -> None:
    container = copy.deepcopy(CONTAINER)
    container[path[0]][path[1]] = value
    problems = list(verify_deploy.weak_pods(deployment(container)))
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_missing_probe_is_named() -> None:
    container = {key: value for key, value in CONTAINER.items() if key != "readinessProbe"}
    assert list(verify_deploy.weak_container("gateway", container)) == ["gateway serves HTTP without all three probes"]


def test_a_pod_that_may_run_as_root_is_named() -> None:
    manifest = deployment(CONTAINER)
    del manifest["spec"]["template"]["spec"]["securityContext"]
    assert list(verify_deploy.weak_pods(manifest)) == ["gateway may run as root"]


def test_a_missing_config_map_is_named() -> None:
    manifest = deployment(CONTAINER)
    assert list(verify_deploy.missing_names([manifest])) == ["ConfigMap settings is missing"]
    built = {"kind": "ConfigMap", "metadata": {"name": "settings"}}
    assert list(verify_deploy.missing_names([manifest, built])) == []


def test_a_compose_service_without_hardening_is_named() -> None:
    problems = list(verify_deploy.weak_service("redis", {"image": "redis:latest"}))
    assert [problem.split()[1] for problem in problems] == ["can", "keeps", "may", "has"]


def test_a_missing_tool_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert verify_deploy.run_tool(("no-such-tool",)).problem == "no-such-tool is not installed"


def test_one_failure_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def checks() -> Iterator[verify_deploy.Check]:
        yield verify_deploy.Check("good", "")
        yield verify_deploy.Check("bad", "because")

    monkeypatch.setattr(verify_deploy, "CHECKS", (checks,))
    assert verify_deploy.main() == 1
    assert capsys.readouterr().out.splitlines() == ["passed  good", "FAILED  bad: because", "1 passed, 1 failed"]


def test_every_setting_of_the_deployment_files_is_explained() -> None:
    assert [check.problem for check in verify_deploy.check_settings()] == [""]


def test_a_setting_that_the_process_does_not_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text(
        "class Settings(BaseSettings):\n    model_config = 1\n    redis_url: str\n    sweep_seconds: float = 5.0\n"
    )
    fields = verify_deploy.read_settings(file)
    assert fields == {"ROLEKEEPER_REDIS_URL": True, "ROLEKEEPER_SWEEP_SECONDS": False}
    problems = list(verify_deploy.wrong_settings("conductor", fields, {"ROLEKEEPER_SWEEP_SECOND"}))
    assert problems == [
        "conductor does not read ROLEKEEPER_SWEEP_SECOND",
        "conductor is not given ROLEKEEPER_REDIS_URL",
    ]


def test_compose_and_kubernetes_give_each_process_the_same_settings() -> None:
    compose = yaml.safe_load((verify_deploy.ROOT / "docker-compose.yml").read_text())["services"]
    for process in ("gateway", "conductor", "trainer", "scorer", "evaluator"):
        manifest = (verify_deploy.ROOT / f"k8s/base/{process}.yaml").read_text()
        container = next(yaml.safe_load_all(manifest))["spec"]["template"]["spec"]["containers"][0]
        own = {entry["name"] for entry in container["env"]}
        shared = {"ROLEKEEPER_LOG_LEVEL"}
        if len(container["envFrom"]) > 1:
            shared |= {"ROLEKEEPER_LEASE_SECONDS", "ROLEKEEPER_HEARTBEAT_SECONDS"}
        assert own | shared == set(compose[process]["environment"])
