"""`python -m benchmarks.load`: the gateway under load, beside a plain FastAPI + SQLAlchemy route in the same run.

One process of each, as `make up` and Compose start it, shares the machine with PostgreSQL, Redis and this client. Each
case is one JSON line: answers by status (0 is none within a minute), quantiles of the seconds until they came, counted
from when a request was due, and the memory of the server before and after. A 503 is load that was shed.

burst      requests at once, each on a connection of its own; `back_seconds` until `/readyz` says 200 after the last
sustained  so many requests a second, sent when they are due however late the answers are
polls      pollers that ask once a second for what has not changed, with the ETag and without
streams    clients that follow a job's events
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.load.cases import PATIENCE_SECONDS, Figures, burst, polls, streams, sustained
from benchmarks.load.client import Connection
from benchmarks.load.servers import Loaded, serving
from benchmarks.processor import processor_name

CHARACTER = {
    "name": "Vesna",
    "profile": "You are Vesna, who keeps a lighthouse.",
    "dialogues": [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Vesna."}]}],
}


class Case(NamedTuple):
    """A load and how to make it."""

    name: str
    load: Coroutine[None, None, Figures]


def main() -> None:
    """Load both servers, case by case."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="rolekeeper-load-") as folder, serving(Path(folder)) as (gateway, plain):
        character = asyncio.run(call(gateway, "/v1/characters", CHARACTER))
        order = {"character": character, "base_model": "smollm2-135m"}
        for name, loaded in (("gateway", gateway), ("plain", plain)):
            job = asyncio.run(call(loaded, "/v1/jobs", order))
            for case in cases(options, loaded, order, job):
                figures = measured(loaded, case)
                line = {"benchmark": "load", "case": case.name, "server": name, "processor": processor_name()}
                print(json.dumps(line | rounded(figures)), flush=True)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", type=int, nargs="*", default=[200, 500, 1000, 2000])
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 20, 40, 80, 200], help="requests a second")
    parser.add_argument("--pollers", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each case but the bursts")
    return parser.parse_args()


def cases(options: argparse.Namespace, loaded: Loaded, order: dict[str, str], job: str) -> Iterator[Case]:
    """The loads of one server, in their order."""
    server, path = loaded.server, f"/v1/jobs/{job}"
    submit = server.request("POST", "/v1/jobs", order)
    for size in options.bursts:
        yield Case(f"burst of {size}", burst(server, submit, size))
    for rate in options.rates:
        yield Case(f"{rate:g} submits a second", sustained(server, submit, rate, options.seconds))
    is_ours = "authorization" in server.headers
    for with_etag in (True, False) if is_ours else (False,):
        how = "with ETag" if with_etag else "without ETag"
        yield Case(f"polls {how}", polls(server, path, options.pollers, options.seconds, with_etag))
    if is_ours:
        yield Case("streams", streams(server, f"{path}/events", options.streams, options.seconds))


def measured(loaded: Loaded, case: Case) -> Figures:
    """The figures of a case, and what it cost the server."""
    memory, computed, started = loaded.resident_mib(), loaded.cpu_seconds(), time.perf_counter()
    figures = asyncio.run(case.load)
    cpu = (loaded.cpu_seconds() - computed) / (time.perf_counter() - started)
    return figures | {"cpu_share": cpu, "mib_before": round(memory), "mib_after": round(loaded.resident_mib())}


async def call(loaded: Loaded, path: str, body: object) -> str:
    """Make one thing. Returns its id."""
    line = Connection(loaded.server)
    reply = await line.ask(loaded.server.request("POST", path, body), PATIENCE_SECONDS)
    line.close()
    made: dict[str, str] = json.loads(reply.body)
    return made["id"]


def rounded(figures: Figures) -> Figures:
    """Figures as a person reads them."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


if __name__ == "__main__":
    main()
