"""The Python client of the public API.

Example:
    from rolekeeper.client.client import Client

    with Client("http://127.0.0.1:8000", "rk_...") as client:
        dialogues = client.upload_dialogues(Path("dialogues.jsonl"))
        character = client.create_character(CharacterCreate(name=..., profile=..., dialogue_file=dialogues.id))
        job = client.create_job(JobCreate(character=character.id, base_model="smollm2-135m"))
        job = client.wait(job.id)
        adapter = client.download_adapter(job.id, Path("."))
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from rolekeeper.client.download import AdapterDownload, OnBytes
from rolekeeper.client.errors import network_errors, raise_for_answer
from rolekeeper.client.patience import OnRetry, persist
from rolekeeper.contracts.characters import Character, CharacterCreate, UploadedFile
from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.events import JobEvent
from rolekeeper.contracts.jobs import TERMINAL, Job, JobCreate
from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.release import AuditEntry
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.scores import SampleScore, ScoreSummary
from rolekeeper.errors import InvalidInput, RolekeeperError

PAGE_SIZE = 100
FOLDERS = {"job": "jobs", "char": "characters", "file": "files"}
"""The part of the API's paths, by how an id begins."""

READ_PATIENCE_SECONDS = 5.0
WAIT_PATIENCE_SECONDS = 120.0

M = TypeVar("M", bound=BaseModel)


class _Poll(NamedTuple):
    """One look at a job. `job` is None while nothing has changed."""

    job: Job | None
    etag: str | None


