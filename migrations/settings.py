"""Where the migrations run."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the migrations."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_")

    database_url: str
