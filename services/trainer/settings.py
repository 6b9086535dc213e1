"""Settings of the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServerUrl
from services.trainer.launch import MatmulPrecision


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    database_url: ServerUrl
    redis_url: ServerUrl
    store_dir: Path
    work_dir: Path
    models: Path | None = None
    cache_dir: Path | None = None
    lease_seconds: float = Field(default=60.0, gt=0)
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    drain_seconds: float = Field(default=90.0, gt=0)
    train_stall_seconds: float = Field(default=600.0, gt=0)
    train_processes: int = Field(default=1, ge=1)
    train_zero_stage: Literal["auto", "2", "3"] = "auto"
    matmul_precision: MatmulPrecision = "highest"
    max_batch_tokens: int = Field(default=1024, ge=64)
    log_level: str = "INFO"
