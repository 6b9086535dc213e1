"""Settings of the embedded stack, and the environment that its processes get."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic_settings import BaseSettings, SettingsConfigDict

from rolekeeper.credentials import ServerUrl


class Settings(BaseSettings):
    """Real servers to use instead of the embedded ones."""

    model_config = SettingsConfigDict(env_prefix="ROLEKEEPER_", hide_input_in_errors=True)

    database_url: ServerUrl | None = None
    redis_url: ServerUrl | None = None


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `settings` over it; names of settings are given without their prefix."""
    return {**os.environ, **{f"ROLEKEEPER_{name.upper()}": value for name, value in settings.items()}}
