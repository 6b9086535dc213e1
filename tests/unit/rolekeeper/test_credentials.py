"""What the examples hold in place of a secret starts no process, and no secret is shown by an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import Settings as GatewaySettings
from rolekeeper.credentials import MIN_TOKEN_CHARACTERS, PLACEHOLDER
from services.scorer.settings import Settings as ScorerSettings

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = [".env.example", "k8s/secrets/secret.env.example"]


@pytest.mark.parametrize("token", ["", PLACEHOLDER, "x" * (MIN_TOKEN_CHARACTERS - 1)])
def test_a_token_that_can_be_guessed_starts_no_process(token: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand -hex 32"):
        ScorerSettings(service_token=token)


def test_a_long_token_is_taken() -> None:
    assert ScorerSettings(service_token="x" * MIN_TOKEN_CHARACTERS).service_token


@pytest.mark.parametrize("field", ["database_url", "redis_url"])
def test_the_password_of_the_example_starts_no_process(field: str, tmp_path: Path) -> None:
    urls = {"database_url": "postgresql+psycopg://u:good@h/d", "redis_url": "redis://:good@h"}
    given = {**urls, "store_dir": str(tmp_path)}
    assert GatewaySettings.model_validate(given)
    weak = urls[field].replace("good", PLACEHOLDER)
    with pytest.raises(ValidationError, match="as in the example") as refused:
        GatewaySettings.model_validate(given | {field: weak})
    assert "u:" not in str(refused.value)  # an address holds a secret: it is not shown


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_hold_the_placeholder_wherever_a_secret_belongs(example: str) -> None:
    lines = (ROOT / example).read_text(encoding="utf-8").splitlines()
    secrets = [line for line in lines if line.split("=")[0].endswith(("PASSWORD", "TOKEN", "_URL"))]
    assert len(secrets) == 3
    assert [line for line in secrets if PLACEHOLDER not in line] == []
