"""`python -m gateway.audit` on a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from gateway import audit
from rolekeeper.jobs.db import Database

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """The command: its exit code, and what it prints to whom."""
    monkeypatch.setenv("ROLEKEEPER_DATABASE_URL", database_url)
    monkeypatch.setenv("ROLEKEEPER_REDIS_URL", redis_url)
    monkeypatch.setenv("ROLEKEEPER_STORE_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = audit.main(list(arguments))
        return (code, *capsys.readouterr())

    return run


def test_the_log_is_verified_by_one_command(
    command: Command, database: Database, make_client: Callable[..., TestClient]
) -> None:
    assert command() == (0, "the log is empty\n", "")
    make_client("platform")
    make_client("rival")
    code, printed, _ = command()
    assert (code, printed.partition(",")[0]) == (0, "2 entries")
    head = printed.splitlines()[1]
    make_client("a third")
    assert command("--head", head)[:1] == (0,)
    with database.transaction() as session:
        session.execute(text("alter table audit disable trigger user"))
        session.execute(text("update audit set owner = 'rival' where id = 1"))
    code, _, complaint = command()
    assert (code, complaint) == (
        1,
        "the log is broken at entry 1: it was changed, or one before it was removed\n",
    )


@pytest.mark.parametrize("head", ["", "7", "7:abc", "x:" + "0" * 64])
def test_what_is_no_head_is_wrong_usage(command: Command, head: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command("--head", head)
    assert ended.value.code == 2
