"""The gateway as the process that operators run: `python -m gateway`, with Postgres and Redis."""

from __future__ import annotations

import json
import signal
import socket
import time

import httpx
import pytest
import redis

from tests.integration.gateway.calls import DIALOGUE, PROFILE, hint_of
from tests.integration.gateway.conftest import Gateway

WAIT_SECONDS = 60


def create_job(client: httpx.Client) -> str:
    character = client.post("/v1/characters", json={**PROFILE, "dialogues": [DIALOGUE]}).json()["id"]
    response = client.post(
        "/v1/jobs", json={"character": character, "base_model": "smollm2-135m"}, headers={"x-request-id": "call-7"}
    )
    assert response.status_code == 202
    return f"/v1/jobs/{response.json()['id']}"


@pytest.mark.parametrize("key", [b"", b"authorization: Bearer rk_nobody\r\n", b"authorization: Basic rk\r\n"])
@pytest.mark.parametrize("path", [b"/v1/jobs", b"/v1/jobs/j/evaluate", b"/v1/characters", b"/v1/files"])
def test_a_strangers_body_is_not_read(gateway: Gateway, path: bytes, key: bytes) -> None:
    """Not a byte of it is sent, and the answer comes."""
    head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n%s\r\n"
    url = gateway.client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=20) as client:
        client.sendall(head % (path, key))
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_job_sends_a_hint_that_carries_the_request_id(gateway: Gateway, redis_url: str) -> None:
    path = create_job(gateway.client)
    with redis.Redis.from_url(redis_url) as queue:
        assert "call-7" in hint_of(queue, path)["headers"]["kwargsrepr"]


def test_live_stream_beats_and_ends_with_the_job(gateway: Gateway) -> None:
    path = create_job(gateway.client)
    lines: list[str] = []
    with gateway.client.stream("GET", f"{path}/events", headers={"accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            lines.append(line)
            if line == ": still here":
                gateway.client.post(f"{path}/cancel")
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds[:2] == ["job.created", "job.cancel_requested"]
    assert kinds[-1] == "done"
    assert ": still here" in lines


def test_terminated_with_an_open_stream_it_ends_cleanly(gateway: Gateway) -> None:
    path = create_job(gateway.client)
    started = time.monotonic()
    with gateway.client.stream("GET", f"{path}/events", headers={"accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line == ": still here":
                gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(WAIT_SECONDS) == 0
    assert time.monotonic() - started < 15
    lines = [json.loads(line) for line in gateway.log_path.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert {line["process"] for line in lines} == {"gateway"}
    assert [line["status"] for line in requests if line.get("request_id") == "call-7"] == [202]
    assert DIALOGUE["messages"][0]["content"] not in gateway.log_path.read_text()
