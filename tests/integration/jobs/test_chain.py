"""The audit log as a chain in a real Postgres, against whoever may change its rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from rolekeeper.contracts.release import AuditAction
from rolekeeper.jobs import audit
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.chain import BrokenChain, Head, verify
from rolekeeper.jobs.db import Database

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
OFF = "alter table audit disable trigger user"


def append(database: Database, note: str | None) -> None:
    with database.transaction() as session:
        audit.append(session, "platform", AuditAction.ADAPTER_WITHHELD, About("key_1", "job_1", None, None, note))


def head_of(database: Database, noted: Head | None = None) -> Head:
    with database.transaction() as session:
        return verify(session, noted)


@pytest.fixture
def heads(database: Database) -> list[Head]:
    """Four entries, and the head after each."""
    found = []
    for number in range(4):
        append(database, f"reason {number}")
        found.append(head_of(database))
    return found


def test_an_empty_log_is_whole(database: Database) -> None:
    assert head_of(database) == Head()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(notes=st.lists(st.none() | TEXT, min_size=1, max_size=4))
def test_postgres_and_python_agree_on_any_text(database: Database, notes: list[str | None]) -> None:
    before = head_of(database).entry
    for note in notes:
        append(database, note)
    assert head_of(database).entry == before + len(notes)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("update audit set note = 'another reason' where id = 2", 2),
        ("update audit set owner = 'somebody else' where id = 1", 1),
        ("update audit set created_at = created_at - interval '1 microsecond' where id = 4", 4),
        ("delete from audit where id = 3", 4),
        ("delete from audit where id = 1", 2),
        ("insert into audit (owner, action, id, sha256) overriding system value values ('x', 'y', 5, '')", 5),
    ],
)
def test_a_change_is_found_where_it_is(database: Database, heads: list[Head], change: str, place: int) -> None:
    with database.transaction() as session:
        session.execute(text(OFF))
        session.execute(text(change))
    with pytest.raises(BrokenChain, match=f"at entry {place}:"):
        head_of(database)


def test_who_noted_a_head_sees_that_the_end_was_cut_off(database: Database, heads: list[Head]) -> None:
    assert head_of(database, heads[1]) == heads[3]
    with database.transaction() as session:
        session.execute(text(OFF))
        session.execute(text("delete from audit where id > 2"))
    assert head_of(database, heads[1]) == heads[1]
    with pytest.raises(BrokenChain, match="its end was cut off"):
        head_of(database, heads[3])


def test_entries_that_are_appended_at_once_are_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append(database, f"reason {number}"), range(24)))
    assert head_of(database).entry == 24


def test_an_entry_that_was_rolled_back_leaves_no_gap(database: Database, heads: list[Head]) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:
        audit.append(session, "platform", AuditAction.KEY_CREATED, About())
        session.flush()
        raise RuntimeError("the request failed")
    append(database, "after it")
    assert head_of(database, heads[3]).entry == 5
