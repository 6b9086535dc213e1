"""Who may import whom: the contracts hold, and each image starts without the packages that it does not carry."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TORCH = ("torch", "transformers", "peft", "accelerate", "safetensors", "deepspeed")
ROWS_AND_QUEUE = ("sqlalchemy", "alembic", "psycopg", "celery", "kombu", "redis")
SERVER = (*TORCH, *ROWS_AND_QUEUE, "fastapi", "starlette", "uvicorn", "structlog", "pydantic_settings", "numpy")

CONTROL = (
    *("gateway", "services/conductor", "services/trainer", "local"),
    *("rolekeeper/artifacts", "rolekeeper/client", "rolekeeper/contracts", "rolekeeper/jobs", "rolekeeper/web"),
    *("rolekeeper/errors.py", "rolekeeper/logs.py", "rolekeeper/lm/catalog.py"),
)
COMPUTE = ("services/scorer", "services/evaluator", "services/trainer/program")

IMPORT_WITHOUT = """
import importlib, sys
from importlib.abc import MetaPathFinder

blocked = set(sys.argv[1].split(","))

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not in this image")

sys.meta_path.insert(0, Refuse())
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except Exception as error:
        sys.exit(f"{module}: {type(error).__name__}: {error}")
"""


def modules(*places: str) -> list[str]:
    """The dotted names of the files at `places`; the training program is a process of its own."""
    names = []
    for place in places:
        paths = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        for path in paths:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if place.endswith("program") or not name.startswith("services.trainer.program"):
                names.append(name)
    return names


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_of_the_trainer_has_declared_its_side() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter", encoding="utf-8")
    light = config["importlinter:contract:control-plane-is-light"]["source_modules"].split()
    worker = [name for name in modules("services/trainer") if name != "services.trainer"]
    assert [name for name in light if name.startswith("services.trainer")] == worker


@pytest.mark.parametrize(
    ("places", "blocked"),
    [(CONTROL, TORCH), (COMPUTE, ROWS_AND_QUEUE), (("rolekeeper/client",), SERVER)],
    ids=["control-without-torch", "compute-without-rows-and-queue", "client-without-server"],
)
def test_an_image_starts_without_what_it_does_not_carry(places: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, ",".join(blocked), *modules(*places)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_blocked_package_is_noticed() -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, "httpx", "rolekeeper.client.client"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "httpx is not in this image" in done.stderr
