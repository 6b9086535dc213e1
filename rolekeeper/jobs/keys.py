"""API keys: who a key belongs to, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy.orm import Session

from rolekeeper.contracts.release import AuditAction, Scope
from rolekeeper.errors import Forbidden, Unauthorized
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


def create_key(session: Session, owner: str, scopes: Iterable[Scope] = (Scope.WRITE_JOBS,)) -> str:
    """Make a bearer key `rk_<id>_<secret>` for `owner`. It can't be shown again: only its digest is kept."""
    key_id, secret, named = secrets.token_hex(6), secrets.token_hex(32), sorted(set(scopes))
    session.add(ApiKeyRow(id=key_id, owner=owner, secret_sha256=hash_secret(secret), scopes=named))
    audit.append(session, owner, AuditAction.KEY_CREATED, About(key_id=key_id, note=", ".join(named)))
    return f"{KEY_PREFIX}_{key_id}_{secret}"


def find_caller(session: Session, key: str) -> Caller:
    """Who sent this bearer key.

    Raises:
        Unauthorized: the key is not known.
    """
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    row = session.get(ApiKeyRow, key_id) if prefix == KEY_PREFIX and key.isascii() and "\0" not in key else None
    expected = row.secret_sha256 if row else ""
    if row is None or not hmac.compare_digest(expected, hash_secret(secret)):
        raise Unauthorized("this API key is not known: check it, or ask the operator for a new one")
    return Caller(row.id, row.owner, frozenset(Scope(scope) for scope in row.scopes))


def hash_secret(secret: str) -> str:
    """What is kept of a key's secret. It has 256 random bits, so a fast hash can't be searched."""
    return hashlib.sha256(secret.encode()).hexdigest()
