"""Where the migrations run."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServerUrl


class Settings(BaseSettings):
    """Settings of the migrations."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    database_url: ServerUrl
