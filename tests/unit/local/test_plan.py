"""The plan of a stack: every process is told where the others are."""

from __future__ import annotations

from pathlib import Path

from local.plan import HTTP_PROCESSES, make_plan


def test_processes_are_told_where_things_are(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, extra={"lease_seconds": "6"})
    environment = plan.environment("postgresql+psycopg://db", "redis://queue")
    assert environment["ROLEKEEPER_DATABASE_URL"] == "postgresql+psycopg://db"
    assert environment["ROLEKEEPER_REDIS_URL"] == "redis://queue"
    assert environment["ROLEKEEPER_LEASE_SECONDS"] == "6"
    assert environment["ROLEKEEPER_SCORER_URL"].endswith(environment["ROLEKEEPER_SCORER_PORT"])
    assert environment["ROLEKEEPER_EVALUATOR_URL"].endswith(environment["ROLEKEEPER_EVALUATOR_PORT"])
    assert plan.url.endswith(environment["ROLEKEEPER_GATEWAY_PORT"])
    assert len({plan.ports[name] for name in HTTP_PROCESSES}) == len(HTTP_PROCESSES)


def test_every_start_has_its_own_secret_and_temporary_folder(tmp_path: Path) -> None:
    first, second = make_plan(tmp_path), make_plan(tmp_path)
    assert first.service_token != second.service_token
    assert first.environment("", "")["TMPDIR"].startswith(str(tmp_path))


def test_the_service_token_is_not_printed(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    assert plan.service_token not in repr(plan)
