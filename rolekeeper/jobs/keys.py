"""API keys: who a key belongs to, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple

from sqlalchemy import Select, String, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from rolekeeper.contracts.release import AuditAction, Scope
from rolekeeper.errors import Forbidden, NotFound, Unauthorized
from rolekeeper.jobs import audit
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.rows import ApiKeyRow

KEY_PREFIX = "rk"


class Caller(NamedTuple):
    """Who calls, by the key that was sent."""

    key_id: str
    owner: str
    scopes: frozenset[Scope]

    def require(self, *scopes: Scope) -> None:
        """Raise Forbidden unless the key has one of these scopes."""
        if self.scopes.isdisjoint(scopes):
            raise Forbidden(
                f"this key lacks the scope {' or '.join(scopes)}; it has {', '.join(sorted(self.scopes)) or 'none'}: "
                "use a key with that scope, or ask the operator for one"
            )


class KeyInfo(NamedTuple):
    """What is known of a key, but for its secret, which nobody knows."""

    key_id: str
    owner: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    status: Literal["valid", "expired", "revoked"]


def create_key(
    session: Session,
    owner: str,
    scopes: Iterable[Scope] = (Scope.WRITE_JOBS,),
    lifetime: timedelta | None = None,
) -> str:
    """Make a bearer key `rk_<id>_<secret>` for `owner`. It can't be shown again: only its digest is kept.

    After its `lifetime`, where it has one, it is refused.
    """
    key_id, secret, named = secrets.token_hex(6), secrets.token_hex(32), sorted(set(scopes))
    row = ApiKeyRow(id=key_id, owner=owner, secret_sha256=hash_secret(secret), scopes=named)
    row.expires_at = None if lifetime is None else _now(session) + lifetime
    session.add(row)
    audit.append(session, owner, AuditAction.KEY_CREATED, About(key_id=key_id, note=", ".join(named)))
    return f"{KEY_PREFIX}_{key_id}_{secret}"


def find_caller(session: Session, key: str) -> Caller:
    """Who sent this bearer key.

    Raises:
        Unauthorized: the key is not known, or has ended.
    """
    found = _look_up(session, [key])
    if key not in found:
        raise Unauthorized("this API key is not known: check it, or ask the operator for a new one")
    row, now = found[key]
    if (status := _status(row, now)) != "valid":
        raise Unauthorized(f"this API key is {status}: ask the operator for a new one")
    return _to_caller(row)


def find_callers(session: Session, keys: Iterable[str]) -> dict[str, Caller]:
    """Who sent each of these bearer keys; those that are not known or have ended are left out."""
    found = _look_up(session, keys)
    return {key: _to_caller(row) for key, (row, now) in found.items() if _status(row, now) == "valid"}


def _look_up(session: Session, keys: Iterable[str]) -> dict[str, tuple[ApiKeyRow, datetime]]:
    """The rows of the keys whose secrets are right, and the database's time."""
    secrets_by_key = {key: parts for key in keys if (parts := _split(key)) is not None}
    if not secrets_by_key:
        return {}
    ids = [key_id for key_id, _ in secrets_by_key.values()]
    rows = {row.id: (row, now) for row, now in session.execute(_of_ids(), {"ids": ids})}
    return {
        key: rows[key_id]
        for key, (key_id, secret) in secrets_by_key.items()
        if key_id in rows and hmac.compare_digest(rows[key_id][0].secret_sha256, hash_secret(secret))
    }


@cache
def _of_ids() -> Select[ApiKeyRow, datetime]:
    return select(ApiKeyRow, func.clock_timestamp()).where(ApiKeyRow.id == any_(bindparam("ids", type_=ARRAY(String))))


def _split(key: str) -> tuple[str, str] | None:
    """Id and secret of a key; None where it is not written as keys are."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == KEY_PREFIX and key.isascii() and "\0" not in key else None


def _to_caller(row: ApiKeyRow) -> Caller:
    return Caller(row.id, row.owner, frozenset(Scope(scope) for scope in row.scopes))


def list_keys(session: Session, owner: str | None = None) -> list[KeyInfo]:
    """Return the keys of an owner, or all, the oldest first."""
    query = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
    rows = session.scalars(query if owner is None else query.where(ApiKeyRow.owner == owner)).all()
    now = _now(session)
    return [
        KeyInfo(row.id, row.owner, tuple(row.scopes), row.created_at, row.expires_at, _status(row, now)) for row in rows
    ]


def revoke_key(session: Session, key_id: str) -> None:
    """Have a key refused from now on, for good; once more changes nothing. Raises NotFound."""
    row = session.get(ApiKeyRow, key_id, with_for_update=True)
    if row is None:
        raise NotFound(f"there is no key {key_id}; `list` shows those there are")
    if row.revoked_at is None:
        row.revoked_at = _now(session)
        audit.append(session, row.owner, AuditAction.KEY_REVOKED, About(key_id=key_id))


def _status(row: ApiKeyRow, now: datetime) -> Literal["valid", "expired", "revoked"]:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "valid"


def _now(session: Session) -> datetime:
    """The database's clock: those of the processes may differ."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def hash_secret(secret: str) -> str:
    """What is kept of a key's secret. It has 256 random bits, so a fast hash can't be searched."""
    return hashlib.sha256(secret.encode()).hexdigest()
