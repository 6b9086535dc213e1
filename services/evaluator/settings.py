"""Settings of the evaluator."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServiceToken


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    service_token: ServiceToken
    store_dir: Path
    cache_dir: Path
    models: Path | None = None
    suites_dir: Path | None = Field(default=None, description="Folder with the files of public suites and attacks")
    evaluator_host: str = "127.0.0.1"
    evaluator_port: int = Field(default=8002, ge=0, le=65535)
    evaluator_max_requests: int = Field(default=16, ge=1, description="Requests for verdicts inside at once")
    evaluator_preload: str | None = Field(default=None, description="Base model to load before the first request")
    judges: Path | None = Field(default=None, description="TOML file of the operator's own judges")
    stall_seconds: float = Field(default=300.0, gt=0, description="Time without progress after which work hangs")
    log_level: str = "INFO"


class JudgeSettings(BaseSettings):
    """What the calibration of a judge needs."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True, extra="ignore")

    judges: Path | None = None


def read_secret(variable: str) -> str | None:
    """Return a key that the operator's file names by its variable. It is never logged."""
    return os.environ.get(variable)
