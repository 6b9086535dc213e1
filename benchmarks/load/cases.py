"""Loads, each against one server. Figures are counts, seconds and rates; nothing here judges them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.load.client import Connection, Reply, Server, read_head
from local.ports import HOST

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 1.0

Figures = dict[str, Any]


async def burst(server: Server, request: bytes, num_requests: int) -> Figures:
    """`num_requests` at once, each on a connection of its own; and how soon the API answers again after them."""
    lines = [Connection(server) for _ in range(num_requests)]
    replies = await asyncio.gather(*(line.ask(request, PATIENCE_SECONDS) for line in lines))
    for line in lines:
        line.close()
    return summed(replies) | {"back_seconds": await _back(server)}


async def _back(server: Server) -> float:
    started, line = time.perf_counter(), Connection(server)
    while (await line.ask(server.request("GET", "/readyz"), PATIENCE_SECONDS)).status != 200:
        await asyncio.sleep(0.01)
    line.close()
    return time.perf_counter() - started


async def sustained(server: Server, request: bytes, rate: float, seconds: float) -> Figures:
    """`rate` requests a second, sent when they are due, however late the answers are."""
    idle: list[Connection] = []
    tasks: list[asyncio.Task[Reply]] = []

    async def ask(due: float) -> Reply:
        line = idle.pop() if idle else Connection(server)
        reply = await line.ask(request, PATIENCE_SECONDS, due)
        idle.append(line)
        return reply

    started = time.perf_counter()
    for number in range(round(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(due - time.perf_counter())
        tasks.append(asyncio.create_task(ask(due)))
    replies = await asyncio.gather(*tasks)
    for line in idle:
        line.close()
    return summed(replies) | {"rate": rate, "seconds": seconds}


async def polls(server: Server, path: str, num_pollers: int, seconds: float, with_etag: bool) -> Figures:
    """Each of `num_pollers` asks once a second, on a connection of its own, for what has not changed."""
    end = time.perf_counter() + seconds

    async def poll(number: int) -> list[Reply]:
        line, etag, replies = Connection(server), None, []
        due = time.perf_counter() + POLL_SECONDS * number / num_pollers
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            known: dict[str, str] = {"if_none_match": etag} if with_etag and etag else {}
            reply = await line.ask(server.request("GET", path, **known), PATIENCE_SECONDS, due)
            replies.append(reply)
            # Who was answered late polls again at once, and does not make up for the polls that it missed.
            etag, due = reply.etag or etag, max(due + POLL_SECONDS, time.perf_counter())
        line.close()
        return replies

    polled = await asyncio.gather(*(poll(number) for number in range(num_pollers)))
    replies = [reply for each in polled for reply in each]
    later = [reply.status for each in polled for reply in each[1:]]
    unchanged = later.count(304) / len(later) if later else None
    rate = len(replies) / seconds
    return summed(replies) | {"pollers": num_pollers, "rate": rate, "share_304_after_first": unchanged}


async def streams(server: Server, path: str, num_streams: int, seconds: float) -> Figures:
    """`num_streams` follow a job's events for a while; each must have had the first event."""

    async def follow() -> Reply:
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection(HOST, server.port)
        try:
            writer.write(server.request("GET", path, accept="text/event-stream"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, _headers = await read_head(reader)
                if status == 200:
                    await reader.readuntil(b"event: job.created")
            reply = Reply(status, time.perf_counter() - started)
            await asyncio.sleep(max(0.0, seconds - reply.seconds))
            return reply
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return Reply(0, time.perf_counter() - started)
        finally:
            writer.close()

    return summed(await asyncio.gather(*(follow() for _ in range(num_streams)))) | {"streams": num_streams}


def summed(replies: Sequence[Reply]) -> Figures:
    """Answers by status (0: none came), and quantiles of the seconds until they came."""
    seconds = sorted(reply.seconds for reply in replies)
    statuses = Counter(str(reply.status) for reply in replies)
    quantiles = {f"p{share}": seconds[min(len(seconds) - 1, len(seconds) * share // 100)] for share in (50, 99)}
    return {"num": len(seconds), "statuses": dict(sorted(statuses.items())), **quantiles, "slowest": seconds[-1]}
