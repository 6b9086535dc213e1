"""If-None-Match as RFC 9110 has it, and the headers that name an artifact."""

from __future__ import annotations

import pytest
from fastapi import Request

from gateway.conditional import artifact_headers, is_current
from rolekeeper.contracts.artifacts import Artifact


def request_with(value: str | None) -> Request:
    headers = [] if value is None else [(b"if-none-match", value.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        ("", False),
        ('"7"', True),
        ('W/"7"', True),
        ('"6", "7"', True),
        ("*", True),
        ("7", False),
        ('"77"', False),
    ],
)
def test_is_current(value: str | None, expected: bool) -> None:
    assert is_current(request_with(value), '"7"') is expected


def test_artifact_headers() -> None:
    # sha256 of no bytes, in hex and in base64.
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    headers = artifact_headers(Artifact(sha256=empty, bytes=0))
    assert headers["etag"] == f'"sha256-{empty}"'
    assert headers["repr-digest"] == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
