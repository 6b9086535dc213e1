"""What one request can make of the gateway's memory, within the limits that are documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.calls import USER
from tests.integration.gateway.conftest import Gateway

MEBIBYTE = 1 << 20
MAX_BYTES = 300 * MEBIBYTE
HEAD = b'{"name": "V", "profile": "You are V.", "dialogues": ['


def filled(head: bytes, piece: bytes, tail: bytes, size: int) -> bytes:
    return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail


def bodies() -> Iterator[tuple[str, bytes]]:
    size = 64 * MEBIBYTE - 1024
    yield "empty lists for dialogues", filled(HEAD, b"[],", b"[]]}", size)
    yield "empty lists beside the dialogues", filled(b'{"a": [', b"[],", b"[]]}", size)
    yield "empty lists alone", filled(b"[", b"[],", b"[]]", size)
    yield "one dialogue of empty lists", filled(HEAD + b'{"messages": [', b"[],", b"[]]}]}", size)
    yield "dialogues of a mebibyte", filled(HEAD, filled(b"[", b"{},", b"{}],", MEBIBYTE), b"[]]}", size)
    yield "one endless text", filled(b'{"name": "\xf0\x9f\x98\x80', b"a", b'"}', size)
    yield "a name without an end", filled(b'{"name": "', b"a", b"", size)
    yield "lists in lists", filled(HEAD, b"[[],", b"", size)
    yield "brackets without an end", filled(HEAD, b"[", b"", size)


def files() -> Iterator[tuple[str, str, bytes]]:
    yield "blank lines", "fine-tune", b"\n" * (64 * MEBIBYTE)
    yield "one line", "fine-tune", b"a" * (64 * MEBIBYTE)
    yield "lines of empty lists", "fine-tune", filled(b"", filled(b"[", b"[],", b"[]]\n", 200_000), b"", 64 * MEBIBYTE)
    keys = b",".join(b'"%06d":""' % number for number in range(200_000))
    yield "a suite's line of many keys", "suite", b'{"prompt": "a", ' + keys + b"}\n"
    yield "a suite of blank lines", "suite", b"{" + b"\n" * (15 * MEBIBYTE)
    yield "a suite of columns", "suite", b"prompt" + b"," * (15 * MEBIBYTE)
    yield "a suite of rows", "suite", b"\n".join([b"prompt,part,category", *[b"a,benign,b"] * MEBIBYTE])


def test_no_request_takes_more_than_300_mebibytes(gateway: Gateway) -> None:
    for name, body in bodies():
        response = gateway.client.post("/v1/characters", content=body)
        assert response.status_code == 422, (name, response.text[:300])
        assert peak_of(gateway) < MAX_BYTES, name
    for name, purpose, content in files():
        response = gateway.client.post("/v1/files", data={"purpose": purpose}, files={"file": ("a.jsonl", content)})
        assert response.status_code == 422, (name, response.text[:300])
        assert peak_of(gateway) < MAX_BYTES, name


def test_neither_does_a_character_at_the_limit(gateway: Gateway) -> None:
    count = 20_000
    size = 64 * MEBIBYTE // count
    dialogue = json.dumps(
        {"messages": [USER, {"role": "assistant", "content": "\u2600" + "a" * (size - 200)}]}
    ).encode()
    body = HEAD + b",".join([dialogue] * count) + b"]}"
    response = gateway.client.post("/v1/characters", content=body, timeout=120)
    assert response.status_code == 201, response.text[:300]
    assert response.json()["num_dialogues"] == count
    assert peak_of(gateway) < MAX_BYTES


def peak_of(gateway: Gateway) -> int:
    """The largest resident memory of the process so far, in bytes."""
    try:
        lines = Path(f"/proc/{gateway.process.pid}/status").read_text("utf-8").splitlines()
    except FileNotFoundError:
        pytest.skip("this system does not tell a process's largest memory")
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) * 1024
