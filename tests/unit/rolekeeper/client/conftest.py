"""The API server that the client tests call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rolekeeper.client.client import Client
from tests.unit.rolekeeper.client.api_server import KEY, ApiState, serving


@pytest.fixture
def api() -> Iterator[ApiState]:
    """A server on a free port, and what it answers."""
    with serving(ApiState()) as state:
        yield state


@pytest.fixture
def client(api: ApiState) -> Iterator[Client]:
    """A client of that server."""
    with Client(api.url, KEY) as client:
        yield client
