"""Settings of the conductor."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_")

    database_url: str
    redis_url: str
    store_dir: Path
    scorer_url: str
    evaluator_url: str
    service_token: str
    gate_policy: Path | None = None
    lease_seconds: float = Field(default=60.0, gt=0)
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    sweep_seconds: float = Field(default=5.0, gt=0)
    stall_seconds: float = Field(default=300.0, gt=0, description="Time without progress after which a service hangs")
    conductor_concurrency: int = Field(default=2, ge=1)
    log_level: str = "INFO"
