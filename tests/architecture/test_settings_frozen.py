"""Every setting of every process is listed here and explained for operators: adding one is a decision."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "ROLEKEEPER_"

SETTINGS = {
    "gateway": "database_url redis_url store_dir models gate_policy quotas gateway_host gateway_port "
    "database_pool_size event_poll_seconds event_heartbeat_seconds log_level",
    "services.conductor": "database_url redis_url store_dir scorer_url evaluator_url service_token gate_policy "
    "lease_seconds heartbeat_seconds sweep_seconds stall_seconds conductor_concurrency log_level",
    "services.scorer": "scorer_host scorer_port service_token models cache_dir scorer_preload "
    "scorer_max_models scorer_max_batch_tokens scorer_max_requests scorer_cache_mib paper_prompts stall_seconds "
    "log_level",
    "services.trainer": "database_url redis_url store_dir work_dir models cache_dir lease_seconds "
    "heartbeat_seconds checkpoint_seconds drain_seconds train_stall_seconds train_processes train_zero_stage "
    "matmul_precision max_batch_tokens log_level",
    "services.evaluator": "service_token store_dir cache_dir models suites_dir evaluator_host evaluator_port "
    "evaluator_max_requests evaluator_preload judges stall_seconds log_level",
    "migrations": "database_url",
    "local": "database_url redis_url",
}


def settings_of(process: str) -> type[BaseSettings]:
    """The settings class of a process."""
    settings: type[BaseSettings] = importlib.import_module(f"{process}.settings").Settings
    assert issubclass(settings, BaseSettings)
    return settings


def test_every_process_with_settings_is_listed() -> None:
    folders = [*ROOT.glob("*/settings.py"), *ROOT.glob("services/*/settings.py")]
    assert sorted(".".join(path.parent.relative_to(ROOT).parts) for path in folders) == sorted(SETTINGS)


@pytest.mark.parametrize("process", SETTINGS)
def test_the_settings_are_the_listed_ones(process: str) -> None:
    settings = settings_of(process)
    assert settings.model_config["env_prefix"] == PREFIX
    assert list(settings.model_fields) == SETTINGS[process].split()


@pytest.mark.parametrize("process", SETTINGS)
def test_every_setting_is_explained(process: str) -> None:
    explained = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    names = [PREFIX + name.upper() for name in SETTINGS[process].split()]
    assert [name for name in names if f"`{name}`" not in explained] == []


def test_a_setting_means_the_same_in_every_process() -> None:
    types: dict[str, set[object]] = {}
    for process in SETTINGS:
        for name, field in settings_of(process).model_fields.items():
            kind = next((kind for kind in get_args(field.annotation) if kind is not NoneType), field.annotation)
            types.setdefault(name, set()).add(getattr(kind, "__origin__", kind))  # Annotated[str, ...] is a str
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}
