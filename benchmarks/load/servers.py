"""What is loaded: PostgreSQL and Redis, one gateway process as `make up` and Compose start it, and the plain peer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from benchmarks.load.client import Server
from local.failures import StackFailed
from local.ports import HOST, free_ports
from local.postgres import Postgres
from local.processes import ROOT, Command, Process, run_to_end
from local.redis_server import RedisServer
from local.settings import child_environment

SETUP_SECONDS = 60.0
STOP_SECONDS = 30.0


class Loaded(NamedTuple):
    """A server, and the process that it is."""

    server: Server
    process: Process

    def resident_mib(self) -> float:
        """Memory of the process."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / (1 << 20)

    def cpu_seconds(self) -> float:
        """Time that the process has computed, its threads together."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[Loaded, Loaded]]:
    """Start everything under `folder`; gives the gateway and the peer, and stops all of it when the block ends."""
    with contextlib.ExitStack() as stack:
        ports = free_ports(4)
        postgres = Postgres(folder / "postgres", ports[0], folder / "postgres.log")
        stack.callback(postgres.stop)
        postgres.start()
        redis = RedisServer(folder / "redis", ports[1], folder / "redis.log")
        stack.callback(redis.stop)
        redis.start()
        settings = {"database_url": postgres.url(), "redis_url": redis.url, "store_dir": str(folder / "store")}
        host = _Host(folder, child_environment({**settings, "gateway_port": str(ports[2])}))
        host.run("alembic", "upgrade", "head")
        key = host.run("gateway.keys", "create", "load").split()[-1]
        gateway = stack.enter_context(host.serving(Server(ports[2], {"authorization": f"Bearer {key}"}), "gateway"))
        plain = Server(ports[3], {})
        yield (
            gateway,
            stack.enter_context(host.serving(plain, "benchmarks.load.plain", postgres.url(), str(plain.port))),
        )


class _Host(NamedTuple):
    """Runs Python modules of this repository."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, module: str, *arguments: str) -> str:
        """Run a module to its end. Returns what it wrote."""
        argv = [sys.executable, "-m", module, *arguments]
        done = run_to_end(argv, self.environment, ROOT, "", SETUP_SECONDS)
        if done.returncode != 0:
            raise StackFailed(f"{module} ended with status {done.returncode}: {done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self, server: Server, module: str, *arguments: str) -> Iterator[Loaded]:
        """Run a module that serves until the block ends."""
        process = Process(self._command(module, arguments))
        try:
            process.start()
            process.wait_ready(lambda: _is_ready(server.port), SETUP_SECONDS)
            yield Loaded(server, process)
        finally:
            process.stop(STOP_SECONDS)

    def _command(self, module: str, arguments: Sequence[str]) -> Command:
        argv = (sys.executable, "-m", module, *arguments)
        return Command(module, argv, self.environment, self.folder / f"{module}.log")


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
