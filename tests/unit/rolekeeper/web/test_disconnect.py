from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio
import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from rolekeeper.errors import InvalidInput
from rolekeeper.web.app import create_app
from rolekeeper.web.disconnect import run_for_client
from tests.serving import serving

Work = Callable[[Callable[[], None]], str]


def make_app(work: Work) -> FastAPI:
    router = APIRouter()
    limiter = anyio.CapacityLimiter(2)

    @router.post("/work")
    async def do(request: Request) -> str:
        await request.body()
        return await run_for_client(request, work, limiter)

    return create_app("test", [router])


def test_the_answer_of_the_work_is_returned() -> None:
    def work(check: Callable[[], None]) -> str:
        check()
        return "done"

    with serving(make_app(work)) as url:
        assert httpx.post(f"{url}/work", content=b"x" * 100_000).json() == "done"


def test_errors_of_the_work_are_answered_as_ever() -> None:
    def work(_check: Callable[[], None]) -> str:
        raise InvalidInput("not this one")

    with serving(make_app(work)) as url:
        response = httpx.post(f"{url}/work")
    assert (response.status_code, response.json()["detail"]) == (422, "not this one")


def test_work_ends_when_its_client_has_gone_away() -> None:
    steps = 0
    ended = threading.Event()

    def work(check: Callable[[], None]) -> str:
        nonlocal steps
        try:
            for _ in range(200):
                check()
                steps += 1
                time.sleep(0.05)
        finally:
            ended.set()
        return "done"

    with serving(make_app(work)) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/work", content=b"x" * 100_000, timeout=0.5)
        assert ended.wait(3)
        assert 0 < steps < 60
        metrics = httpx.get(f"{url}/metrics").text
    assert 'http_requests_total{code="499",method="POST",route="/work"} 1.0' in metrics
