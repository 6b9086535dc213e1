"""`python -m gateway.keys`: make, list and revoke API keys."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from sqlalchemy.orm import Session

from gateway.settings import Settings
from rolekeeper.contracts.release import Scope
from rolekeeper.errors import NotFound
from rolekeeper.jobs import keys
from rolekeeper.jobs.db import Database


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = _parse(arguments)
    database = Database(Settings().database_url, pool_size=1)
    try:
        with database.transaction() as session:
            print(_run(session, given))
    except NotFound as error:
        print(error.message, file=sys.stderr)
        return 1
    finally:
        database.dispose()
    return 0


def _run(session: Session, given: argparse.Namespace) -> str:
    if given.command == "list":
        return _table(keys.list_keys(session, given.owner))
    if given.command == "revoke":
        keys.revoke_key(session, given.key)
        return f"{given.key} is revoked"
    scopes = [Scope(scope) for scope in given.scope or [Scope.WRITE_JOBS]]
    lifetime = None if given.days is None else timedelta(days=given.days)
    return keys.create_key(session, given.owner, scopes, lifetime)


def _table(found: list[keys.KeyInfo]) -> str:
    """One line for each key, its fields apart by tabs."""
    head = ("key", "owner", "scopes", "made", "expires", "status")
    rows = [
        (key.key_id, key.owner, ",".join(key.scopes), f"{key.created_at:%Y-%m-%d}", _day(key), key.status)
        for key in found
    ]
    return "\n".join("\t".join(row) for row in [head, *rows])


def _day(key: keys.KeyInfo) -> str:
    return "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}"


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 36500")
    return days


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="API keys of the gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it; it can't be shown again")
    create.add_argument("owner", help="whose characters and jobs the key may see")
    create.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        help="what the key may do; may be given several times; jobs:write if left out",
    )
    create.add_argument("--days", type=_days, help="refuse the key after so many days; never if left out")
    listed = commands.add_parser("list", help="print the keys there are, without their secrets")
    listed.add_argument("owner", nargs="?", help="of this owner only")
    revoke = commands.add_parser("revoke", help="refuse a key from now on, for good")
    revoke.add_argument("key", help="its id, as `list` shows it: the part of the key between the two underscores")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
