"""Settings of the conductor."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServerUrl, ServiceToken


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    database_url: ServerUrl
    redis_url: ServerUrl
    store_dir: Path
    scorer_url: str
    evaluator_url: str
    service_token: ServiceToken
    gate_policy: Path | None = None
    lease_seconds: float = Field(default=60.0, gt=0)
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    sweep_seconds: float = Field(default=5.0, gt=0)
    stall_seconds: float = Field(default=300.0, gt=0, description="Time without progress after which a service hangs")
    conductor_concurrency: int = Field(default=2, ge=1)
    log_level: str = "INFO"
