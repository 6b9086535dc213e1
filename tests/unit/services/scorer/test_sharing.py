"""Several clients at once, over a real server: fair turns, a bounded number, and none that works for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rolekeeper.contracts.problems import Problem
from services.scorer.app import create_app
from services.scorer.settings import Settings
from tests.passes import counted_passes
from tests.serving import serving
from tests.unit.services.scorer.conftest import TOKEN
from tests.unit.services.scorer.test_app import body

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(catalog_path: Path) -> Iterator[Serve]:
    """A scorer with small batches, and a client of it."""
    opened: list[Any] = []

    def start(**changes: Any) -> httpx.Client:
        settings = Settings(
            service_token=TOKEN, models=catalog_path, scorer_preload="tiny", scorer_max_batch_tokens=64, **changes
        )
        server = serving(create_app(settings))
        client = httpx.Client(
            base_url=server.__enter__(), headers={"authorization": f"Bearer {TOKEN}"}, timeout=httpx.Timeout(60)
        )
        opened.append((server, client))
        return client

    yield start
    for server, client in opened:
        client.close()
        server.__exit__(None, None, None)


def dialogues(num_samples: int, word: str) -> list[dict[str, Any]]:
    def turns(number: int) -> list[dict[str, str]]:
        question = {"role": "user", "content": f"Who keeps the light tonight, {word} {number}?"}
        return [question, {"role": "assistant", "content": f"I keep the {word} light, as I always have, {number}."}]

    return [{"messages": turns(number)} for number in range(num_samples)]


def requests_inside(client: httpx.Client) -> float:
    line = next(line for line in client.get("/metrics").text.splitlines() if line.startswith("scorer_requests_inside"))
    return float(line.split()[-1])


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Call(threading.Thread):
    """A request in the background. `ended_at` is None until it is answered."""

    def __init__(self, client: httpx.Client, samples: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.client, self.samples = client, samples
        self.ended_at: float | None = None
        self.status = 0

    def run(self) -> None:
        self.status = self.client.post("/v1/scores", json=body(dialogues=self.samples)).status_code
        self.ended_at = time.monotonic()


def test_the_same_request_again_is_answered_from_the_cache(serve: Serve) -> None:
    client = serve()
    first = client.post("/v1/scores", json=body(dialogues=dialogues(20, "old")))
    assert first.status_code == 200
    with counted_passes() as passes:
        assert client.post("/v1/scores", json=body(dialogues=dialogues(20, "old"))).content == first.content
    assert passes.count == 0
    metrics = client.get("/metrics").text
    assert 'scorer_cache_lookups_total{result="hit"} 60.0' in metrics
    assert 'scorer_cache_lookups_total{result="miss"} 60.0' in metrics


def test_a_small_request_does_not_wait_for_a_large_one(serve: Serve) -> None:
    client = serve()
    with counted_passes(seconds_each=0.02) as passes:
        large, small = Call(client, dialogues(100, "old")), Call(client, dialogues(1, "new"))
        large.start()
        wait_until(lambda: passes.count > 5)
        at_start = passes.count
        small.start()
        small.join(30)
        meanwhile = passes.count - at_start
        assert large.ended_at is None
        large.join(60)
    assert (small.status, large.status) == (200, 200)
    assert passes.count > 150
    # Three contexts, each with a prefix and a batch: six turns of its own, and one of the other's before each.
    assert meanwhile <= 16


def test_one_too_many_is_told_when_to_come_again(serve: Serve) -> None:
    client = serve(scorer_max_requests=2)
    with counted_passes(seconds_each=0.02):
        inside = [Call(client, dialogues(60, word)) for word in ("old", "new")]
        for call in inside:
            call.start()
        wait_until(lambda: requests_inside(client) == 2)
        response = client.post("/v1/scores", json=body())
        problem = Problem.model_validate_json(response.content)
        assert (response.status_code, problem.error.code) == (503, "overloaded")
        assert response.headers["retry-after"] == "2"
        assert response.headers["content-type"] == "application/problem+json"
        assert "2 requests are being scored" in problem.detail
        for call in inside:
            call.join(60)
    assert [call.status for call in inside] == [200, 200]
    assert requests_inside(client) == 0
    assert client.post("/v1/scores", json=body()).status_code == 200


def test_a_client_that_goes_away_frees_its_work(serve: Serve) -> None:
    client = serve()
    order = body(dialogues=dialogues(100, "old"))
    with counted_passes(seconds_each=0.02) as passes:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/scores", json=order, timeout=1.0)
        wait_until(lambda: requests_inside(client) == 0, seconds=2.0)
        run = passes.count
        time.sleep(0.3)
        assert passes.count == run
    assert 'http_requests_total{code="499",method="POST",route="/v1/scores"} 1.0' in client.get("/metrics").text
    with counted_passes() as passes:
        assert client.post("/v1/scores", json=order).status_code == 200
    assert 0 < run < passes.count / 2


def test_one_who_waits_in_line_and_goes_away_frees_the_place(serve: Serve) -> None:
    client = serve()
    with counted_passes(seconds_each=0.05) as passes:
        large = Call(client, dialogues(60, "old"))
        large.start()
        wait_until(lambda: passes.count > 2)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/scores", json=body(dialogues=dialogues(60, "new")), timeout=0.3)
        wait_until(lambda: requests_inside(client) == 1, seconds=2.0)
        large.join(60)
    assert large.status == 200