class Client:
    """Calls the public API with one key. Every method may raise `ApiError` and `Unavailable`.

    Reads are tried again for a few seconds while the API is away, `wait` and `download_adapter` for two minutes;
    writes are not. `timeout` is in seconds, for connecting and for each pause between bytes. `on_retry` is told the
    error and the seconds until the next try. `transport` replaces the network.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key.strip()}", "user-agent": "rolekeeper-client"}
        self.base_url = base_url
        self._on_retry = on_retry
        try:
            self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, transport=transport)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InvalidInput(f"the URL or the key can't be sent: {error}; check both") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create_character(self, character: CharacterCreate) -> Character:
        """Store a character with its dialogues, or with the id of an uploaded file of them."""
        body = character.model_dump_json(exclude_unset=True)
        return _parse(Character, self._post("/v1/characters", content=body))

    def upload_dialogues(self, path: Path) -> UploadedFile:
        """Upload a JSONL file, one dialogue a line. It is streamed, not read into memory."""
        return self._upload(path, "fine-tune")

    def upload_suite(self, path: Path) -> UploadedFile:
        """Upload your own suite of prompts, JSONL or CSV, to be named in a job's `evaluation.suites`."""
        return self._upload(path, "suite")

    def _upload(self, path: Path, purpose: str) -> UploadedFile:
        with path.open("rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            request = self._request("POST", "/v1/files", data={"purpose": purpose}, files=files)
            return _parse(UploadedFile, self._send(request))

    def create_job(self, job: JobCreate) -> Job:
        """Start a job. What `job` does not set is left to the deployment's defaults."""
        return _parse(Job, self._post("/v1/jobs", content=job.model_dump_json(exclude_unset=True)))

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return _parse(Job, self._get(f"/v1/jobs/{job_id}"))

    def jobs(self, limit: int | None = None) -> Iterator[Job]:
        """The newest `limit` jobs, or all, page by page."""
        size = str(min(limit or PAGE_SIZE, PAGE_SIZE))
        pages = self._pages("/v1/jobs", Page[Job], lambda job: job.id, limit=size)
        return itertools.islice(pages, limit)

    def cancel(self, job_id: str) -> Job:
        """Ask for the job to stop. It stops soon, and can't be resumed."""
        return _parse(Job, self._post(f"/v1/jobs/{job_id}/cancel"))

    def pause(self, job_id: str) -> Job:
        """Ask for the job to make room. It is `paused` once its stage has stopped, with a checkpoint if it trains."""
        return _parse(Job, self._post(f"/v1/jobs/{job_id}/pause"))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on where it was."""
        return _parse(Job, self._post(f"/v1/jobs/{job_id}/resume"))

    def delete(self, resource_id: str) -> Deleted:
        """Delete a job that has ended, a character without jobs, or an uploaded file: the id says which it is."""
        folder = FOLDERS.get(resource_id.partition("_")[0])
        if folder is None:
            raise InvalidInput(f"{resource_id!r} is no id of a job, a character or a file: job_..., char_..., file_...")
        return _parse(Deleted, self._send(self._request("DELETE", f"/v1/{folder}/{resource_id}")))

    def evaluate(self, job_id: str, options: EvaluationOptions | None = None) -> Job:
        """Evaluate the job's adapter again, as a job of its own. What `options` does not set is as before."""
        body = "{}" if options is None else options.model_dump_json(exclude_unset=True)
        return _parse(Job, self._post(f"/v1/jobs/{job_id}/evaluate", content=body))

    def release(self, job_id: str, note: str) -> Job:
        """Let the job's adapter out. The key needs the scope `safety:approve`."""
        return self._decide(job_id, "release", note)

    def withhold(self, job_id: str, note: str) -> Job:
        """Hold the job's adapter back. The key needs the scope `safety:approve`."""
        return self._decide(job_id, "withhold", note)

    def audit(self, job_id: str | None = None, limit: int | None = None) -> Iterator[AuditEntry]:
        """The newest `limit` entries of the audit log, or all; about one job, or about all."""
        query = {"limit": str(min(limit or PAGE_SIZE, PAGE_SIZE))} | ({} if job_id is None else {"job": job_id})
        pages = self._pages("/v1/audit", Page[AuditEntry], lambda entry: str(entry.id), **query)
        return itertools.islice(pages, limit)

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """What happened to the job since the event `after`, oldest first."""
        return self._pages(f"/v1/jobs/{job_id}/events", Page[JobEvent], lambda event: str(event.id), after=str(after))

    def wait(
        self,
        job_id: str,
        on_update: Callable[[Job], None] | None = None,
        poll_seconds: float = 1.0,
    ) -> Job:
        """Follow the job to its end. `on_update` gets every change that is seen, the first and the last state too."""
        etag: str | None = None
        while True:
            seen = persist(partial(self._poll, job_id, etag), WAIT_PATIENCE_SECONDS, self._on_retry)
            etag = seen.etag
            if seen.job is not None:
                if on_update is not None:
                    on_update(seen.job)
                if seen.job.status in TERMINAL:
                    return seen.job
            time.sleep(poll_seconds)

    def scores(self, job_id: str) -> Iterator[SampleScore]:
        """The scores of the job's samples, in their order, page by page."""
        return self._pages(f"/v1/jobs/{job_id}/scores", Page[SampleScore], lambda score: str(score.index))

    def score_summary(self, job_id: str) -> ScoreSummary:
        """What the scores of all samples of the job say about its character."""
        return _parse(ScoreSummary, self._get(f"/v1/jobs/{job_id}/scores/summary"))

    def report(self, job_id: str) -> SafetyReport:
        """The safety report of a job that succeeded."""
        return _parse(SafetyReport, self._get(f"/v1/jobs/{job_id}/report"))

    def card(self, job_id: str) -> str:
        """The model card of the job's adapter, with the results of its safety report: Markdown."""
        return self._get(f"/v1/jobs/{job_id}/card").text

    def download_adapter(self, job_id: str, folder: Path, on_bytes: OnBytes | None = None) -> Path:
        """Download the adapter of a job that succeeded to `folder`, and verify its sha256.

        A download that was cut, in this call or in one before, goes on where it stopped. `on_bytes` is told the bytes
        so far and in all.
        """
        download = AdapterDownload(partial(self._stream, f"/v1/jobs/{job_id}/adapter"), folder / f"{job_id}.tar")
        return download.run(partial(persist, seconds=WAIT_PATIENCE_SECONDS, on_retry=self._on_retry), on_bytes)

    def _decide(self, job_id: str, decision: str, note: str) -> Job:
        return _parse(Job, self._post(f"/v1/jobs/{job_id}/{decision}", content=json.dumps({"note": note})))

    def _poll(self, job_id: str, etag: str | None) -> _Poll:
        headers = {} if etag is None else {"if-none-match": etag}
        response = self._send(self._request("GET", f"/v1/jobs/{job_id}", headers=headers))
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return _Poll(None, etag)
        return _Poll(_parse(Job, response), response.headers.get("etag"))

    def _pages(self, path: str, model: type[Page[M]], cursor: Callable[[M], str], **query: str) -> Iterator[M]:
        params = {"limit": str(PAGE_SIZE)} | query
        while True:
            page = _parse(model, self._get(path, params))
            yield from page.data
            if not page.has_more or not page.data:
                return
            params["after"] = cursor(page.data[-1])

    def _get(self, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        def read() -> httpx.Response:
            return self._send(self._request("GET", path, params=params))

        return persist(read, READ_PATIENCE_SECONDS, self._on_retry)

    def _post(self, path: str, content: str | None = None) -> httpx.Response:
        headers = {} if content is None else {"content-type": "application/json"}
        return self._send(self._request("POST", path, content=content, headers=headers))

    def _request(self, method: str, path: str, headers: dict[str, str] | None = None, **parts: Any) -> httpx.Request:
        headers = {"x-request-id": uuid.uuid4().hex} | (headers or {})
        return self._http.build_request(method, path, headers=headers, **parts)

    def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        with network_errors(self.base_url):
            response = self._http.send(request, stream=stream)
            if not response.is_success:
                response.read()
        raise_for_answer(response)
        return response

    @contextlib.contextmanager
    def _stream(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        response = self._send(self._request("GET", path, headers=headers), stream=True)
        try:
            with network_errors(self.base_url):
                yield response
        finally:
            response.close()


def _parse(model: type[M], response: httpx.Response) -> M:
    # A newer server may send fields that this client does not know yet.
    try:
        return model.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise RolekeeperError(
            f"{response.url} answered something else than a {model.__name__}; check the URL, and that client and "
            f"server have about the same version: {error}"
        ) from error
