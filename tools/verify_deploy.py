"""Check the deployment files without a Docker daemon, a cluster or the internet.

    python -m tools.verify_deploy

The last line is "N passed, N failed"; the exit code is 0 only when nothing failed. It needs the `deploy` extra, and
`kubectl` or `kustomize` on the PATH to build the manifests; where neither is there, that check fails and says so.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
KUSTOMIZATIONS = ("k8s/base", "k8s/overlays/a100", "k8s/secrets")
PROCESSES = {
    "migrate": "migrations",
    "gateway": "gateway",
    "conductor": "services/conductor",
    "trainer": "services/trainer",
    "scorer": "services/scorer",
    "evaluator": "services/evaluator",
}
POD_OWNERS = {"Deployment", "StatefulSet", "Job"}
SETTING = re.compile(r"\bROLEKEEPER_[A-Z0-9_]+\b")
COMMAND_SECONDS = 120


class Check(NamedTuple):
    """One thing that was checked. It passed when `problem` is empty."""

    name: str
    problem: str


class Output(NamedTuple):
    """What a command wrote, and what is wrong with it ("" when it ended well)."""

    text: str
    problem: str


def find_tool(*names: str) -> str | None:
    """Path of the first of `names` that lies beside this Python or on the PATH."""
    beside = Path(sys.executable).parent
    for name in names:
        if (beside / name).is_file():
            return str(beside / name)
    return next(filter(None, map(shutil.which, names)), None)


def run_tool(names: tuple[str, ...], *arguments: str, cwd: Path = ROOT) -> Output:
    """Run the first of `names` that is installed."""
    tool = find_tool(*names)
    if tool is None:
        return Output("", f"{' or '.join(names)} is not installed")
    done = subprocess.run(
        [tool, *arguments], cwd=cwd, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    problem = "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
    return Output(done.stdout, problem)


def check_dockerfiles() -> Iterator[Check]:
    """Lint every Dockerfile."""
    for path in sorted(ROOT.glob("docker/*.Dockerfile")):
        yield Check(f"hadolint {path.name}", run_tool(("hadolint",), str(path)).problem)


def check_yaml() -> Iterator[Check]:
    """Lint every YAML file of the deployment."""
    yield Check("yamllint", run_tool(("yamllint",), "--strict", "k8s", *COMPOSE_FILES).problem)


def render_compose(*files: str) -> Output:
    """The resolved configuration of the Compose files together, with the example's settings."""
    arguments = [part for file in files for part in ("--file", file)]
    return run_tool(("docker-compose",), "--env-file", ".env.example", *arguments, "config")


def check_compose() -> Iterator[Check]:
    """Resolve the Compose files and hold every service to the house's hardening."""
    for files in (COMPOSE_FILES[:1], COMPOSE_FILES):
        output = render_compose(*files)
        label = " + ".join(files)
        yield Check(f"compose config {label}", output.problem)
        services = (yaml.safe_load(output.text) or {}).get("services", {})
        problems = [problem for name, service in services.items() for problem in weak_service(name, service)]
        yield Check(f"compose hardening {label}", "; ".join(problems) or ("" if services else "no services"))


def weak_service(name: str, service: dict[str, Any]) -> Iterator[str]:
    """What a Compose service lacks of the house's hardening."""
    if not service.get("read_only"):
        yield f"{name} can write to its root file system"
    if service.get("cap_drop") != ["ALL"]:
        yield f"{name} keeps capabilities"
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield f"{name} may gain privileges"
    if str(service["image"]).rpartition(":")[2] in ("latest", service["image"]):
        yield f"{name} has no fixed image tag"


def render_kustomization(folder: str) -> Output:
    """The manifests that `folder` builds. The Secret is built from its example."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "k8s"
        shutil.copytree(ROOT / "k8s", copy)
        shutil.copy(copy / "secrets/secret.env.example", copy / "secrets/secret.env")
        target = str(Path(scratch) / folder)
        if find_tool("kubectl") is not None:
            return run_tool(("kubectl",), "kustomize", target)
        return run_tool(("kustomize", "kubectl"), "build", target)


def validate_manifests(text: str) -> str:
    """What the Kubernetes schemas refuse in `text`, unknown fields included; "" when nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "manifests.yaml"
        file.write_text(text)
        output = run_tool(("kubernetes-validate",), "--strict", str(file))
    # The validator ends well on a kind that it does not know, and only warns.
    unknown = [line for line in output.text.splitlines() if not line.startswith("INFO") and line.strip()]
    return output.problem or "; ".join(unknown)


