"""More requests at once than there are threads and connections: every one is answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio.to_thread
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.integration.gateway.calls import create_job

NUM_THREADS = 2


async def _take_few_threads() -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS


def test_no_request_waits_for_a_connection_that_waits_for_a_thread(
    client: TestClient, database_url: str, redis_url: str, store_dir: Path
) -> None:
    """With one connection and an overflow of one, and as many threads, two that wait for a thread would stop all."""
    settings = Settings(database_url=database_url, redis_url=redis_url, store_dir=store_dir, database_pool_size=1)
    path = f"/v1/jobs/{create_job(client)}"
    with TestClient(create_app(settings), headers=dict(client.headers)) as crowded:
        assert crowded.portal is not None
        crowded.portal.call(_take_few_threads)
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(crowded.get, path) for _ in range(120)]
            statuses = [answer.result().status_code for answer in answers]
    assert statuses == [200] * 120
