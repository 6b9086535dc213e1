"""Downloads that are cut, resumed and verified, against a real HTTP server."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from rolekeeper.client.client import Client
from rolekeeper.client.download import stated_digest
from rolekeeper.errors import RolekeeperError
from tests.unit.rolekeeper.client.api_server import ADAPTER, SHA256, ApiState


def test_downloads_and_names_the_file_after_the_job(client: Client, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = client.download_adapter("job_1", tmp_path / "new" / "folder", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "new" / "folder" / "job_1.tar"
    assert path.read_bytes() == ADAPTER
    assert seen[-1] == (len(ADAPTER), len(ADAPTER))
    assert list(path.parent.iterdir()) == [path]


def test_a_cut_download_goes_on_where_it_stopped(client: Client, api: ApiState, tmp_path: Path) -> None:
    api.cuts.extend([300_000, 70_000])
    assert client.download_adapter("job_1", tmp_path).read_bytes() == ADAPTER
    assert [request.headers.get("range") for request in api.requests] == [None, "bytes=300000-", "bytes=370000-"]


def test_goes_on_from_the_part_of_an_earlier_run(client: Client, api: ApiState, tmp_path: Path) -> None:
    (tmp_path / "job_1.tar.part").write_bytes(ADAPTER[:1000])
    seen: list[tuple[int, int]] = []
    path = client.download_adapter("job_1", tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == ADAPTER
    assert api.requests[0].headers["range"] == "bytes=1000-"
    assert {total for _, total in seen} == {len(ADAPTER)}


def test_a_part_that_is_too_long_is_dropped(client: Client, tmp_path: Path) -> None:
    (tmp_path / "job_1.tar.part").write_bytes(ADAPTER + b"more")
    assert client.download_adapter("job_1", tmp_path).read_bytes() == ADAPTER


def test_damaged_bytes_get_no_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "job_1.tar.part").write_bytes(b"x" * 1000)
    with pytest.raises(RolekeeperError, match="damaged on its way"):
        client.download_adapter("job_1", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert client.download_adapter("job_1", tmp_path).read_bytes() == ADAPTER


def test_bytes_that_can_not_be_verified_are_refused(client: Client, api: ApiState, tmp_path: Path) -> None:
    api.adapter_headers = {"etag": '"3-1700000000"'}
    with pytest.raises(RolekeeperError, match="stated no sha256"):
        client.download_adapter("job_1", tmp_path)


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": f'"{SHA256}"'},
        {"etag": f'"sha256-{SHA256}"'},
        {"etag": '"v1"', "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(SHA256)).decode()}:"},
    ],
)
def test_reads_the_digest_from_either_header(headers: dict[str, str]) -> None:
    assert stated_digest(httpx.Headers(headers)) == SHA256
