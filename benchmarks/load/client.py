"""A client that is light enough to share two cores with what it loads: HTTP/1.1 on bare asyncio streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import NamedTuple

from local.ports import HOST

LIMIT_BYTES = 1 << 20


class Reply(NamedTuple):
    """An answer. `seconds` are those since it was due; `status` is 0 where none came."""

    status: int
    seconds: float
    etag: str | None = None
    body: bytes = b""


class Server(NamedTuple):
    """Where one server listens, and what every request to it carries."""

    port: int
    headers: Mapping[str, str]

    def request(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """The bytes of a request."""
        content = b"" if body is None else json.dumps(body).encode()
        told = {"host": f"{HOST}:{self.port}", "content-length": str(len(content)), **self.headers, **headers}
        if body is not None:
            told["content-type"] = "application/json"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Connection:
    """One connection, opened by its first request and opened again after it broke."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, patience: float, due: float | None = None) -> Reply:
        """Send a request and read the answer, or give it up."""
        due = time.perf_counter() if due is None else due
        try:
            async with asyncio.timeout(patience):
                status, etag, body = await self._exchange(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.close()
            return Reply(0, time.perf_counter() - due)
        return Reply(status, time.perf_counter() - due, etag, body)

    async def _exchange(self, request: bytes) -> tuple[int, str | None, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port, limit=LIMIT_BYTES)
        reader, writer = self._streams
        writer.write(request)
        status, headers = await read_head(reader)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return status, headers.get("etag"), body

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            with contextlib.suppress(OSError):
                self._streams[1].close()
        self._streams = None


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
