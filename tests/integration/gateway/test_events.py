"""Events of a job as JSON pages, and as a stream of a job that has ended. Live streams: see test_process.py."""

from __future__ import annotations

import json
from typing import NamedTuple

from fastapi.testclient import TestClient

from tests.integration.gateway.calls import create_job, problem_of

STREAM = {"accept": "text/event-stream"}


class Sent(NamedTuple):
    kind: str
    id: str | None
    data: dict[str, object]


def read_stream(text: str) -> list[Sent]:
    """The events of a stream, without comments."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append(Sent(fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


def test_pages(client: TestClient) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    client.post(f"{path}/cancel")
    whole = client.get(f"{path}/events").json()
    assert [event["type"] for event in whole["data"]][:2] == ["job.created", "job.cancel_requested"]
    first = client.get(f"{path}/events", params={"limit": 1}).json()
    assert (first["data"], first["has_more"]) == (whole["data"][:1], True)
    rest = client.get(f"{path}/events", params={"after": first["data"][0]["id"]}).json()
    assert (rest["data"], rest["has_more"]) == (whole["data"][1:], False)


def test_stream_of_an_ended_job_replays_and_ends(client: TestClient) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    client.post(f"{path}/cancel")
    events = client.get(f"{path}/events").json()["data"]
    response = client.get(f"{path}/events", headers=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    *sent, last = read_stream(response.text)
    assert [event.data for event in sent] == events
    assert [(event.kind, event.id) for event in sent] == [(event["type"], str(event["id"])) for event in events]
    assert (last.kind, last.id, last.data) == ("done", None, {"status": "cancelled"})
    resumed = client.get(f"{path}/events", headers={**STREAM, "last-event-id": str(events[0]["id"])})
    assert read_stream(resumed.text) == [*sent[1:], last]
    odd = client.get(f"{path}/events", headers={**STREAM, "last-event-id": "x" * 40})
    assert read_stream(odd.text) == [*sent, last]


def test_stream_of_no_job_is_a_plain_404(client: TestClient) -> None:
    assert problem_of(client.get("/v1/jobs/job_0/events", headers=STREAM), 404)
