"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServerUrl


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True, frozen=True)

    database_url: ServerUrl
    redis_url: ServerUrl
    store_dir: Path
    models: Path | None = None
    gate_policy: Path | None = None
    quotas: Path | None = None
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8000, ge=0, le=65535)
    database_pool_size: int = Field(default=10, ge=1)
    event_poll_seconds: float = Field(default=1.0, gt=0)
    event_heartbeat_seconds: float = Field(default=15.0, gt=0)
    log_level: str = "INFO"
