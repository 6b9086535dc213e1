"""The whole stack as one context manager: what it starts, it stops, however the block ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Self

import httpx

from local.failures import StackFailed
from local.plan import HTTP_PROCESSES, WORKERS, Plan
from local.postgres import Postgres
from local.processes import ROOT, Process, run_to_end
from local.record import StackRecord, StateFolder, describe
from local.redis_server import RedisServer
from local.settings import Settings
from local.signals import unstoppable
from rolekeeper.contracts.release import Scope

READY_SECONDS = 180.0
SETUP_SECONDS = 120.0
STOP_SECONDS = 15.0
MAX_RESTARTS = 5
# Between restarts, so that a process that can't start does not keep the machine busy.
RESTART_PAUSE_SECONDS = 1.0


class Stack:
    """PostgreSQL and Redis, unless the settings name real ones, the migrated schema, the five processes and an API key.

    Raises:
        StackFailed: on entering, when a part does not start; everything is stopped again first.
    """

    def __init__(self, plan: Plan, settings: Settings | None = None) -> None:
        self.plan = plan
        self.processes: dict[str, Process] = {}
        self.postgres: Postgres | None = None
        self.redis: RedisServer | None = None
        self.api_key = ""
        self._settings = settings or Settings()
        self._folder = StateFolder(plan.state)
        self._restarts = dict.fromkeys((*HTTP_PROCESSES, *WORKERS), 0)
        self._restarted_at = 0.0
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every process, give the ports back and drop the temporary files; logs and data stay."""
        with unstoppable():
            for process in self.processes.values():
                process.ask_to_stop()
            deadline = time.monotonic() + STOP_SECONDS
            for process in self.processes.values():
                process.stop(max(0.0, deadline - time.monotonic()))
            self._exit.close()

    def revive(self) -> None:
        """Start every one of the five processes again that has ended. Raises StackFailed if one keeps ending."""
        for name, process in self.processes.items():
            if process.is_alive or time.monotonic() < self._restarted_at + RESTART_PAUSE_SECONDS:
                continue
            if self._restarts[name] == MAX_RESTARTS:
                raise StackFailed(f"{name} ended {MAX_RESTARTS + 1} times{process.log_end()}")
            self._restarts[name] += 1
            process.restart()
            self._restarted_at = time.monotonic()
            self._write_record()

    def wait_ready(self) -> None:
        """Wait until every HTTP process can do its work and the workers run."""
        for name in HTTP_PROCESSES:
            self.processes[name].wait_ready(partial(_is_ready, self.plan.url_of(name)), READY_SECONDS)
        for name in WORKERS:
            self.processes[name].wait_ready(partial(_is_alive, self.processes[name]), READY_SECONDS)

    def _start(self) -> None:
        self._exit.enter_context(self._folder.locked())
        self._folder.clean_up_after_crash()
        self._exit.callback(self._folder.forget)
        shutil.rmtree(self.plan.state / "logs", ignore_errors=True)
        self._folder.temporary.mkdir(exist_ok=True)
        environment = self.plan.environment(self._start_database(), self._start_queue())
        self._run("migrate", environment, "alembic", "upgrade", "head")
        for name in (*HTTP_PROCESSES, *WORKERS):
            process = self.processes[name] = Process(self.plan.command(name, environment))
            process.start()
        self._write_record()
        # Who runs the stack on their own machine is owner and approver in one.
        scopes = [word for scope in Scope for word in ("--scope", scope.value)]
        self.api_key = self._run("key", environment, "gateway.keys", "create", "local", *scopes)
        self.wait_ready()
        self._write_record()

    def _start_database(self) -> str:
        if self._settings.database_url is not None:
            return self._settings.database_url
        self.postgres = Postgres(
            self.plan.state / "postgres", self.plan.ports["postgres"], self.plan.log_path("postgres")
        )
        self._exit.callback(self.postgres.stop)
        self.postgres.start()
        return self.postgres.url()

    def _start_queue(self) -> str:
        if self._settings.redis_url is not None:
            return self._settings.redis_url
        self.redis = RedisServer(self.plan.state / "redis", self.plan.ports["redis"], self.plan.log_path("redis"))
        self._exit.callback(self.redis.stop)
        self.redis.start()
        return self.redis.url

    def _run(self, name: str, environment: Mapping[str, str], module: str, *arguments: str) -> str:
        """Run a module to its end; gives what it wrote to stdout."""
        command = [sys.executable, "-m", module, *arguments]
        done = run_to_end(command, environment, ROOT, "", SETUP_SECONDS)
        if done.returncode != 0:
            raise StackFailed(f"{name} ended with status {done.returncode}:\n{done.stderr.strip()}")
        return done.stdout.strip()

    def _write_record(self) -> None:
        running = dict(self.processes)
        if self.postgres is not None:
            running["postgres"] = self.postgres.process
        if self.redis is not None:
            running["redis"] = self.redis.process
        self._folder.write(
            StackRecord(
                supervisor=describe(os.getpid()),
                processes={name: describe(process.pid) for name, process in running.items() if process.is_alive},
                ports=dict(self.plan.ports),
                url=self.plan.url,
                api_key=self.api_key or None,
            )
        )


def _is_alive(process: Process) -> bool:
    return process.is_alive


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5.0).is_success
    except httpx.HTTPError:
        return False
