from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio
import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import ValidationError

from rolekeeper.contracts.beats import MEDIA_TYPE, Envelope, seal, unseal
from rolekeeper.errors import Unavailable
from rolekeeper.pulse import beat
from rolekeeper.web import beats
from rolekeeper.web.app import create_app
from rolekeeper.web.beats import send_beats
from rolekeeper.web.disconnect import run_for_client
from tests.serving import serving

Check = Callable[[], None]
ASKING = {"accept": MEDIA_TYPE}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 0.02)


def make_app(work: Callable[[Check], str], stall_seconds: float = 60.0) -> FastAPI:
    router = APIRouter()
    limiter = anyio.CapacityLimiter(4)

    @router.post("/work")
    async def do(request: Request) -> str:
        await request.body()
        return await run_for_client(request, work, limiter)

    app = create_app("test", [router])
    send_beats(app, stall_seconds)
    return app


def busy(check: Check) -> str:
    for _ in range(20):
        check()
        beat()
        time.sleep(0.01)
    return "done"


def test_an_envelope_holds_any_answer() -> None:
    envelope = Envelope(status=503, headers={"retry-after": "2"})
    assert unseal(b"\n\n\n" + seal(envelope, b"\n{}\nmore\n")) == (envelope, b"\n{}\nmore\n")


def test_an_answer_that_was_cut_off_has_no_envelope() -> None:
    whole = seal(Envelope(status=200, headers={"a": "b"}), b"body")
    for size in range(whole.index(b"\n")):
        with pytest.raises(ValidationError):
            unseal(b"\n" + whole[:size])


def test_progress_is_seen_before_the_answer() -> None:
    with serving(make_app(busy)) as url:
        response = httpx.post(f"{url}/work", content=b"x" * 100_000, headers=ASKING)
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPE)
    assert response.content.startswith(b"\n")
    envelope, body = unseal(response.content)
    assert (envelope.status, body) == (200, b'"done"')
    assert envelope.headers["content-type"] == "application/json"
    assert "x-request-id" in envelope.headers


def test_who_does_not_ask_for_beats_gets_the_answer_alone() -> None:
    with serving(make_app(busy)) as url:
        response = httpx.post(f"{url}/work", headers={"accept": "*/*"})
    assert (response.status_code, response.content) == (200, b'"done"')


def test_an_error_keeps_its_status_headers_and_words() -> None:
    def fail(_check: Check) -> str:
        beat()
        raise Unavailable("later")

    with serving(make_app(fail)) as url:
        envelope, body = unseal(httpx.post(f"{url}/work", headers=ASKING).content)
    assert (envelope.status, envelope.headers["retry-after"]) == (503, "2")
    assert b'"detail":"later"' in body


def test_a_client_that_reads_nothing_for_too_long_knows_that_the_work_hangs() -> None:
    release = threading.Event()

    def hang(_check: Check) -> str:
        beat()
        release.wait()
        return "late"

    with serving(make_app(hang)) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/work", headers=ASKING, timeout=0.5)
        release.set()


def test_work_hears_that_its_client_has_gone_away() -> None:
    ended = threading.Event()

    def work(check: Check) -> str:
        try:
            while True:
                check()
                beat()
                time.sleep(0.01)
        finally:
            ended.set()

    with serving(make_app(work)) as url:
        with httpx.stream("POST", f"{url}/work", headers=ASKING) as response:
            next(response.iter_raw())
        assert ended.wait(5)


def test_a_process_that_hangs_says_so_until_it_goes_on() -> None:
    release = threading.Event()

    def hang(_check: Check) -> str:
        release.wait()
        return "late"

    with serving(make_app(hang, stall_seconds=0.1)) as url:
        assert httpx.get(f"{url}/livez").json() == {"status": "alive"}
        time.sleep(0.2)
        assert httpx.get(f"{url}/livez").status_code == 200, "nothing to do is no stall"
        caller = threading.Thread(target=httpx.post, args=(f"{url}/work",), kwargs={"headers": ASKING})
        caller.start()
        wait_for_liveness(url, 503)
        assert httpx.get(f"{url}/livez").json() == {"status": "hung"}
        beat()
        assert httpx.get(f"{url}/livez").status_code == 200
        release.set()
        caller.join()
        wait_for_liveness(url, 200)


def wait_for_liveness(url: str, status: int) -> None:
    deadline = time.monotonic() + 5
    while httpx.get(f"{url}/livez").status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)