def check_manifests() -> Iterator[Check]:
    """Build every kustomization, validate it against the schemas and hold every pod to the house's hardening."""
    for folder in KUSTOMIZATIONS:
        output = render_kustomization(folder)
        yield Check(f"kustomize {folder}", output.problem)
        if output.problem:
            continue
        manifests = [manifest for manifest in yaml.safe_load_all(output.text) if manifest]
        yield Check(f"kubernetes-validate {folder}", validate_manifests(output.text))
        problems = [problem for manifest in manifests for problem in weak_pods(manifest)]
        yield Check(f"pod hardening {folder}", "; ".join([*problems, *missing_names(manifests)]))


def weak_pods(manifest: dict[str, Any]) -> Iterator[str]:
    """What the pods of a manifest lack of the house's hardening."""
    if manifest["kind"] not in POD_OWNERS:
        return
    name = manifest["metadata"]["name"]
    pod = manifest["spec"]["template"]["spec"]
    if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
        yield f"{name} is given a token or the addresses of all services"
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{name} may run as root"
    for container in pod["containers"]:
        yield from weak_container(name, container)


def weak_container(name: str, container: dict[str, Any]) -> Iterator[str]:
    """What one container lacks of the house's hardening."""
    security = container.get("securityContext", {})
    if not security.get("readOnlyRootFilesystem"):
        yield f"{name} can write to its root file system"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name} keeps capabilities"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield f"{name} has no memory limit"
    if container.get("ports") and not {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys():
        yield f"{name} serves HTTP without all three probes"
    tag = container["image"].rpartition(":")[2]
    wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
    if wants_gpu != tag.endswith("-cuda"):
        yield f"{name} runs image tag {tag} {'with' if wants_gpu else 'without'} a GPU"


def missing_names(manifests: list[dict[str, Any]]) -> Iterator[str]:
    """ConfigMaps and claims that a pod names and that are not built with it."""
    built = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for manifest in manifests:
        if manifest["kind"] not in POD_OWNERS:
            continue
        pod = manifest["spec"]["template"]["spec"]
        wanted = [("ConfigMap", source["configMapRef"]["name"]) for source in pod["containers"][0].get("envFrom", [])]
        wanted += [
            ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for volume in pod.get("volumes", [])
            if "persistentVolumeClaim" in volume
        ]
        yield from (f"{kind} {name} is missing" for kind, name in wanted if (kind, name) not in built)


def check_settings() -> Iterator[Check]:
    """Every setting that a deployment file sets is explained in docs/operations.md."""
    explained = set(SETTING.findall((ROOT / "docs/operations.md").read_text()))
    files = [ROOT / ".env.example", *(ROOT / name for name in COMPOSE_FILES)]
    files += [*ROOT.glob("docker/*.Dockerfile"), *ROOT.glob("k8s/**/*.yaml"), *ROOT.glob("k8s/**/*.example")]
    unknown = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in SETTING.findall(file.read_text())
        if name not in explained
    }
    yield Check("settings explained in docs/operations.md", "; ".join(sorted(unknown)))


def read_settings(file: Path) -> dict[str, bool]:
    """The environment variables that the Settings class in `file` reads, and whether each must be given."""
    classes = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
    fields = [node for cls in classes for node in cls.body if isinstance(node, ast.AnnAssign)]
    return {
        f"ROLEKEEPER_{field.target.id.upper()}": field.value is None
        for field in fields
        if isinstance(field.target, ast.Name)
    }


def wrong_settings(process: str, fields: dict[str, bool], given: set[str]) -> Iterator[str]:
    """Settings that a process is given and does not read, and those that it must be given and is not."""
    yield from (f"{process} does not read {name}" for name in sorted(given - fields.keys()))
    required = {name for name, must in fields.items() if must}
    yield from (f"{process} is not given {name}" for name in sorted(required - given))


def check_processes() -> Iterator[Check]:
    """Every process is given the settings that its code reads, all of them are explained, and no other is given."""
    services = (yaml.safe_load(render_compose(COMPOSE_FILES[0]).text) or {}).get("services", {})
    explained = set(SETTING.findall((ROOT / "docs/operations.md").read_text()))
    for process, folder in PROCESSES.items():
        file = ROOT / folder / "settings.py"
        fields = read_settings(file) if file.is_file() else {}
        given = {name for name in services.get(process, {}).get("environment", {}) if SETTING.fullmatch(name)}
        # The images set the folders for all of their processes; a process may leave one unread.
        given |= {name for name in fields if name.endswith("_DIR")}
        problems = [*wrong_settings(process, fields, given)]
        problems += [f"{name} is not explained in docs/operations.md" for name in sorted(fields.keys() - explained)]
        yield Check(f"settings of {process}", "; ".join(problems))


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_dockerfiles,
    check_yaml,
    check_compose,
    check_manifests,
    check_settings,
    check_processes,
)


def main() -> int:
    """Run every check and print what failed."""
    checks = [check for group in CHECKS for check in group()]
    for check in checks:
        print(f"{'FAILED' if check.problem else 'passed'}  {check.name}{': ' + check.problem if check.problem else ''}")
    failed = sum(bool(check.problem) for check in checks)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
