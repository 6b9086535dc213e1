"""Calls to compute services: patient with outages, clear about refusals."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rolekeeper.contracts.beats import MEDIA_TYPE, Envelope, seal
from rolekeeper.contracts.problems import ErrorItem, OpenAiError, Problem
from rolekeeper.contracts.suites import Suite, SuiteChoice, SuiteRequest
from rolekeeper.errors import JobCancelled, JudgeAway, StageFailed, StageInterrupted, StorageFull
from services.conductor import remote
from services.conductor.remote import Remote, Service

STARTER = SuiteRequest(choice=SuiteChoice(name="starter"))
SUITE = Suite(name="starter", sha256="d" * 64, licence="MIT", source="here", num_total=0, prompts=())
REFUSAL = Problem(
    title="Unprocessable",
    status=422,
    detail="1 sample can't be scored",
    errors=(ErrorItem(pointer="/dialogues/3", detail="too long"),),
    error=OpenAiError(message="1 sample can't be scored", type="invalid_request_error"),
)


class Script:
    """A server that gives the next of these answers; the last one again and again."""

    def __init__(self, *answers: tuple[int, bytes] | tuple[int, bytes, dict[str, str]]) -> None:
        self.answers = [(answer[0], answer[1], answer[2] if len(answer) == 3 else {}) for answer in answers]
        self.headers: list[dict[str, str]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                script.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, body, headers = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object, **named: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def remote(self, check: Callable[[], None] = lambda: None, stall_seconds: float = 60.0) -> Remote:
        url = f"http://127.0.0.1:{self.server.server_port}"
        return Remote(Service("evaluator", url, "token", stall_seconds), check, "req-1")


@pytest.fixture
def serve() -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def start(*answers: tuple[int, bytes]) -> Script:
        scripts.append(Script(*answers))
        return scripts[-1]

    yield start
    for script in scripts:
        script.server.shutdown()
        script.server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)


def test_an_outage_is_waited_for(serve: Callable[..., Script]) -> None:
    script = serve((503, b""), (500, b""), (200, SUITE.model_dump_json().encode()))
    client = script.remote()
    assert client.suite(STARTER) == SUITE
    assert [headers["x-request-id"] for headers in script.headers] == ["req-1"] * 3
    assert script.headers[0]["authorization"] == "Bearer token"
    client.close()


def test_a_proxy_of_the_environment_is_not_told_the_token(
    serve: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, script = serve((200, b"{}")), serve((200, SUITE.model_dump_json().encode()))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server.server_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = script.remote()
    assert client.suite(STARTER) == SUITE
    assert proxy.headers == []
    client.close()


def test_patience_ends(serve: Callable[..., Script], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.05)
    client = serve((503, b"")).remote()
    with pytest.raises(StageInterrupted, match="the evaluator did not answer"):
        client.suite(STARTER)
    client.close()


def test_a_judge_that_stays_away_sends_the_stage_back_and_costs_no_attempt(
    serve: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.05)
    away = Problem(
        title="Service Unavailable",
        status=503,
        detail="the judge 'oracle' did not answer (4 tries): it answered 500",
        error=OpenAiError(message="away", type="server_error", code="judge_unavailable"),
    )
    client = serve((503, away.model_dump_json().encode())).remote()
    with pytest.raises(JudgeAway, match="until its judge answers: the judge 'oracle' did not answer"):
        client.suite(STARTER)
    client.close()


def test_a_refusal_is_final_and_says_which_item(serve: Callable[..., Script]) -> None:
    client = serve((422, REFUSAL.model_dump_json().encode())).remote()
    with pytest.raises(StageFailed, match="1 sample can't be scored; /dialogues/3: too long") as failure:
        client.suite(STARTER)
    assert not isinstance(failure.value, StageInterrupted)
    client.close()


def test_a_service_without_room_sends_the_stage_back_and_costs_no_attempt(serve: Callable[..., Script]) -> None:
    client = serve((507, b"")).remote()
    with pytest.raises(StorageFull, match="the evaluator has no room"):
        client.suite(STARTER)
    client.close()


def test_nonsense_is_final(serve: Callable[..., Script]) -> None:
    client = serve((200, b'{"name": 3}')).remote()
    with pytest.raises(StageFailed, match="nonsense"):
        client.suite(STARTER)
    client.close()


def test_a_cancelled_job_does_not_wait(serve: Callable[..., Script]) -> None:
    def cancelled() -> None:
        raise JobCancelled("gone")

    script = serve((503, b""))
    client = script.remote(cancelled)
    with pytest.raises(JobCancelled):
        client.suite(STARTER)
    assert script.headers == []
    client.close()


def test_a_service_that_is_full_is_left_alone_for_as_long_as_it_asks(serve: Callable[..., Script]) -> None:
    full = (503, b"", {"retry-after": "1"})
    script = serve(full, (200, SUITE.model_dump_json().encode()))
    client = script.remote()
    started = time.monotonic()
    assert client.suite(STARTER) == SUITE
    assert time.monotonic() - started >= 1.0
    client.close()


@pytest.mark.parametrize("value", ["Wed, 25 Nov 2026 10:00:00 GMT", "-3", "soon", ""])
def test_a_retry_after_that_is_no_number_is_passed_over(serve: Callable[..., Script], value: str) -> None:
    script = serve((503, b"", {"retry-after": value}), (200, SUITE.model_dump_json().encode()))
    client = script.remote()
    started = time.monotonic()
    assert client.suite(STARTER) == SUITE
    assert time.monotonic() - started < 0.9
    client.close()


def test_nobody_is_waited_for_longer_than_a_cancelled_job_can_bear(
    serve: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_RETRY_AFTER_SECONDS", 0.1)
    script = serve((503, b"", {"retry-after": "3600"}), (200, SUITE.model_dump_json().encode()))
    client = script.remote()
    assert client.suite(STARTER) == SUITE
    client.close()


def test_an_answer_in_an_envelope_is_taken_out(serve: Callable[..., Script]) -> None:
    unavailable = b"\n\n" + seal(Envelope(status=503, headers={"retry-after": "0"}), b"")
    whole = b"\n" + seal(Envelope(status=200), SUITE.model_dump_json().encode())
    cut_off = whole[:20]
    script = serve(*((200, body, {"content-type": MEDIA_TYPE}) for body in (unavailable, cut_off, whole)))
    client = script.remote()
    assert client.suite(STARTER) == SUITE
    assert [headers["accept"] for headers in script.headers] == [MEDIA_TYPE] * 3
    client.close()


class Silent:
    """A service that takes connections, says nothing, and hears whether they are closed."""

    def __init__(self) -> None:
        self.asked, self.left = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _take(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while connection.recv(65536):
                self.asked.set()
            self.left.set()


@pytest.fixture
def silent() -> Iterator[Silent]:
    service = Silent()
    yield service
    service.close()


def test_a_service_that_hangs_is_given_up(silent: Silent) -> None:
    client = Remote(Service("evaluator", silent.url, "token", stall_seconds=0.2), lambda: None, None)
    with pytest.raises(StageInterrupted, match="the evaluator hangs: it made no progress for") as hung:
        client.suite(STARTER)
    assert hung.value.code == "evaluator_hung"
    assert silent.left.wait(5)
    client.close()


def test_a_job_that_is_cancelled_amid_a_call_leaves_at_once(silent: Silent) -> None:
    def check() -> None:
        if silent.asked.is_set():
            raise JobCancelled("gone")

    client = Remote(Service("evaluator", silent.url, "token", stall_seconds=3600), check, None)
    with pytest.raises(JobCancelled):
        client.suite(STARTER)
    assert silent.left.wait(5), "the service must hear that nobody waits"
    client.close()
