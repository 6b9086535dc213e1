"""Settings of the scorer."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServiceToken


class Settings(BaseSettings):
    """Read once from ROLEKEEPER_* at start."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    scorer_host: str = "127.0.0.1"
    scorer_port: int = Field(default=8001, ge=0, le=65535)
    service_token: ServiceToken
    models: Path | None = Field(default=None, description="Allow-list of base models; the packaged one if absent")
    cache_dir: Path | None = Field(default=None, description="Where GGUF weights are kept as safetensors")
    scorer_preload: str = Field(default="", description="Base models to load at start, separated by commas")
    scorer_max_models: int = Field(default=1, ge=1, description="Base models that stay in memory")
    scorer_max_batch_tokens: int = Field(default=2048, ge=64, description="Padded tokens per forward pass")
    scorer_max_requests: int = Field(default=16, ge=1, description="Requests inside at once; the next one gets a 503")
    scorer_cache_mib: int = Field(default=512, ge=0, description="Memory for log-probs that were computed before")
    paper_prompts: Path | None = Field(
        default=None, description="The released prompts (prompt_v2.json); without them no job can use paper_v2"
    )
    stall_seconds: float = Field(default=300.0, gt=0, description="Time without progress after which work hangs")
    log_level: str = "INFO"
