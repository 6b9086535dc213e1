"""Which processes the stack has: their commands, ports, folders and settings."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.ports import HOST, free_ports
from local.processes import Command
from local.settings import child_environment

HTTP_PROCESSES = ("gateway", "scorer", "evaluator")
WORKERS = ("conductor", "trainer")
SERVERS = ("postgres", "redis")
DEFAULTS = {
    # Seven programs share one machine's memory, and longer micro-batches are no faster on a CPU.
    "ROLEKEEPER_MAX_BATCH_TOKENS": "512",
    # Half the time of a training, on a CPU that has bf16 instructions; on others it changes nothing.
    "ROLEKEEPER_MATMUL_PRECISION": "medium",
}
POLICY = Path(__file__).with_name("policy.toml")


@dataclass(frozen=True)
class Plan:
    """One stack, before anything of it is started. `cache` may be shared by stacks; it is never emptied."""

    state: Path
    cache: Path
    ports: Mapping[str, int]
    service_token: str = field(repr=False)
    extra: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where the public API answers."""
        return self.url_of("gateway")

    def url_of(self, process: str) -> str:
        """Where an HTTP process answers."""
        return f"http://{HOST}:{self.ports[process]}"

    def log_path(self, process: str) -> Path:
        """Where the log of a process is."""
        return self.state / "logs" / f"{process}.log"

    def environment(self, database_url: str, redis_url: str) -> dict[str, str]:
        """The environment of the five processes; each reads what it needs."""
        addresses = {f"{name}_host": HOST for name in HTTP_PROCESSES}
        addresses |= {f"{name}_port": str(self.ports[name]) for name in HTTP_PROCESSES}
        addresses |= {f"{name}_url": self.url_of(name) for name in ("scorer", "evaluator")}
        places = {
            "database_url": database_url,
            "redis_url": redis_url,
            "store_dir": str(self.state / "store"),
            "work_dir": str(self.state / "work"),
            "cache_dir": str(self.cache),
            "service_token": self.service_token,
        }
        # What a process that is killed leaves in its temporary folder goes with the stack.
        temporary = {"TMPDIR": str(self.state / "tmp"), "PYTHONUNBUFFERED": "1"}
        defaults = DEFAULTS | {"ROLEKEEPER_GATE_POLICY": str(POLICY)}
        return defaults | child_environment(addresses | places | dict(self.extra)) | temporary

    def command(self, process: str, environment: Mapping[str, str]) -> Command:
        """How one of the five processes is started."""
        module = process if process == "gateway" else f"services.{process}"
        return Command(
            name=process,
            argv=(sys.executable, "-m", module),
            environment=environment,
            log_path=self.log_path(process),
        )


def make_plan(state: Path, cache: Path | None = None, extra: Mapping[str, str] | None = None) -> Plan:
    """A stack in the folder `state`, on ports that are free now. `extra` are settings, without their prefix."""
    names = (*SERVERS, *HTTP_PROCESSES)
    return Plan(
        state=state.absolute(),
        cache=(cache or state / "cache").absolute(),
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
        service_token=secrets.token_hex(32),
        extra=dict(extra or {}),
    )
